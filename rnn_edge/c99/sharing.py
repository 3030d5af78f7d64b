"""A step of many rows at once: a product reads its weights once for several of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rnn_edge.c99.code import ProductLine

# Smaller ones are read from the nearest cache row by row as fast.
_FEWEST_WEIGHTS = 1024


@dataclass(frozen=True)
class Segment:
    """Lines that each row runs alone, one row after the other, or a product of all rows."""

    lines: Sequence[str] = ()
    product: ProductLine | None = None


def find_segments(operations: Iterable[Sequence[str]]) -> list[Segment]:
    """The lines of ``operations``, in their order, parted at the products that rows can share.

    A product within a loop or a condition is not parted from it.
    """
    found: list[Segment] = []
    lines: list[str] = []
    depth = 0
    for line in (line for operation in operations for line in operation):
        if depth == 0 and isinstance(line, ProductLine) and line.weights >= _FEWEST_WEIGHTS:
            found += [Segment(lines), Segment(product=line)]
            lines = []
            continue
        depth += line.count("{") - line.count("}")
        lines.append(line)
    found.append(Segment(lines))
    return [each for each in found if each.lines or each.product is not None]
