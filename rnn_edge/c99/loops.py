"""Loops over the elements of tensors, with as few of them as the strides allow."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Access:
    """How a loop walks over one tensor: where it starts and a stride for every axis."""

    strides: tuple[int, ...]
    offset: int = 0


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def broadcast(shape: Sequence[int], to: Sequence[int]) -> Access:
    """A tensor of ``shape`` read over the axes of ``to``, by the rule of numpy."""
    strides = [0] * (len(to) - len(shape))
    for size, stride in zip(shape, row_major(shape), strict=True):
        strides.append(0 if size == 1 else stride)
    return Access(tuple(strides))


def loop(
    shape: Sequence[int],
    accesses: Sequence[Access],
    body: Callable[[list[str]], list[str]],
    letter: str = "i",
) -> list[str]:
    """C lines that run ``body`` for every element; it gets an index for each access."""
    if math.prod(shape) == 0:
        return []
    sizes, strides = _merged(shape, [access.strides for access in accesses])
    indexes = [
        _index(access.offset, [row[place] for row in strides], letter)
        for place, access in enumerate(accesses)
    ]
    lines = body(indexes)
    for axis in reversed(range(len(sizes))):
        name = f"{letter}{axis}"
        head = f"for (size_t {name} = 0; {name} < {sizes[axis]}; {name}++) {{"
        lines = [head, *(f"    {line}" for line in lines), "}"]
    return lines


def _merged(
    shape: Sequence[int], strides: Sequence[Sequence[int]]
) -> tuple[list[int], list[list[int]]]:
    """Sizes and, for each, the strides of all; neighbours that all walk through alike are one."""
    sizes: list[int] = []
    rows: list[list[int]] = []
    for axis, size in enumerate(shape):
        row = [each[axis] for each in strides]
        if size == 1:
            continue
        if sizes and all(outer == inner * size for outer, inner in zip(rows[-1], row, strict=True)):
            sizes[-1] *= size
            rows[-1] = row
        else:
            sizes.append(size)
            rows.append(row)
    return sizes, rows


def _index(offset: int, strides: Sequence[int], letter: str) -> str:
    forward = [
        f"{letter}{axis}" if stride == 1 else f"{letter}{axis} * {stride}"
        for axis, stride in enumerate(strides)
        if stride > 0
    ]
    backward = [
        f" - {letter}{axis} * {-stride}" for axis, stride in enumerate(strides) if stride < 0
    ]
    parts = [*([str(offset)] if offset or not forward else []), *forward]
    return " + ".join(parts) + "".join(backward)
