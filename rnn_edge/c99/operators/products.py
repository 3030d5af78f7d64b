"""Matrix products and convolutions; a constant factor is packed for the kernel."""

from __future__ import annotations

import math

import numpy as np

from rnn_edge.c99.code import Code
from rnn_edge.c99.loops import Access, broadcast, loop, row_major
from rnn_edge.c99.memory import c_type
from rnn_edge.c99.program import Operation, Value
from rnn_edge.c99.tables import literal


def _write_matmul(code: Code, operation: Operation) -> None:
    left, right, output = operation.required(0), operation.required(1), operation.result
    if right.constant is not None and right.constant.ndim == 2 and left.constant is None:
        inputs, outputs = right.shape
        if not output.size:
            return
        rows = output.size // outputs
        target, source = code.array(output), code.array(left)
        code.fill(target, np.zeros(output.size, output.dtype))
        _put_rows(code, rows, target, outputs, source, inputs, right.constant.T)
        return
    _put_general_product(code, left, right, output)


def _put_rows(
    code: Code,
    rows: int,
    target: str,
    outputs: int,
    source: str,
    inputs: int,
    weight: np.ndarray,
) -> None:
    """One product with ``weight`` for each of the rows that lie one after another."""
    if rows == 1:
        code.product(target, source, weight)
        return
    code.put(f"for (size_t r = 0; r < {rows}; r++) {{")
    code.product(f"{target} + r * {outputs}", f"{source} + r * {inputs}", weight)
    code.put("}")


def _put_general_product(code: Code, left: Value, right: Value, output: Value) -> None:
    """Factors that are both computed, in any number of batch axes."""
    a = left.shape if len(left.shape) > 1 else (1, *left.shape)
    b = right.shape if len(right.shape) > 1 else (*right.shape, 1)
    batch = np.broadcast_shapes(a[:-2], b[:-2])
    rows, inner, columns = a[-2], a[-1], b[-1]
    shape = (*batch, rows, columns)
    first = broadcast((*a[:-1], 1), shape)
    scaled = tuple(
        stride * (inner if place < len(shape) - 1 else 0)
        for place, stride in enumerate(first.strides)
    )
    steps = row_major(b)
    second = [0] * (len(shape) - len(b))
    second += [0 if size == 1 else stride for size, stride in zip(b[:-2], steps[:-2], strict=True)]
    second += [0, steps[-1] if columns > 1 else 0]
    target, x, y = code.array(output), code.element(left), code.element(right)
    name = c_type(output.dtype)
    code.macs += math.prod(shape) * inner

    def body(at: list[str]) -> list[str]:
        return [
            f"{name} sum = 0;",
            f"for (size_t k = 0; k < {inner}; k++) {{",
            f"    sum += {x(at[1] + ' + k')} * {y(at[2] + f' + k * {steps[-2]}')};",
            "}",
            f"{target}[{at[0]}] = sum;",
        ]

    accesses = [Access(row_major(shape)), Access(scaled), Access(tuple(second))]
    code.put(*loop(shape, accesses, body))


def _write_gemm(code: Code, operation: Operation) -> None:
    left, right, output = operation.required(0), operation.required(1), operation.result
    attributes = operation.attributes
    if right.constant is None:
        raise code.refuse(operation, "its second factor is not constant")
    if attributes.get("transA", 0) and 1 not in left.shape:
        raise code.refuse(operation, "its first factor is transposed")
    weight = right.constant if attributes.get("transB", 0) else right.constant.T
    weight = (weight * weight.dtype.type(attributes.get("alpha", 1.0))).astype(weight.dtype)
    added, beta = operation.input(2), attributes.get("beta", 1.0)
    target = code.array(output)
    if added is None:
        code.fill(target, np.zeros(output.size, output.dtype))
    elif added.constant is not None:
        code.fill(
            target,
            np.ascontiguousarray(np.broadcast_to(added.constant * beta, output.shape)).astype(
                output.dtype
            ),
        )
    else:
        factor = literal(beta, output.dtype)
        code.pointwise(output, [added], lambda at: at[0] if beta == 1 else f"{factor} * {at[0]}")
    outputs, inputs = weight.shape
    _put_rows(code, output.shape[0], target, outputs, code.array(left), inputs, weight)


def _write_conv(code: Code, operation: Operation) -> None:
    """A product for each place of the output: the patch that it sees, gathered, times weights."""
    source, output = operation.required(0), operation.result
    weight = code.known(operation, 1)
    bias = code.known(operation, 2)
    assert weight is not None
    if source.shape[0] != 1 and not output.size:
        return
    group = operation.attributes.get("group", 1)
    size, kernel = output.shape[1] // group, weight.shape[2:]
    begins, steps, dilations = _windows(code, operation, source, kernel)
    spatial, places = source.shape[2:], output.shape[2:]
    channels = weight.shape[1]
    name, area = c_type(output.dtype), math.prod(places)
    patch_size = channels * math.prod(kernel)
    patch, sums = code.memory.scratch(name, patch_size), code.memory.scratch(name, size)
    padded = _reaches_outside(begins, steps, dilations, kernel, spatial, places)
    x, y = code.array(source), code.array(output)
    biases = np.zeros(output.shape[1], output.dtype) if bias is None else bias
    loops = [f"p{axis}" for axis in range(len(places))]
    for row in range(source.shape[0]):
        for letter, count in zip(loops, places, strict=True):
            code.put(f"for (size_t {letter} = 0; {letter} < {count}; {letter}++) {{")
        where = " + ".join(
            f"{letter} * {stride}" for letter, stride in zip(loops, row_major(places), strict=True)
        )
        for part in range(group):
            base = (row * source.shape[1] + part * channels) * math.prod(spatial)
            code.put(
                *_patch_lines(
                    patch, f"{x} + {base}", channels, kernel, spatial,
                    begins, steps, dilations, padded,
                )
            )  # fmt: skip
            rows = weight[part * size : (part + 1) * size].reshape(size, patch_size)
            code.fill(sums, np.ascontiguousarray(biases[part * size : (part + 1) * size]))
            code.product(sums, patch, np.ascontiguousarray(rows))
            start = (row * output.shape[1] + part * size) * area
            code.put(
                f"for (size_t o = 0; o < {size}; o++) {{",
                f"    {y}[{start} + o * {area} + {where or 0}] = {sums}[o];",
                "}",
            )
        code.put("}" * len(places))


def _windows(
    code: Code, operation: Operation, source: Value, kernel: tuple[int, ...]
) -> tuple[list[int], list[int], list[int]]:
    """Padding at the beginning, stride and dilation of every spatial axis."""
    attributes, count = operation.attributes, len(kernel)
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise code.refuse(operation, "its padding is not written out (auto_pad)")
    pads = list(attributes.get("pads", [0] * 2 * count))
    steps = list(attributes.get("strides", [1] * count))
    dilations = list(attributes.get("dilations", [1] * count))
    return pads[:count], steps, dilations


def _reaches_outside(
    begins: list[int],
    steps: list[int],
    dilations: list[int],
    kernel: tuple[int, ...],
    spatial: tuple[int, ...],
    places: tuple[int, ...],
) -> bool:
    return any(
        begin > 0 or (place - 1) * step + (width - 1) * dilation - begin >= size
        for begin, step, dilation, width, size, place in zip(
            begins, steps, dilations, kernel, spatial, places, strict=True
        )
    )


def _patch_lines(
    patch: str,
    source: str,
    channels: int,
    kernel: tuple[int, ...],
    spatial: tuple[int, ...],
    begins: list[int],
    steps: list[int],
    dilations: list[int],
    padded: bool,
) -> list[str]:
    """Gather what the window at p0, p1, ... sees of all channels."""
    axes = range(len(kernel))
    strides = row_major(spatial)
    places = row_major((channels, *kernel))
    target = " + ".join([f"c * {places[0]}", *(f"k{axis} * {places[axis + 1]}" for axis in axes)])
    at = [f"p{axis} * {steps[axis]} + k{axis} * {dilations[axis]}" for axis in axes]
    inside = " && ".join(
        f"{where} >= {begin} && {where} < {size + begin}"
        for where, begin, size in zip(at, begins, spatial, strict=True)
    )
    read = " + ".join(
        [
            f"c * {math.prod(spatial)}",
            *(
                f"({where} - {begin}) * {stride}" if begin else f"({where}) * {stride}"
                for where, begin, stride in zip(at, begins, strides, strict=True)
            ),
        ]
    )
    value = f"({source})[{read}]"
    line = f"{patch}[{target}] = {f'{inside} ? {value} : 0' if padded else value};"
    lines = [line]
    for axis in reversed(axes):
        head = f"for (size_t k{axis} = 0; k{axis} < {kernel[axis]}; k{axis}++) {{"
        lines = [head, *(f"    {inner}" for inner in lines), "}"]
    return [
        f"for (size_t c = 0; c < {channels}; c++) {{",
        *(f"    {inner}" for inner in lines),
        "}",
    ]


WRITERS = {"MatMul": _write_matmul, "Gemm": _write_gemm, "Conv": _write_conv}
