"""A float16 product with a constant becomes an Einsum of the same value; others stay."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from rnn_edge.graphs.half_precision import ReplaceHalfMatMuls

RANDOM = np.random.default_rng(5)
X = RANDOM.standard_normal((2, 3, 4)).astype(np.float16)


def multiply(constant: np.ndarray, *, constant_first: bool, rank: int = 3) -> ir.Model:
    """The product of ``constant`` with an input of ``rank`` whose first two axes are swapped."""
    kind = helper.np_dtype_to_tensor_dtype(constant.dtype)
    operands = ["w", "moved"] if constant_first else ["moved", "w"]
    graph = helper.make_graph(
        [
            helper.make_node("Transpose", ["x"], ["moved"], perm=[1, 0, 2][:rank]),
            helper.make_node("MatMul", operands, ["y"]),
        ],
        "product",
        [helper.make_tensor_value_info("x", kind, ["b", "t", 4][-rank:])],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(constant, "w")],
        value_info=[helper.make_tensor_value_info("moved", kind, ["t", "b", 4][-rank:])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return ir.from_proto(model)


@pytest.mark.parametrize(
    ("shape", "constant_first"), [((4, 5), False), ((4,), False), ((6, 2), True), ((2,), True)]
)
def test_product_with_a_constant_keeps_its_value(
    shape: tuple[int, ...], constant_first: bool
) -> None:
    constant = RANDOM.standard_normal(shape).astype(np.float16)
    model = multiply(constant, constant_first=constant_first)
    assert ReplaceHalfMatMuls()(model).modified
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    (found,) = session.run(None, {"x": X})
    moved = X.swapaxes(0, 1).astype(np.float64)
    expected = np.matmul(constant, moved) if constant_first else np.matmul(moved, constant)
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-3)


def test_float32_products_and_those_of_matrices_stay() -> None:
    single = multiply(np.ones((4, 5), np.float32), constant_first=False)
    matrix = multiply(np.ones((4, 5), np.float16), constant_first=False, rank=2)
    for model in (single, matrix):
        assert not ReplaceHalfMatMuls()(model).modified
        assert [node.op_type for node in model.graph] == ["Transpose", "MatMul"]
