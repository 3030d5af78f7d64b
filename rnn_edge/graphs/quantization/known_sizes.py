"""Sizes of axes that follow from what a graph says of its inputs and constants, bodies included.

ONNX's own inference ends the process on some graphs with bodies, so that it is no choice for files
that hold them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

Sizes = tuple[int | None, ...] | None
_SAME = {
    "Identity", "Cast", "Tanh", "Sigmoid", "Relu", "LeakyRelu", "Elu", "Gelu", "Softmax", "Dropout",
    "LayerNormalization", "Neg", "Exp", "Log", "Sqrt", "Abs", "Clip", "Erf",
}  # fmt: skip
_BROADCAST = {"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"}
_RECURRENT = {"RNN", "GRU", "LSTM"}


def known_sizes(value: ir.Value | None) -> Sizes:
    """The sizes of the axes of ``value``, None for each that is not known, or for all of them."""
    if value is None:
        return None
    tensor = ir.convenience.get_const_tensor(value)
    if tensor is not None:
        return tuple(tensor.numpy().shape)
    node = value.producer()
    found = None if node is None or node.domain != "" else _follow(node, value)
    if found is not None or value.shape is None:
        return found
    return tuple(dim if isinstance(dim, int) else None for dim in value.shape)


def _follow(node: ir.Node, value: ir.Value) -> Sizes:
    kind = node.op_type
    if kind in _SAME:
        return known_sizes(node.inputs[0])
    if kind in _BROADCAST:
        return _broadcast([known_sizes(each) for each in node.inputs])
    if kind in _RECURRENT:
        return _recurrent(node, node.outputs.index(value))
    rule = _RULES.get(kind)
    return None if rule is None else rule(node, known_sizes(node.inputs[0]))


def _broadcast(shapes: list[Sizes]) -> Sizes:
    if any(shape is None for shape in shapes):
        return None
    known = [shape for shape in shapes if shape is not None]
    rank = max(map(len, known))
    padded = [(1,) * (rank - len(shape)) + shape for shape in known]
    return tuple(_larger(list(sizes)) for sizes in zip(*padded, strict=True))


def _larger(sizes: list[int | None]) -> int | None:
    above = [size for size in sizes if size != 1]
    return above[0] if above and len(set(above)) == 1 else None if above else 1


def _recurrent(node: ir.Node, place: int) -> Sizes:
    frames, weights = known_sizes(node.inputs[0]), known_sizes(node.inputs[2])
    if frames is None or weights is None:
        return None
    state = (weights[0], frames[1], weights[2])
    return (frames[0], *state) if place == 0 else state


def _transpose(node: ir.Node, sizes: Sizes) -> Sizes:
    order = node.attributes.get("perm")
    if sizes is None:
        return None
    places = range(len(sizes))[::-1] if order is None else order.as_ints()
    return tuple(sizes[place] for place in places)


def _reshape(node: ir.Node, sizes: Sizes) -> Sizes:
    shape = _numbers(node, 1)
    if shape is None:
        return None
    kept = sizes or ()
    return tuple(
        size if size > 0 else kept[n] if size == 0 and n < len(kept) else None
        for n, size in enumerate(shape)
    )


def _unsqueeze(node: ir.Node, sizes: Sizes) -> Sizes:
    axes = _numbers(node, 1)
    if sizes is None or axes is None:
        return None
    rank = len(sizes) + len(axes)
    new, rest = {axis % rank for axis in axes}, iter(sizes)
    return tuple(1 if place in new else next(rest) for place in range(rank))


def _squeeze(node: ir.Node, sizes: Sizes) -> Sizes:
    axes = _numbers(node, 1)
    if sizes is None or axes is None:
        return None
    gone = {axis % len(sizes) for axis in axes}
    return tuple(size for place, size in enumerate(sizes) if place not in gone)


def _gather(node: ir.Node, sizes: Sizes) -> Sizes:
    places = known_sizes(node.inputs[1])
    if sizes is None or places is None:
        return None
    attribute = node.attributes.get("axis")
    axis = (0 if attribute is None else attribute.as_int()) % len(sizes)
    return (*sizes[:axis], *places, *sizes[axis + 1 :])


def _matmul(node: ir.Node, sizes: Sizes) -> Sizes:
    other = known_sizes(node.inputs[1])
    if sizes is None or other is None or len(other) != 2 or len(sizes) < 2:
        return None
    return (*sizes[:-1], other[-1])


def _concat(node: ir.Node, sizes: Sizes) -> Sizes:
    shapes = [known_sizes(value) for value in node.inputs]
    if sizes is None or any(shape is None for shape in shapes):
        return None
    axis = node.attributes["axis"].as_int() % len(sizes)
    joined = [None if shape is None else shape[axis] for shape in shapes]
    total = sum(size for size in joined if size is not None) if None not in joined else None
    return tuple(total if place == axis else size for place, size in enumerate(sizes))


_RULES: dict[str, Callable[[ir.Node, Sizes], Sizes]] = {
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Gather": _gather,
    "MatMul": _matmul,
    "Concat": _concat,
}


def _numbers(node: ir.Node, place: int) -> list[int] | None:
    value = node.inputs[place] if len(node.inputs) > place else None
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else [int(n) for n in np.ravel(tensor.numpy())]
