"""Inverses and solutions of linear systems, as one Scan of Gauss-Jordan steps.

ONNX has no node for them. Each step takes one column of [A, B]: the row with the largest entry
there, of those not yet used, changes places with the row of the step, is divided by that entry
and taken off all others. In the end A has become the identity and B the solution. A singular
matrix, at which torch raises, gives infinite values or NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import onnxscript
import torch
from onnx_ir.tape import Tape

from rnn_edge.capture.scans import write_scan

# The stubs of onnxscript know tensors only, where constants are as good.
op: Any = onnxscript.opset18


def translate_inverse(a: Any, check_errors: bool = False) -> tuple[Any, Any]:
    """(the inverse, 0 where it was found)."""
    places = _places(a)
    same = op.Equal(op.Unsqueeze(places, [0]), op.Unsqueeze(places, [1]))
    identity = op.Expand(op.Cast(same, to=a.dtype), op.Shape(a))
    return _eliminate(a, identity), _no_errors()


def translate_solution(
    a: Any, b: Any, left: bool = True, check_errors: bool = False
) -> tuple[Any, Any, Any, Any]:
    """(the solution, what torch keeps of its own method, 0 where it was found)."""
    is_vector = _is_vector(a, b)
    if is_vector:
        b = op.Unsqueeze(b, [-1])
    if not left:
        a, b = _transpose(a, a.shape.rank()), _transpose(b, b.shape.rank())
    # Both in all batches of either.
    corner = [op.Slice(m, [0, 0], [1, 1], [-2, -1]) for m in (a, b)]
    batch = op.Shape(op.Add(*corner))
    solution = _eliminate(op.Expand(a, batch), op.Expand(b, batch), a.dtype)
    if not left:
        rank = max(a.shape.rank(), b.shape.rank())
        solution = _transpose(solution, rank)
    if is_vector:
        solution = op.Squeeze(solution, [-1])
    return solution, a, _no_errors(), _no_errors()


def _is_vector(a: Any, b: Any) -> bool:
    """Whether ``b`` holds one vector for each matrix, as torch decides it."""
    return bool(len(b.shape) == 1 or list(b.shape) == list(a.shape)[:-1])


def _transpose(x: Any, rank: int) -> Any:
    axes = [*range(rank - 2), rank - 1, rank - 2]
    moved = op.Transpose(x, perm=axes)
    moved.dtype = x.dtype
    moved.shape = ir.Shape([x.shape[axis] for axis in axes]) if x.shape is not None else None
    return moved


def _places(a: Any) -> Any:
    """0, 1, ... for the rows of ``a``."""
    size = op.Squeeze(op.Shape(a, start=-1), [0])
    places = op.Range(op.Constant(value_int=0), size, op.Constant(value_int=1))
    places.dtype = ir.DataType.INT64
    return places


def _no_errors() -> Any:
    return op.Constant(value=ir.tensor(0, dtype=ir.DataType.INT32))


def _eliminate(a: Any, b: Any, dtype: ir.DataType | None = None) -> Any:
    dtype = dtype or a.dtype
    places = _places(a)
    column = op.Unsqueeze(places, [1])
    joined = op.Concat(a, b, axis=-1)
    joined.dtype = dtype
    zero, used = (op.Constant(value=ir.tensor(value, dtype=dtype)) for value in (0, -1))
    rows = op.Constant(value_ints=[-2])

    def step(tape: Tape, states: list[Any], slices: list[Any]) -> tuple[list[Any], list[Any]]:
        (m,), (at,) = states, slices
        entries = tape.op("Abs", [tape.op("Gather", [m, at], {"axis": -1})])
        free = tape.op("Where", [tape.op("Less", [places, at]), used, entries])
        best = tape.op("ArgMax", [free], {"axis": -1, "keepdims": 1})
        is_best = tape.op("Equal", [places, best])
        is_best = tape.op("Unsqueeze", [is_best, tape.op("Constant", [], {"value_ints": [-1]})])
        is_own = tape.op("Equal", [column, at])
        chosen = tape.op("Where", [is_best, m, zero])
        chosen = tape.op("ReduceSum", [chosen, rows], {"keepdims": 1})
        own = tape.op("Where", [is_own, m, zero])
        own = tape.op("ReduceSum", [own, rows], {"keepdims": 1})
        one_axis = tape.op("Constant", [], {"value_ints": [0]})
        place = tape.op("Unsqueeze", [at, one_axis])
        pivot = tape.op("Gather", [chosen, place], {"axis": -1})
        divided = tape.op("Div", [chosen, pivot])
        swapped = tape.op("Where", [is_best, own, m])
        factors = tape.op("Gather", [swapped, place], {"axis": -1})
        rest = tape.op("Sub", [swapped, tape.op("Mul", [factors, divided])])
        return [tape.op("Where", [is_own, divided, rest])], []

    (solved,) = write_scan(step, [joined], [places], "elimination")
    size = op.Shape(a, start=-1)
    return op.Slice(solved, size, op.Constant(value_ints=[2**62]), [-1])


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.linalg_inv_ex.default: translate_inverse,
    torch.ops.aten._linalg_solve_ex.default: translate_solution,
}
