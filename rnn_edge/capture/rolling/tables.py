"""Tensors that are written at places of two loops, ``out[:, i, j] = h``.

Each write makes a new tensor, of which a row is written, of which an element is. What is read again
is taken from where it was written, so that only the rows are left, each of one inner loop.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from rnn_edge.capture.rolling.ordering import put_early
from rnn_edge.capture.rolling.steps import arrange, leaves_of
from rnn_edge.capture.rolling.trace import Place, Step, Trace

_ATEN = torch.ops.aten
_SELECT, _WRITE = _ATEN.select.int, _ATEN.select_scatter.default
# Which argument of an operator that fills a tensor are its sizes.
_FILLING = {
    _ATEN.zeros.default: 0,
    _ATEN.ones.default: 0,
    _ATEN.full.default: 0,
    _ATEN.empty.memory_format: 0,
    _ATEN.new_zeros.default: 1,
    _ATEN.new_ones.default: 1,
    _ATEN.new_full.default: 1,
    _ATEN.new_empty.default: 1,
}
# What is not written yet may be anything.
_UNSET = {
    _ATEN.empty.memory_format: _ATEN.zeros.default,
    _ATEN.new_empty.default: _ATEN.new_zeros.default,
}


def forward_writes(trace: Trace, elements: bool) -> Trace | None:
    """``trace`` with reads of such tensors taken from the writes; None where there are none.

    With ``elements``, an element of a row that is read is the value that was written there;
    without, it stays read from the row.
    """
    tables = _find_tables(trace)
    return _Forwarding(trace, tables, elements).run() if tables else None


def _find_tables(trace: Trace) -> set[int]:
    """The first steps of the tensors that rows are written into which were taken from them."""
    roots: dict[int, int] = {}
    found = set()
    for number, step in enumerate(trace.steps):
        if step.target is not _WRITE or not isinstance(step.args[0], Place):
            continue
        x, row = step.args[:2]
        roots[number] = roots.get(x.index, x.index)
        start = _begin(trace, row)
        if start is not None and start.target is _SELECT and isinstance(start.args[0], Place):
            taken = start.args[0].index
            if roots.get(taken, taken) == roots[number] and start.args[1:] == step.args[2:]:
                found.add(roots[number])
    return found


def _begin(trace: Trace, row: Any) -> Step | None:
    """The step that made what is written into, where ``row`` was written into."""
    step = trace.steps[row.index] if isinstance(row, Place) else None
    if step is None or step.target is not _WRITE:
        return None
    while step is not None and step.target is _WRITE:
        step = trace.steps[step.args[0].index] if isinstance(step.args[0], Place) else None
    return step


class _Forwarding:
    """Writes the steps anew; ``_moved`` tells what the old ones have become."""

    def __init__(self, trace: Trace, tables: set[int], elements: bool) -> None:
        self._trace = trace
        self._tables = tables
        self._elements = elements
        self._steps: list[Step] = []
        self._moved: dict[int, Any] = {}
        # New steps that begin a chain of writes: tables, and with ``elements`` their rows.
        self._roots: set[int] = set()
        self._parts: dict[tuple[int, int, int], Place] = {}

    def run(self) -> Trace:
        for number, step in enumerate(self._trace.steps):
            args, kwargs = self._value(step.args), self._value(step.kwargs)
            self._moved[number] = self._write(replace(step, args=args, kwargs=kwargs))
            if number in self._tables:
                self._roots.add(self._moved[number].index)
        written = Trace(tuple(self._steps), self._value(self._trace.returned), self._trace.sources)
        return _without_idle(put_early(written, {part.index for part in self._parts.values()}))

    def _value(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(self._value(item) for item in value)
        if isinstance(value, dict):
            return {key: self._value(item) for key, item in value.items()}
        if not isinstance(value, Place):
            return value
        moved = self._moved[value.index]
        if value.item is None or not isinstance(moved, Place):
            return moved
        return replace(moved, item=value.item)

    def _add(self, step: Step) -> Place:
        self._steps.append(step)
        return Place(len(self._steps) - 1)

    def _write(self, step: Step) -> Any:
        x = step.args[0] if step.args else None
        if step.target not in (_SELECT, _WRITE) or not isinstance(x, Place):
            return self._add(step)
        root = self._find_root(x.index)
        if root not in self._roots:
            return self._add(step)
        if step.target is _SELECT:
            return self._read(step, x.index, root)
        overwritten = self._steps[x.index]
        if overwritten.target is _WRITE and overwritten.args[2:] == step.args[2:]:
            step = replace(step, args=(overwritten.args[0], *step.args[1:]))
        return self._add(step)

    def _find_root(self, number: int) -> int:
        while self._steps[number].target is _WRITE:
            x = self._steps[number].args[0]
            if not isinstance(x, Place):
                return -1
            number = x.index
        return number

    def _read(self, step: Step, number: int, root: int) -> Any:
        _, dim, index = step.args
        index = self._from_start(root, dim, index)
        while number != root:
            base, value, at, place = self._steps[number].args
            if at != dim or min(index, place) < 0:
                return self._add(step)
            if place == index:
                return value
            number = base.index
        return self._part(step, root, dim, index)

    def _from_start(self, root: int, dim: int, index: int) -> int:
        """``index``, counted from the start where the size of the axis is known."""
        step = self._steps[root]
        if index >= 0 or step.target not in _FILLING:
            return index
        size = step.args[_FILLING[step.target]][dim]
        return index + size if isinstance(size, int) else index

    def _part(self, step: Step, root: int, dim: int, index: int) -> Place:
        """What was there at first: a part of a filled tensor is a smaller one."""
        key = (root, dim, index)
        if key not in self._parts:
            made = self._steps[root]
            if made.target in _FILLING:
                place = _FILLING[made.target]
                sizes = made.args[place]
                left = (*sizes[:dim], *sizes[dim + 1 :])
                args = (*made.args[:place], left, *made.args[place + 1 :])
                target = _UNSET.get(made.target, made.target)
                step = Step(target, args, made.kwargs, made.line)
            else:
                step = replace(step, args=(Place(root), dim, index))
            self._parts[key] = self._add(step)
            if self._elements:
                self._roots.add(self._parts[key].index)
        return self._parts[key]


def _without_idle(trace: Trace) -> Trace:
    """Without the reads and writes that nothing needs any more, other steps as they are."""
    needed = {leaf.index for leaf in leaves_of(trace.returned) if isinstance(leaf, Place)}
    kept = []
    for number in range(len(trace.steps) - 1, -1, -1):
        step = trace.steps[number]
        if number in needed or step.target not in (_SELECT, _WRITE):
            kept.append(number)
            needed |= {leaf.index for leaf in leaves_of((step.args, step.kwargs))
                       if isinstance(leaf, Place)}  # fmt: skip
    return arrange(trace, kept[::-1])
