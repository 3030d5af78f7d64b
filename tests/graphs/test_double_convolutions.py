"""A float64 convolution runs on ONNX Runtime, which has no kernel for it, and equals torch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from torch.nn import functional

from rnn_edge.graphs.double_convolutions import ComposeDoubleConvolutions

RANDOM = np.random.default_rng(4)


def convolve(weight: np.ndarray, bias: np.ndarray, **attributes: Any) -> ir.Model:
    """A Conv with constant ``weight`` and ``bias`` over an input of any sizes."""
    kind = helper.np_dtype_to_tensor_dtype(weight.dtype)
    rank = weight.ndim - 2
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["y"], **attributes)],
        "convolution",
        [helper.make_tensor_value_info("x", kind, ["batch", None, *["size"] * rank])],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return ir.from_proto(model)


@pytest.mark.parametrize(
    ("shape", "stride", "padding", "dilation", "groups"),
    [
        ((5, 4, 3), (2,), (1,), (1,), 1),
        ((6, 2, 4), (3,), (0,), (2,), 2),
        ((4, 1, 5), (1,), (4,), (1,), 4),
        ((3, 4, 3, 2), (2, 1), (1, 0), (1, 3), 1),
    ],
)
def test_composed_convolution_equals_torch(
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> None:
    weight, bias = RANDOM.standard_normal(shape), RANDOM.standard_normal(shape[0])
    model = convolve(
        weight, bias, strides=stride, pads=[*padding, *padding], dilations=dilation, group=groups
    )
    assert ComposeDoubleConvolutions()(model).modified
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    function = functional.conv1d if len(shape) == 3 else functional.conv2d
    for size in (8, 13, 30):
        x = RANDOM.standard_normal((2, shape[1] * groups, *[size] * (len(shape) - 2)))
        (found,) = session.run(None, {"x": x})
        given = (torch.from_numpy(array) for array in (x, weight, bias))
        expected = function(*given, stride, padding, dilation, groups)
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-12, atol=1e-12)


def test_float32_convolutions_stay() -> None:
    weight = np.ones((1, 1, 3), np.float32)
    model = convolve(weight, np.ones(1, np.float32))
    assert not ComposeDoubleConvolutions()(model).modified
    assert [node.op_type for node in model.graph] == ["Conv"]
