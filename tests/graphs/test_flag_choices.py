"""A choice between flags runs in ONNX Runtime, broadcast as numpy does it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime
from onnx import TensorProto, helper

from rnn_edge.graphs.flag_choices import ReplaceFlagChoices

FLAGS = np.array([[True, False, True, False], [False, False, True, True]])
SHAPES = {"c": (2, 1), "x": (2, 4), "y": (4,)}


def choose(kind: int) -> ir.Model:
    kinds = {"c": TensorProto.BOOL, "x": kind, "y": kind}
    graph = helper.make_graph(
        [helper.make_node("Where", ["c", "x", "y"], ["z"])],
        "choice",
        [helper.make_tensor_value_info(n, kinds[n], shape) for n, shape in SHAPES.items()],
        [helper.make_tensor_value_info("z", kind, [2, 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return ir.from_proto(model)


def test_choice_between_flags_keeps_its_values() -> None:
    given = {"c": np.array([[True], [False]]), "x": FLAGS, "y": np.array([True, True, False, True])}
    model = choose(TensorProto.BOOL)
    assert ReplaceFlagChoices()(model).modified
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    (found,) = session.run(None, given)
    np.testing.assert_array_equal(found, np.where(given["c"], given["x"], given["y"]))


def test_choice_between_numbers_stays() -> None:
    model = choose(TensorProto.FLOAT)
    assert not ReplaceFlagChoices()(model).modified
    assert [node.op_type for node in model.graph] == ["Where"]
