"""Operators that look at all elements of an axis: sums, softmax, normalisation, the largest."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rnn_edge.c99.code import Code
from rnn_edge.c99.loops import Access, loop, row_major
from rnn_edge.c99.memory import c_type
from rnn_edge.c99.program import Operation, Value
from rnn_edge.c99.tables import literal

# What a reduction starts with, does with each {x}, and makes of the {sum} of {n}.
_REDUCTIONS = {
    "ReduceSum": ("0", "sum += {x};", "sum"),
    "ReduceMean": ("0", "sum += {x};", "sum / {n}"),
    "ReduceProd": ("1", "sum *= {x};", "sum"),
    "ReduceSumSquare": ("0", "sum += {x} * {x};", "sum"),
    "ReduceL1": ("0", "sum += fabs{f}({x});", "sum"),
    "ReduceL2": ("0", "sum += {x} * {x};", "sqrt{f}(sum)"),
    "ReduceMax": ("{first}", "sum = {x} > sum ? {x} : sum;", "sum"),
    "ReduceMin": ("{first}", "sum = {x} < sum ? {x} : sum;", "sum"),
}


def _write_reduction(code: Code, operation: Operation) -> None:
    source, output = operation.required(0), operation.result
    given = operation.attributes.get("axes")
    known = code.known(operation, 1)
    axes = known.reshape(-1).tolist() if known is not None else given
    if not axes:
        if operation.attributes.get("noop_with_empty_axes", 0):
            code.pointwise(output, [source], lambda at: at[0])
            return
        axes = list(range(len(source.shape)))
    axes = [axis % len(source.shape) for axis in axes]
    start, each, end = _REDUCTIONS[operation.kind]
    read, target, name = code.element(source), code.array(output), c_type(output.dtype)
    f = "f" if name == "float" else ""
    kept, reduced, outer, inner = _parted(source, axes)
    count = literal(math.prod(reduced), output.dtype)
    if not math.prod(reduced):
        raise code.refuse(operation, "it reduces an empty axis")

    def body(at: list[str]) -> list[str]:
        first = read(at[1])
        steps = loop(
            reduced,
            [inner],
            lambda into: [each.format(x=read(f"{at[1]} + {into[0]}"), f=f)],
            "k",
        )
        return [
            "{",
            f"    {name} sum = {start.format(first=first)};",
            *(f"    {line}" for line in steps),
            f"    {target}[{at[0]}] = {end.format(f=f, n=count)};",
            "}",
        ]

    code.put(*loop(kept, [Access(row_major(kept)), outer], body))


def _parted(
    source: Value, axes: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...], Access, Access]:
    """(shape kept, shape reduced, how each walks over the source)."""
    strides = row_major(source.shape)
    stay = [axis for axis in range(len(source.shape)) if axis not in axes]
    go = sorted(axes)
    return (
        tuple(source.shape[axis] for axis in stay),
        tuple(source.shape[axis] for axis in go),
        Access(tuple(strides[axis] for axis in stay)),
        Access(tuple(strides[axis] for axis in go)),
    )


def _write_softmax(code: Code, operation: Operation) -> None:
    source, output = operation.required(0), operation.result
    if operation.attributes.get("opset", 13) < 13:
        raise code.refuse(operation, "it is of an opset before 13")
    axis = operation.attributes.get("axis", -1) % len(source.shape)
    name = c_type(output.dtype)
    kind = "softmax" if operation.kind == "Softmax" else "log_softmax"
    code.kernel(kind, name)
    inner = math.prod(source.shape[axis + 1 :])
    outer = math.prod(source.shape[:axis])
    if output.size:
        code.put(
            f"{code.prefix}_{kind}_{name}({code.array(output)}, {code.array(source)}, "
            f"{outer}, {source.shape[axis]}, {inner});"
        )


def _write_argument(code: Code, operation: Operation) -> None:
    source, output = operation.required(0), operation.result
    axis = operation.attributes.get("axis", 0) % len(source.shape)
    last = operation.attributes.get("select_last_index", 0)
    sign = (">" if operation.kind == "ArgMax" else "<") + ("=" if last else "")
    read, target = code.element(source), code.array(output)
    kept, reduced, outer, inner = _parted(source, [axis])
    stride = inner.strides[0]

    def body(at: list[str]) -> list[str]:
        return [
            "{",
            "    size_t best = 0;",
            f"    for (size_t k = 1; k < {reduced[0]}; k++) {{",
            f"        if ({read(f'{at[1]} + k * {stride}')} {sign} "
            f"{read(f'{at[1]} + best * {stride}')}) {{ best = k; }}",
            "    }",
            f"    {target}[{at[0]}] = (int64_t)best;",
            "}",
        ]

    code.put(*loop(kept, [Access(row_major(kept)), outer], body))


def _write_layer_norm(code: Code, operation: Operation) -> None:
    source, output = operation.required(0), operation.result
    if any(value is not None for value in operation.outputs[1:]):
        raise code.refuse(operation, "its mean or deviation is used")
    axis = operation.attributes.get("axis", -1) % len(source.shape)
    size = math.prod(source.shape[axis:])
    rows, name = source.size // size, c_type(output.dtype)
    scale, bias = code.known(operation, 1), code.known(operation, 2)
    assert scale is not None
    scale = np.ascontiguousarray(np.broadcast_to(scale, source.shape[axis:]))
    shift = np.zeros_like(scale) if bias is None else np.broadcast_to(bias, source.shape[axis:])
    code.kernel("layer_norm", name)
    epsilon = literal(operation.attributes.get("epsilon", 1e-5), output.dtype)
    code.put(
        f"{code.prefix}_layer_norm_{name}({code.array(output)}, {code.array(source)}, "
        f"{code.tables.add(scale)}, {code.tables.add(shift)}, {epsilon}, {rows}, {size});"
    )


def _write_batch_norm(code: Code, operation: Operation) -> None:
    source, output = operation.required(0), operation.result
    if operation.attributes.get("training_mode", 0):
        raise code.refuse(operation, "it is in training mode")
    scale, shift, mean, variance = (code.known(operation, place) for place in range(1, 5))
    assert scale is not None
    assert shift is not None
    assert mean is not None
    assert variance is not None
    epsilon = operation.attributes.get("epsilon", 1e-5)
    factor = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
    term = shift - mean * factor
    shape = (-1, *([1] * (len(source.shape) - 2)))
    values = [
        Value("", output.dtype, array.shape, array)
        for array in (x.astype(output.dtype).reshape(shape) for x in (factor, term))
    ]
    code.pointwise(output, [source, *values], lambda at: f"{at[0]} * {at[1]} + {at[2]}")


def _write_running_sum(code: Code, operation: Operation) -> None:
    source, output = operation.required(0), operation.result
    place = code.known(operation, 1)
    assert place is not None
    axis = int(place.item()) % len(source.shape)
    if operation.attributes.get("exclusive", 0) or operation.attributes.get("reverse", 0):
        raise code.refuse(operation, "it is exclusive or runs backward")
    read, target = code.element(source), code.array(output)
    kept, reduced, outer, inner = _parted(source, [axis])
    stride = inner.strides[0]

    def body(at: list[str]) -> list[str]:
        return [
            "{",
            f"    {c_type(output.dtype)} sum = 0;",
            f"    for (size_t k = 0; k < {reduced[0]}; k++) {{",
            f"        sum += {read(f'{at[0]} + k * {stride}')};",
            f"        {target}[{at[0]} + k * {stride}] = sum;",
            "    }",
            "}",
        ]

    code.put(*loop(kept, [outer], body))


WRITERS = {
    **dict.fromkeys(_REDUCTIONS, _write_reduction),
    **dict.fromkeys(("Softmax", "LogSoftmax"), _write_softmax),
    **dict.fromkeys(("ArgMax", "ArgMin"), _write_argument),
    "LayerNormalization": _write_layer_norm,
    "BatchNormalization": _write_batch_norm,
    "CumSum": _write_running_sum,
}
