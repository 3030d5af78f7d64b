"""What is left of a loop that takes no step: what its variables were before it.

``out = first(x[:, 0])`` before ``for t in range(1, steps): out = ...`` is the result where there is
one step. A trace at that size shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rnn_edge.capture.rolling.affine import Affine
from rnn_edge.capture.rolling.program import (
    Argument,
    Collected,
    Loop,
    LoopValue,
    Number,
    OwnValue,
    PlainValue,
    RolledProgram,
    RolledStep,
    replace_leaves,
    walk,
)
from rnn_edge.capture.rolling.steps import share_states
from rnn_edge.capture.rolling.trace import Place, Source, Trace
from rnn_edge.errors import ExportError


def add_endings(
    programs: Sequence[RolledProgram],
    trace_at: Callable[[Mapping[str, int]], Trace],
    sizes: Mapping[str, int],
    fixed: Sequence[str],
) -> list[RolledProgram]:
    """``programs``, the last values of loops that may take no step completed where they can be.

    ``trace_at`` is asked for one more trace, with one step along each of the axes ``fixed``.
    """
    smallest = (1,) * len(fixed)
    if not any(_may_lack_values(program, smallest) for program in programs):
        return list(programs)
    try:
        trace = trace_at({**sizes, **dict.fromkeys(fixed, 1)})
    except ExportError:  # forward() takes more steps than one
        return list(programs)
    return [_complete(program, smallest, trace) for program in programs]


def _may_lack_values(program: RolledProgram, smallest: Sequence[int]) -> bool:
    empty = {
        item.number: item.count
        for item in program.items
        if isinstance(item, Loop) and not program.quotients and item.count.at(smallest) < 1
    }
    steps = [item for item in program.items if isinstance(item, RolledStep)]
    leaves = walk((*(step.args for step in steps), program.returned))
    return any(
        isinstance(leaf, LoopValue) and leaf.loop in empty and is_last(leaf, empty[leaf.loop])
        for leaf in leaves
    )


def is_last(value: LoopValue, count: Affine) -> bool:
    return value.iteration.plus(Affine(1, (0,) * len(count.by_size))) == count


def _complete(program: RolledProgram, sizes: Sequence[int], trace: Trace) -> RolledProgram:
    if program.quotients:
        return program
    for shown in (trace, share_states(trace)):
        try:
            return _Comparison(program, sizes, shown).complete()
        except _DiffersError:
            continue
    return program


class _DiffersError(Exception):
    """The trace is not what the program does at its sizes."""


class _Comparison:
    """``program`` beside what a trace at ``sizes`` shows of it, step by step."""

    def __init__(self, program: RolledProgram, sizes: Sequence[int], trace: Trace) -> None:
        self._program = program
        self._sizes = sizes
        self._trace = trace
        self._loops = {item.number: item for item in program.items if isinstance(item, Loop)}
        self._next = 0
        # By plain step of the program, the step of the trace that it is.
        self._plain: list[int] = []

    def complete(self) -> RolledProgram:
        items: list[RolledStep | Loop] = []
        for item in self._program.items:
            items.append(item)
            if isinstance(item, RolledStep):
                items[-1] = self._find(item)
                continue
            for step in item.body * max(0, int(item.count.at(self._sizes))):
                self._pass(step)
        returned = self._take(self._program.returned, self._trace.returned)
        return _Addition(self._trace, self._plain, len(self._sizes)).add(
            self._program, items, returned
        )

    def _find(self, step: RolledStep) -> RolledStep:
        """``step``, completed, from the next step of the trace that is like it."""
        for place in range(self._next, len(self._trace.steps)):
            other = self._trace.steps[place]
            if other.target is not step.target:
                continue
            try:
                args = self._take(step.args, other.args)
            except _DiffersError:
                continue
            self._next = place + 1
            self._plain.append(place)
            return replace(step, args=args)
        raise _DiffersError

    def _pass(self, step: RolledStep) -> None:
        """Leave a step of a loop behind: what it gives is not asked for."""
        for place in range(self._next, len(self._trace.steps)):
            if self._trace.steps[place].target is step.target:
                self._next = place + 1
                return
        raise _DiffersError

    def _take(self, argument: Argument, found: Any) -> Argument:
        """``argument``, with what ``found`` has in the place of a value that there is not."""
        match argument:
            case tuple():
                return self._take_all(argument, found)
            case dict():
                return argument
            case PlainValue():
                known = Place(self._plain[argument.index], argument.item)
                return self._require(found == known, argument)
            case LoopValue():
                return self._take_last(argument, found)
            case Number():
                number = argument.value.at(self._sizes)
                return self._require(
                    isinstance(found, (int, float)) and abs(number - found) < 1e-6, argument
                )
            case Source():
                return self._require(found == argument, argument)
        return self._require(bool(found == argument), argument)

    def _take_all(self, argument: tuple[Any, ...], found: Any) -> Argument:
        counts = [
            int(item.count.at(self._sizes)) if isinstance(item, Collected) else 1
            for item in argument
        ]
        if not isinstance(found, tuple) or sum(counts) != len(found):
            raise _DiffersError
        items, place = [], 0
        for item, count in zip(argument, counts, strict=True):
            collected = isinstance(item, Collected)
            items.append(item if collected else self._take(item, found[place]))
            place += count
        return tuple(items)

    def _take_last(self, value: LoopValue, found: Any) -> LoopValue:
        count = self._loops[value.loop].count
        if count.at(self._sizes) > 0 or not is_last(value, count):
            return value
        if not isinstance(found, (Place, Source)):
            raise _DiffersError
        return replace(value, otherwise=found)

    @staticmethod
    def _require(agrees: bool, argument: Argument) -> Argument:
        if not agrees:
            raise _DiffersError
        return argument


class _Addition:
    """Puts the steps of ``trace`` that are needed beside those of the program into it.

    Only where a loop takes no step are they needed. ``plain`` tells which step of the trace each
    plain step of the program is.
    """

    def __init__(self, trace: Trace, plain: Sequence[int], axes: int) -> None:
        self._trace = trace
        self._plain = plain
        self._axes = axes
        self._items: list[RolledStep | Loop] = []
        self._count = 0
        # By step of the trace, its place among the plain steps.
        self._places: dict[int, int] = {}

    def add(
        self, program: RolledProgram, items: Sequence[RolledStep | Loop], returned: Argument
    ) -> RolledProgram:
        known = iter(self._plain)
        for item in items:
            if isinstance(item, RolledStep):
                self._append(self._moved(item), next(known))
            else:
                body = tuple(self._moved(step) for step in item.body)
                self._items.append(replace(item, body=body))
        returned = replace_leaves(returned, self._move)
        return replace(program, items=tuple(self._items), returned=returned)

    def _append(self, step: RolledStep, shown: int) -> None:
        self._items.append(step)
        self._places[shown] = self._count
        self._count += 1

    def _moved(self, step: RolledStep) -> RolledStep:
        args, kwargs = replace_leaves((step.args, step.kwargs), self._move)
        return replace(step, args=args, kwargs=kwargs)

    def _move(self, leaf: Any) -> Any:
        match leaf:
            case PlainValue():
                return replace(leaf, index=self._places[self._plain[leaf.index]])
            case OwnValue():
                initial = tuple(replace_leaves(before, self._move) for before in leaf.initial)
                return replace(leaf, initial=initial)
            case LoopValue() if isinstance(leaf.otherwise, Place):
                return replace(leaf, otherwise=self._need(leaf.otherwise))
        return leaf

    def _need(self, place: Place) -> PlainValue:
        if place.index not in self._places:
            if place.index in self._plain:  # it stands behind what needs it
                raise _DiffersError
            step = self._trace.steps[place.index]
            args, kwargs = replace_leaves((step.args, step.kwargs), self._given)
            self._append(RolledStep(step.target, args, kwargs, step.line), place.index)
        return PlainValue(self._places[place.index], place.item)

    def _given(self, leaf: Any) -> Argument:
        if isinstance(leaf, Place):
            return self._need(leaf)
        if isinstance(leaf, (int, float)) and not isinstance(leaf, bool):
            return Number(Affine(leaf, (0,) * self._axes), isinstance(leaf, int))
        return leaf
