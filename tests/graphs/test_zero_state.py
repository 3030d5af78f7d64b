"""Zero initial states are dropped, others are kept."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from rnn_edge.graphs.zero_state import DropZeroStates


def make_gru(fill: float, middle: list[onnx.NodeProto]) -> ir.Model:
    """A GRU whose initial state is made by ``middle`` from the constant ``fill``."""
    random = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)
        for name, shape in (("W", (1, 15, 4)), ("R", (1, 15, 5)))
    ]
    constants = [
        numpy_helper.from_array(np.full(1, fill, np.float32), "fill"),
        numpy_helper.from_array(np.array([1, 2, 5]), "shape"),
        numpy_helper.from_array(np.zeros(3, np.int64), "zero"),
    ]
    graph = helper.make_graph(
        [
            *middle,
            helper.make_node("GRU", ["x", "W", "R", "", "", "h"], ["y", "h_n"], hidden_size=5),
        ],
        "gru",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["sequence", 2, 4])],
        [helper.make_tensor_value_info("h_n", TensorProto.FLOAT, [1, 2, 5])],
        [*weights, *constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return ir.from_proto(model)


EXPAND = [helper.make_node("Expand", ["fill", "shape"], ["h"])]
OF_SHAPE = [helper.make_node("ConstantOfShape", ["shape"], ["h"])]
CONCAT = [
    helper.make_node("Expand", ["fill", "shape"], ["e"]),
    helper.make_node("Slice", ["e", "zero", "shape"], ["s"]),
    helper.make_node("Transpose", ["e"], ["t"], perm=[0, 1, 2]),
    helper.make_node("Concat", ["t"], ["h"], axis=0),
]


def run(model: ir.Model, x: np.ndarray) -> np.ndarray:
    data = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x})
    return found


@pytest.mark.parametrize("middle", [EXPAND, OF_SHAPE, CONCAT], ids=["expand", "of-shape", "concat"])
def test_zero_state_is_dropped_and_changes_nothing(middle: list[onnx.NodeProto]) -> None:
    model = make_gru(0.0, middle)
    x = np.random.default_rng(1).standard_normal((3, 2, 4)).astype(np.float32)
    before = run(model, x)
    assert DropZeroStates()(model).modified
    assert next(n for n in model.graph if n.op_type == "GRU").inputs[5] is None
    np.testing.assert_array_equal(run(model, x), before)


@pytest.mark.parametrize("middle", [EXPAND, CONCAT], ids=["expand", "concat"])
def test_other_state_is_kept(middle: list[onnx.NodeProto]) -> None:
    model = make_gru(0.5, middle)
    assert not DropZeroStates()(model).modified
    assert next(n for n in model.graph if n.op_type == "GRU").inputs[5] is not None
