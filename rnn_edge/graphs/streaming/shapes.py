"""Shapes that a file leaves out, as far as the axis of time can be followed through them."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

# Slices behind slices whose bounds are computed.
_ROUNDS = 4


def infer_shapes(model: ir.Model) -> None:
    """ONNX's own inference, which gives up on all axes of a Slice with computed bounds."""
    common.ShapeInferencePass()(model)
    for _ in range(_ROUNDS):
        filled = [_fill(node) for node in model.graph if node.op_type == "Slice"]
        if not any(filled):
            return
        common.ShapeInferencePass()(model)


def _fill(node: ir.Node) -> bool:
    """Give the output of a Slice the sizes of the axes that stay whole; whether one is new."""
    value, axes = node.inputs[0], node.inputs[3] if len(node.inputs) > 3 else None
    (output,) = node.outputs
    tensor = None if axes is None else ir.convenience.get_const_tensor(axes)
    if value is None or value.shape is None or tensor is None or output.is_graph_output():
        return False
    dims = list(value.shape)
    cut = {int(axis) % len(dims) for axis in tensor.numpy().ravel()}
    held = list(output.shape) if output.shape is not None else [ir.SymbolicDim(None)] * len(dims)
    filled = [dim if n not in cut else held[n] for n, dim in enumerate(dims)]
    if filled == held or any(_is_unknown(dim) for n, dim in enumerate(dims) if n not in cut):
        return False
    output.shape = ir.Shape(filled)
    _forget_later(output)
    return True


def _forget_later(value: ir.Value) -> None:
    """Drop what was inferred from a shape that was not known."""
    for node, _ in value.uses():
        for output in node.outputs:
            if output.shape is None or output.is_graph_output():
                continue
            if any(_is_unknown(dim) for dim in output.shape):
                output.shape = None
                _forget_later(output)


def _is_unknown(dim: int | ir.SymbolicDim) -> bool:
    return not isinstance(dim, int) and (dim.value is None or str(dim.value).startswith("unk__"))
