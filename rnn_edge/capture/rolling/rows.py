"""Rows of a flat table, ``table[t * batch : (t + 1) * batch]``, as steps of one with two axes.

A table of time and batch in one axis has, at one length, so many rows of which each is as long as
the batch. So a stretch of it is one step, which a loop can take or write as it does any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sympy  # type: ignore[import-untyped]
import torch
from torch import Tensor
from torch.fx import Node

from rnn_edge.capture.rolling.trace import Place, Source, Step

_ATEN = torch.ops.aten
_ARANGE = (_ATEN.arange.default, _ATEN.arange.start, _ATEN.arange.start_step)
_PUT = (_ATEN.index_put.default, _ATEN.index_put_.default)


class FlatTables:
    """Replaces nodes that take or write a row, in the order in which they stand.

    ``splitting`` are the numbers of the steps that split a table that a loop did not write.
    """

    def __init__(self) -> None:
        self.splitting: list[int] = []
        self._split: dict[tuple[Place | Source, int], Place] = {}

    def as_row(
        self, node: Node, where: Mapping[Node, Place | Source], first: int, line: str
    ) -> list[Step] | None:
        """The steps, from ``first`` on, whose last one gives what ``node`` does."""
        found = _find_row(node)
        if found is None:
            return None
        (table, dim, row, rows), value = found, _find_written(node)
        x, steps = where[table], []
        split = self._split.get((x, dim))
        if split is None:
            split = Place(first)
            self._split[x, dim] = split
            self.splitting.append(first)
            steps.append(Step(_ATEN.unflatten.int, (x, dim, (rows, -1)), {}, line))
        if value is None:
            steps.append(Step(_ATEN.select.int, (split, dim, row), {}, line))
            return steps
        written = Place(first + len(steps))
        steps.append(Step(_ATEN.select_scatter.default, (split, where[value], dim, row), {}, line))
        whole = Place(first + len(steps))
        steps.append(Step(_ATEN.flatten.using_ints, (written, dim, dim + 1), {}, line))
        self._split[whole, dim] = written
        return steps


def order_of(steps: Sequence[Step], splitting: Sequence[int]) -> list[int]:
    """The places of ``steps``, tables being split where they are made."""
    behind = {
        number: steps[number].args[0].index + 0.5
        if isinstance(steps[number].args[0], Place)
        else -1
        for number in splitting
    }
    return sorted(range(len(steps)), key=lambda number: behind.get(number, number))


def _find_row(node: Node) -> tuple[Node, int, int, int] | None:
    """(table, axis, row, number of rows) where ``node`` takes one row of it, or writes one."""
    if node.target in (_ATEN.slice.Tensor, _ATEN.slice_scatter.default):
        dim, *ends = node.args[(1 if node.target is _ATEN.slice.Tensor else 2) :]
        ends = ends if len(ends) == 2 else []
    elif node.target is _ATEN.index_select.default:
        dim, ends = node.args[1], _find_ends(node.args[2])
    elif node.target is _ATEN.index.Tensor or (node.target in _PUT and len(node.args) == 3):
        given, dim = node.args[1], 0
        ends = _find_ends(given[0]) if isinstance(given, (list, tuple)) and len(given) == 1 else []
    else:
        return None
    table = node.args[0]
    value = table.meta.get("val") if isinstance(table, Node) else None
    if not isinstance(value, Tensor) or not isinstance(dim, int) or dim < 0 or len(ends) != 2:
        return None
    start, end, whole = (_read(size) for size in (*ends, value.shape[dim]))
    if start is None or end is None or whole is None:
        return None
    size = sympy.expand(end - start)
    if not size.free_symbols:
        return None
    row, rows = sympy.cancel(start / size), sympy.cancel(whole / size)
    if not (row.is_Integer and rows.is_Integer) or rows < 2:
        return None
    assert isinstance(table, Node)
    return table, dim, int(row), int(rows)


def _find_written(node: Node) -> Node | None:
    if node.target is _ATEN.slice_scatter.default:
        value = node.args[1]
    elif node.target in _PUT:
        value = node.args[2]
    else:
        return None
    assert isinstance(value, Node)
    return value


def _find_ends(places: Any) -> list[Any]:
    """[start, end] where ``places`` are neighbours: arange(start, end), start + arange(size)."""
    if not isinstance(places, Node):
        return []
    if places.target in _ARANGE:
        step = places.args[2] if len(places.args) > 2 else 1
        given = list(places.args[:2])
        return [] if step != 1 else [0, *given] if len(given) == 1 else given
    if places.target is not _ATEN.add.Tensor or len(places.args) != 2 or places.kwargs:
        return []
    one, other = places.args
    base, shift = (one, other) if _find_ends(one) else (other, one)
    ends, by = [_read(end) for end in _find_ends(base)], _read(shift)
    return [end + by for end in ends] if ends and by is not None and None not in ends else []


def _read(size: Any) -> sympy.Expr | None:
    """A size as an expression of the axes; None for what is none."""
    if isinstance(size, Node):
        size = size.meta.get("val")
    if isinstance(size, torch.SymInt):
        return size.node.expr
    if isinstance(size, sympy.Expr):
        return size
    return sympy.Integer(size) if isinstance(size, int) else None
