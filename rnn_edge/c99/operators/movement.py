"""Operators that move elements and compute nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rnn_edge.c99.code import Code
from rnn_edge.c99.loops import Access, broadcast, row_major
from rnn_edge.c99.memory import c_type
from rnn_edge.c99.program import Operation, Value
from rnn_edge.c99.tables import literal, quantised

# An embedding smaller than this stays float.
_FEWEST_INT8 = 1024


def _write_transpose(code: Code, operation: Operation) -> None:
    source, output = operation.required(0), operation.result
    axes = operation.attributes.get("perm", list(range(len(source.shape)))[::-1])
    strides = row_major(source.shape)
    walk = Access(tuple(strides[axis] for axis in axes))
    code.copy(output.shape, output, Access(row_major(output.shape)), source, walk)


def _write_slice(code: Code, operation: Operation) -> None:
    source, output = operation.required(0), operation.result
    starts, ends, axes, steps = (code.known(operation, place) for place in range(1, 5))
    if starts is None or ends is None:
        raise code.refuse(operation, "an old form is not read")
    order = range(starts.size) if axes is None else axes.tolist()
    offset, strides = 0, list(row_major(source.shape))
    for number, axis in enumerate(order):
        size, stride = source.shape[axis], strides[axis]
        step = 1 if steps is None else int(steps[number])
        start = slice(int(starts[number]), int(ends[number]), step).indices(size)[0]
        offset += start * stride
        strides[axis] = stride * step
    to = Access(row_major(output.shape))
    code.copy(output.shape, output, to, source, Access(tuple(strides), offset))


def _write_split(code: Code, operation: Operation) -> None:
    source = operation.required(0)
    axis = operation.attributes.get("axis", 0) % len(source.shape)
    strides, offset = row_major(source.shape), 0
    for output in operation.outputs:
        if output is None:
            raise code.refuse(operation, "one of its outputs has no name")
        to = Access(row_major(output.shape))
        code.copy(output.shape, output, to, source, Access(strides, offset))
        offset += output.shape[axis] * strides[axis]


def _write_concat(code: Code, operation: Operation) -> None:
    output, axis = operation.result, operation.attributes["axis"] % len(operation.result.shape)
    strides, offset = row_major(output.shape), 0
    for source in operation.inputs:
        assert source is not None
        of = Access(row_major(source.shape))
        code.copy(source.shape, output, Access(strides, offset), source, of)
        offset += source.shape[axis] * strides[axis]


def _write_expand(code: Code, operation: Operation) -> None:
    source, output = operation.required(0), operation.result
    to = Access(row_major(output.shape))
    code.copy(output.shape, output, to, source, broadcast(source.shape, output.shape))


def _write_tile(code: Code, operation: Operation) -> None:
    source, output = operation.required(0), operation.result
    repeats = [
        whole // part if part else 1 for whole, part in zip(output.shape, source.shape, strict=True)
    ]
    shape = [size for pair in zip(repeats, source.shape, strict=True) for size in pair]
    strides = [step for stride in row_major(source.shape) for step in (0, stride)]
    code.copy(shape, output, Access(row_major(shape)), source, Access(tuple(strides)))


def _write_pad(code: Code, operation: Operation) -> None:
    source, output = operation.required(0), operation.result
    pads, value, axes = (code.known(operation, place) for place in (1, 2, 3))
    if operation.attributes.get("mode", b"constant") != b"constant" or pads is None:
        raise code.refuse(operation, "it pads with other than a constant")
    order = list(range(len(source.shape)) if axes is None else axes.tolist())
    before = [0] * len(source.shape)
    for number, axis in enumerate(order):
        before[axis] = int(pads[number])
        if before[axis] < 0 or int(pads[number + len(order)]) < 0:
            raise code.refuse(operation, "it cuts off instead of padding")
    filling = literal(0 if value is None else value.item(), output.dtype)
    code.pointwise(output, [], lambda _: filling)
    strides = row_major(output.shape)
    offset = sum(b * stride for b, stride in zip(before, strides, strict=True))
    code.copy(
        source.shape, output, Access(strides, offset), source, Access(row_major(source.shape))
    )


def _write_gather(code: Code, operation: Operation) -> None:
    source, index, output = operation.required(0), operation.required(1), operation.result
    axis = operation.attributes.get("axis", 0) % len(source.shape)
    outer, size = math.prod(source.shape[:axis]), source.shape[axis]
    inner = math.prod(source.shape[axis + 1 :])
    if index.constant is not None:
        for number, place in enumerate(index.constant.reshape(-1).tolist()):
            picked = Access((size * inner, 0, 1), (place % size) * inner)
            to = Access((index.size * inner, 0, 1), number * inner)
            code.copy((outer, 1, inner), output, to, source, picked)
        return
    if not output.size:
        return
    at = code.element(index)
    target = code.array(output)
    code.put(f"for (size_t n = 0; n < {index.size}; n++) {{")
    code.put(*(f"    {line}" for line in _checked_index(code, at("n"), size)))
    if outer == 1 and _is_large_table(code, source):
        _put_int8_rows(code, source, target, inner)
    else:
        name, block = code.array(source), f"{inner} * sizeof({c_type(source.dtype)})"
        code.put(
            f"    for (size_t o = 0; o < {outer}; o++) {{",
            f"        memcpy({target} + (o * {index.size} + n) * {inner}, "
            f"{name} + (o * {size} + (size_t)at) * {inner}, {block});",
            "    }",
        )
    code.put("}")


def _checked_index(code: Code, index: str, size: int) -> Sequence[str]:
    return (
        f"int64_t at = (int64_t){index};",
        f"if (at < 0) {{ at += {size}; }}",
        f"if (at < 0 || at >= {size}) {{ return {code.prefix.upper()}_BAD_INPUT; }}",
    )


def _is_large_table(code: Code, source: Value) -> bool:
    return (
        code.int8
        and source.constant is not None
        and source.dtype == np.float32
        and source.size >= _FEWEST_INT8
    )


def _put_int8_rows(code: Code, source: Value, target: str, inner: int) -> None:
    assert source.constant is not None
    rows, scale = quantised(source.constant.reshape(-1, inner))
    table, scales = code.tables.add(rows), code.tables.add(scale)
    code.put(
        f"    for (size_t i = 0; i < {inner}; i++) {{",
        f"        {target}[n * {inner} + i] = "
        f"{scales}[at] * (float){table}[(size_t)at * {inner} + i];",
        "    }",
    )


def _write_gather_elements(code: Code, operation: Operation) -> None:
    source, index, output = operation.required(0), operation.required(1), operation.result
    axis = operation.attributes.get("axis", 0) % len(source.shape)
    strides = row_major(source.shape)
    name, target, at = code.array(source), code.array(output), code.element(index)
    shape = index.shape
    indexes = [f"i{place}" for place in range(len(shape))]
    flat = " + ".join(
        f"{letter} * {stride}" for letter, stride in zip(indexes, row_major(shape), strict=True)
    )
    others = [
        f"{letter} * {stride}"
        for place, (letter, stride) in enumerate(zip(indexes, strides, strict=True))
        if place != axis
    ]
    others.append(f"(size_t)at * {strides[axis]}")
    lines = [
        *_checked_index(code, at(flat), source.shape[axis]),
        f"{target}[{flat}] = {name}[{' + '.join(others)}];",
    ]
    for letter, size in reversed(list(zip(indexes, shape, strict=True))):
        head = f"for (size_t {letter} = 0; {letter} < {size}; {letter}++) {{"
        lines = [head, *(f"    {line}" for line in lines), "}"]
    if output.size:
        code.put(*lines)


WRITERS = {
    "Transpose": _write_transpose,
    "Slice": _write_slice,
    "Split": _write_split,
    "Concat": _write_concat,
    "Expand": _write_expand,
    "Tile": _write_tile,
    "Pad": _write_pad,
    "Gather": _write_gather,
    "GatherElements": _write_gather_elements,
}
