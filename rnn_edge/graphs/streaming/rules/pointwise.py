"""Operators that look at one element of each input at a time."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from rnn_edge.graphs.streaming.derivation import Derivation
from rnn_edge.graphs.streaming.kinds import (
    EVERY_PAIR,
    TO_EVERY_STEP,
    Carried,
    Counted,
    Final,
    Kind,
    Timed,
    same,
)
from rnn_edge.graphs.streaming.leads import lead_after
from rnn_edge.graphs.streaming.rules.counting import compare_indices, count
from rnn_edge.graphs.streaming.shifting import align, laid_out_alike
from rnn_edge.graphs.streaming.totals import so_far

OPERATORS = (
    "Abs", "Acos", "Add", "And", "Asin", "Atan", "Atanh", "Cast", "CastLike", "Ceil", "Celu",
    "Clip", "Cos", "Cosh", "Div", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu", "Greater",
    "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Less",
    "LessOrEqual", "Log", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu",
    "Pow", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus",
    "Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tan", "Tanh", "ThresholdedRelu", "Where", "Xor",
    "BitwiseAnd", "BitwiseOr", "BitwiseNot", "BitwiseXor", "BitShift",
)  # fmt: skip


def derive_pointwise(derivation: Derivation, node: ir.Node) -> None:
    inputs = [value for value in node.inputs if value is not None]
    kinds = [derivation.kind(value) for value in inputs]
    (output,) = node.outputs
    if any(isinstance(kind, Counted) for kind in kinds):
        if compare_indices(derivation, node) or count(derivation, node):
            return
        if any(isinstance(kind, Timed) for kind in kinds):
            derivation.refuse("it needs the length of the whole sequence")
        _count_so_far(derivation, node)
        return
    if not any(isinstance(kind, Timed) for kind in kinds):
        derivation.kinds[output] = combine_still(kinds)
        return
    if any(isinstance(kind, Final) for kind in kinds):
        derivation.refuse(TO_EVERY_STEP)
    rank = derivation.rank(output)
    axis = _align_operands(derivation, node, rank)
    first = next(k for k in (derivation.kind(v) for v in node.inputs) if isinstance(k, Timed))
    kind = replace(
        first, axis=axis,
        first=_index_after(derivation, node), scale=_scale_after(derivation, node),
        truth=_truth_after(derivation, node), lead=lead_after(derivation, node, output),
        spread=_spread_after(derivation, node),
    )  # fmt: skip
    derivation.kinds[output] = kind
    _skip_where(derivation, node, kind)


def _count_so_far(derivation: Derivation, node: ir.Node) -> None:
    """The length of the sequence beside what has no time: the answer for the frames so far."""
    for place, value in enumerate(node.inputs):
        if value is not None and isinstance(derivation.kind(value), Counted):
            node.replace_input_with(place, so_far(derivation, value))
    for output in node.outputs:
        derivation.kinds[output] = Final()


def combine_still(kinds: list[Kind]) -> Kind:
    """The kind of what is made of values that have no time."""
    if any(isinstance(kind, Final) for kind in kinds):
        return Final()
    return next((kind for kind in kinds if isinstance(kind, Carried)), kinds[0])


def _align_operands(derivation: Derivation, node: ir.Node, rank: int) -> int:
    """Bring the inputs that have frames in step; gives the axis of time of the result."""
    places = [n for n, v in enumerate(node.inputs) if isinstance(derivation.kind(v), Timed)]
    values = [node.inputs[place] for place in places]
    kinds = [derivation.kind(value) for value in values]
    timed = [kind for kind in kinds if isinstance(kind, Timed)]
    known = [value for value in values if value is not None]
    axes = {kind.axis + rank - derivation.rank(v) for kind, v in zip(timed, known, strict=True)}
    if len(axes) > 1:
        derivation.refuse(EVERY_PAIR)
    timed = laid_out_alike(derivation, timed)
    if any(not same(kind.length, timed[0].length) for kind in timed):
        derivation.refuse("it joins sequences of different lengths")
    axis = axes.pop()
    for place, value in enumerate(node.inputs):
        if value is None or place in places:
            continue
        ahead = axis - (rank - derivation.rank(value))
        if ahead >= 0 and derivation.dims(value)[ahead] != 1:
            derivation.refuse(f"{value.name} holds one value for each step of a fixed length")
    aligned, _ = (known, timed)
    if len({(kind.offset, id(kind.clock)) for kind in timed}) > 1:
        aligned, timed = align(derivation, known, timed)
    for place, value, kind in zip(places, aligned, timed, strict=True):
        derivation.kinds[value] = kind
        if node.inputs[place] is not value:
            node.replace_input_with(place, value)
    return axis


def _index_after(derivation: Derivation, node: ir.Node) -> int | None:
    """What is added to the index in the result, where it is one."""
    kinds = [derivation.kind(value) for value in node.inputs]
    first = _shifted_index(derivation, node)
    if first is not None or _spread_over(derivation, node) is None:
        return first
    return next(kind.first for kind in kinds if isinstance(kind, Timed))


def _scale_after(derivation: Derivation, node: ir.Node) -> int:
    scale = max(kind.scale for v in node.inputs if isinstance(kind := derivation.kind(v), Timed))
    return scale * (_factor(derivation, node) or 1)


def _factor(derivation: Derivation, node: ir.Node) -> int | None:
    """What an index is multiplied with: ``2 * t``."""
    if node.op_type != "Mul":
        return None
    numbers = [array for array in map(derivation.array, node.inputs) if array is not None]
    whole = len(numbers) == 1 and numbers[0].size == 1 and numbers[0].dtype.kind == "i"
    return int(numbers[0].item()) if whole and numbers[0].item() > 0 else None


def _shifted_index(derivation: Derivation, node: ir.Node) -> int | None:
    kinds = [derivation.kind(value) for value in node.inputs]
    firsts = [kind.first for kind in kinds if isinstance(kind, Timed)]
    if len(firsts) != 1 or firsts[0] is None:
        return None
    if node.op_type in ("Cast", "Identity"):
        return firsts[0]
    factor = _factor(derivation, node)
    if factor is not None:
        return firsts[0] * factor
    if node.op_type in ("Add", "Sub") and isinstance(kinds[0], Timed):
        other = derivation.array(node.inputs[1])
        if other is not None and other.size == 1:
            return firsts[0] + int(other.item()) * (1 if node.op_type == "Add" else -1)
    if node.op_type == "Add":
        other = derivation.array(node.inputs[0])
        if other is not None and other.size == 1:
            return firsts[0] + int(other.item())
    return None


def _spread_after(derivation: Derivation, node: ir.Node) -> tuple[int, ...] | None:
    kinds = [derivation.kind(value) for value in node.inputs]
    held = next((k.spread for k in kinds if isinstance(k, Timed) and k.spread is not None), None)
    if held is not None:
        return held if _shifted_index(derivation, node) is not None else None
    return _spread_over(derivation, node)


def _spread_over(derivation: Derivation, node: ir.Node) -> tuple[int, ...] | None:
    """What is added to an index along the last axis: ``arange(n)[:, None] + arange(k)``."""
    places = [n for n, v in enumerate(node.inputs) if isinstance(derivation.kind(v), Timed)]
    if len(places) != 1 or node.op_type != "Add":
        return None
    index = node.inputs[places[0]]
    kind = derivation.kind(index)
    assert index is not None
    assert isinstance(kind, Timed)
    other = derivation.array(node.inputs[1 - places[0]])
    if kind.first is None or kind.spread is not None or other is None or other.dtype.kind != "i":
        return None
    if derivation.dims(index)[1:] != [1] or kind.axis != 0:
        return None
    flat = other.ndim < 2 or (other.ndim == 2 and other.shape[0] == 1)
    return tuple(int(n) for n in other.ravel()) if flat and other.size > 1 else None


def _truth_after(derivation: Derivation, node: ir.Node) -> bool | None:
    truths = [
        kind.truth if isinstance(kind := derivation.kind(value), Timed) else None
        for value in node.inputs
    ]
    if node.op_type in ("Identity", "Cast"):
        return truths[0]
    if node.op_type == "Not" and truths[0] is not None:
        return not truths[0]
    if node.op_type == "And" and all(truths):
        return True
    if node.op_type == "Or" and any(truths):
        return True
    return None


def _skip_where(derivation: Derivation, node: ir.Node, kind: Timed) -> None:
    """Leave out a choice that is known: a mask of lengths, where a stream has no padding."""
    if node.op_type != "Where":
        return
    condition, yes, no = node.inputs
    truth = derivation.kind(condition)
    if not isinstance(truth, Timed) or truth.truth is None or yes is None or no is None:
        return
    chosen = yes if truth.truth else no
    chosen_kind = derivation.kind(chosen)
    (output,) = node.outputs
    if isinstance(chosen_kind, Timed) and _shape(chosen) == _shape(output):
        derivation.replace(output, chosen, chosen_kind)


def _shape(value: ir.Value) -> list[str] | None:
    return None if value.shape is None else [str(dim) for dim in value.shape]


def derive_first(derivation: Derivation, node: ir.Node) -> None:
    """An operator that does nothing to its first input when it is not training."""
    (output, *_) = node.outputs
    derivation.kinds[output] = derivation.kind(node.inputs[0])
