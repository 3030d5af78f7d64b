"""Shapes that a file leaves out, as far as the axis of time can be followed through them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

# Slices behind slices whose bounds are computed.
_ROUNDS = 4


def infer_shapes(model: ir.Model) -> None:
    """ONNX's own inference, which gives up on all axes of a Slice with computed bounds, or of a
    Resize of an axis of unknown size."""
    common.ShapeInferencePass()(model)
    for _ in range(_ROUNDS):
        filled = [_fill(node) for node in model.graph if node.op_type in _CHANGED]
        if not any(filled):
            return
        common.ShapeInferencePass()(model)


def _fill(node: ir.Node) -> bool:
    """Give the output the sizes of the axes that stay whole; whether one is new."""
    value, (output,) = node.inputs[0], node.outputs
    if value is None or value.shape is None or output.is_graph_output():
        return False
    changed = _CHANGED[node.op_type](node, len(value.shape))
    if changed is None:
        return False
    dims = list(value.shape)
    held = list(output.shape) if output.shape is not None else [ir.SymbolicDim(None)] * len(dims)
    filled = [dim if n not in changed else held[n] for n, dim in enumerate(dims)]
    if filled == held or any(_is_unknown(dim) for n, dim in enumerate(dims) if n not in changed):
        return False
    output.shape = ir.Shape(filled)
    _forget_later(output)
    return True


def _sliced(node: ir.Node, rank: int) -> set[int] | None:
    axes = _constant(node, 3)
    return None if axes is None else {int(axis) % rank for axis in axes}


def _resized(node: ir.Node, rank: int) -> set[int] | None:
    scales, given = _constant(node, 2), node.attributes.get("axes")
    axes = given.as_ints() if given is not None else range(rank)
    if scales is None or not len(scales):
        return {axis % rank for axis in axes}
    return {axis % rank for axis, scale in zip(axes, scales, strict=True) if scale != 1}


# The axes that an operator changes the size of, by operator.
_CHANGED: dict[str, Callable[[ir.Node, int], set[int] | None]] = {
    "Slice": _sliced,
    "Resize": _resized,
}


def _constant(node: ir.Node, place: int) -> np.ndarray | None:
    value = node.inputs[place] if len(node.inputs) > place else None
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy().ravel()


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
