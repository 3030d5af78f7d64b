"""Cumulative operators: sums as CumSum; products, extremes and logs of sums as one Scan each.

torch adds up in double precision whatever the dtype, and rounds each sum once; so do these sums.
In logcumsumexp the sum so far is kept as its largest exponent and the rest, so that neither large
numbers overflow nor small ones vanish beside a large one that comes later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import onnxscript
import torch
from onnx_ir.tape import Tape

from rnn_edge.capture.scans import Body, write_scan

# The stubs of onnxscript know tensors only, where constants are as good.
op: Any = onnxscript.opset18

_FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16)


def translate_cumsum(x: Any, dim: int, dtype: int | None = None) -> Any:
    if dtype in (None, -1):
        dtype = x.dtype if x.dtype in _FLOATS else ir.DataType.INT64
    if not x.shape.rank():
        return op.Cast(x, to=dtype)
    wide = ir.DataType.DOUBLE if dtype in _FLOATS else dtype
    if dtype != x.dtype and dtype != wide:
        x = op.Cast(x, to=dtype)
    sums = op.CumSum(op.Cast(x, to=wide), op.Constant(value=ir.tensor(dim)))
    return op.Cast(sums, to=dtype)


def translate_cumprod(x: Any, dim: int, dtype: int | None = None) -> Any:
    if dtype in (None, -1):
        dtype = x.dtype if x.dtype in _FLOATS else ir.DataType.INT64
    if dtype != x.dtype:
        shape, x = x.shape, op.Cast(x, to=dtype)
        x.shape, x.dtype = shape, ir.DataType(dtype)
    if not x.shape.rank():
        return x

    def multiply(tape: Tape, states: list[Any], slices: list[Any]) -> tuple[list[Any], list[Any]]:
        product = tape.op("Mul", [states[0], slices[0]])
        return [product], [product]

    (found,) = _accumulate(multiply, [1], [], x, dim, "cumprod")
    return found


def translate_cummax(x: Any, dim: int) -> tuple[Any, Any]:
    return _find_extremes(x, dim, "GreaterOrEqual", "cummax")


def translate_cummin(x: Any, dim: int) -> tuple[Any, Any]:
    return _find_extremes(x, dim, "LessOrEqual", "cummin")


def translate_logcumsumexp(x: Any, dim: int) -> Any:
    if not x.shape.rank():
        return x

    def add(tape: Tape, states: list[Any], slices: list[Any]) -> tuple[list[Any], list[Any]]:
        (largest, rest), (item,) = states, slices
        top = tape.op("Max", [largest, item])
        kept = tape.op("Mul", [rest, _exp_of_difference(tape, largest, top)])
        rest = tape.op("Add", [kept, _exp_of_difference(tape, item, top)])
        return [top, rest], [tape.op("Add", [top, tape.op("Log", [rest])])]

    (found,) = _accumulate(add, [float("-inf"), 0], [], x, dim, "logcumsumexp")
    return found


def translate_logaddexp(x: Any, y: Any) -> Any:
    """The larger one plus log(1 + exp(-|difference|)), which does not overflow."""
    none = op.Constant(value=ir.tensor(0, dtype=x.dtype))
    one = op.Constant(value=ir.tensor(1, dtype=x.dtype))
    difference = op.Where(op.Equal(x, y), none, op.Abs(op.Sub(x, y)))
    return op.Add(op.Max(x, y), op.Log(op.Add(one, op.Exp(op.Neg(difference)))))


def _exp_of_difference(tape: Tape, one: Any, other: Any) -> Any:
    """exp(one - other), which is 1 where both are the same infinity."""
    ones = tape.op("Constant", [], {"value": ir.tensor(1, dtype=one.dtype)})
    exponential = tape.op("Exp", [tape.op("Sub", [one, other])])
    return tape.op("Where", [tape.op("Equal", [one, other]), ones, exponential])


def _find_extremes(x: Any, dim: int, relation: str, name: str) -> tuple[Any, Any]:
    """(values, places) as torch gives them: the last one of equal places, NaN above all."""
    if not x.shape.rank():
        return x, op.Constant(value_int=0)
    has_nan = x.dtype in _FLOATS

    def choose(tape: Tape, states: list[Any], slices: list[Any]) -> tuple[list[Any], list[Any]]:
        (value, place), (item, at) = states, slices
        taken = tape.op(relation, [item, value])
        if has_nan:
            taken = tape.op("Or", [taken, tape.op("IsNaN", [item])])
        value = tape.op("Where", [taken, item, value])
        place = tape.op("Where", [taken, at, place])
        return [value, place], [value, place]

    axis = dim % x.shape.rank()
    size = op.Squeeze(op.Shape(x, start=axis, end=axis + 1), [0])
    places = op.Range(op.Constant(value_int=0), size, op.Constant(value_int=1))
    is_max = relation == "GreaterOrEqual"
    start: Any = float("-inf") if is_max else float("inf")
    if not has_nan:
        limits = torch.iinfo(getattr(torch, x.dtype.name.lower()))
        start = limits.min if is_max else limits.max
    values, indices = _accumulate(choose, [start, None], [places], x, dim, name)
    return values, indices


def _accumulate(
    body: Body, starts: list[Any], others: list[Any], x: Any, dim: int, name: str
) -> list[Any]:
    """What ``body`` collects along ``dim``; where ``starts`` has None, a whole number from 0."""
    rank = x.shape.rank()
    axis = dim % rank
    forth = [axis, *(place for place in range(rank) if place != axis)]
    back = [forth.index(place) for place in range(rank)]
    moved = op.Transpose(x, perm=forth)
    moved.dtype = x.dtype
    for value in others:
        value.dtype = ir.DataType.INT64
    shape = op.Shape(moved, start=1)
    initial = []
    for start in starts:
        dtype = x.dtype if start is not None else ir.DataType.INT64
        value = op.Expand(op.Constant(value=ir.tensor(start or 0, dtype=dtype)), shape)
        value.dtype = dtype
        initial.append(value)
    found = write_scan(body, initial, [moved, *others], name)
    return [op.Transpose(value, perm=back) for value in found[len(initial) :]]


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.cumsum.default: translate_cumsum,
    torch.ops.aten.cumprod.default: translate_cumprod,
    torch.ops.aten.cummax.default: translate_cummax,
    torch.ops.aten.cummin.default: translate_cummin,
    torch.ops.aten.logcumsumexp.default: translate_logcumsumexp,
    torch.ops.aten.logaddexp.default: translate_logaddexp,
}
