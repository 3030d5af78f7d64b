"""ConstantOfShape of constant shapes becomes the numbers themselves."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from rnn_edge.graphs.constant_fills import FoldConstantFills


def model(value: np.ndarray | None, *, known: bool = True) -> ir.Model:
    """``filled`` itself is an output, and y = x + filled another."""
    more = {} if value is None else {"value": numpy_helper.from_array(value)}
    kind = TensorProto.INT64 if value is not None else TensorProto.FLOAT
    shape = helper.make_tensor_value_info("shape", TensorProto.INT64, [2])
    graph = helper.make_graph(
        [
            helper.make_node("ConstantOfShape", ["shape"], ["filled"], **more),
            helper.make_node("Add", ["x", "filled"], ["y"]),
        ],
        "fills",
        [helper.make_tensor_value_info("x", kind, [2, 3]), *([] if known else [shape])],
        [helper.make_tensor_value_info(name, kind, [2, 3]) for name in ("filled", "y")],
        [numpy_helper.from_array(np.array([2, 3]), "shape")] if known else [],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))


def operators(graph: ir.Model) -> list[str]:
    return [node.op_type for node in graph.graph]


@pytest.mark.parametrize("value", [None, np.array([7])])
def test_numbers_stand_where_they_would_be_made(value: np.ndarray | None) -> None:
    changed = model(value)
    assert FoldConstantFills()(changed).modified
    assert operators(changed) == ["Constant", "Add"]
    proto = ir.to_proto(changed)
    onnx.checker.check_model(proto, full_check=True)
    x = np.arange(6, dtype=np.float32 if value is None else np.int64).reshape(2, 3)
    filled, y = ReferenceEvaluator(proto).run(None, {"x": x})
    number = 0 if value is None else 7
    np.testing.assert_array_equal(filled, np.full((2, 3), number))
    np.testing.assert_array_equal(y, x + number)


def test_shapes_that_are_not_known_stay() -> None:
    kept = model(np.array([7]), known=False)
    assert not FoldConstantFills()(kept).modified
    assert operators(kept) == ["ConstantOfShape", "Add"]
