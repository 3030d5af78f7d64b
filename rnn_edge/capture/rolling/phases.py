"""Loops whose iterations repeat after k, or differ in the first k: one body, which chooses.

A step that is left out in some iterations is computed in all, and its last value is held where it
is left out. What a step is given may differ from phase to phase: it is chosen by the iteration's
number. So every iteration does the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import islice
from typing import Any

import torch

from rnn_edge.capture.rolling.affine import Affine, fit
from rnn_edge.capture.rolling.alignment import (
    NotRollableError,
    Sizes,
    differs,
)
from rnn_edge.capture.rolling.beginnings import Beginnings
from rnn_edge.capture.rolling.iterations import (
    Unrolled,
    copies_of,
    read_plain,
    read_variants,
    repeat,
    unite,
    unroll,
    unroll_opening,
)
from rnn_edge.capture.rolling.nesting import merge_nested
from rnn_edge.capture.rolling.program import (
    Argument,
    Collected,
    Loop,
    LoopValue,
    Number,
    OwnValue,
    RolledProgram,
    RolledStep,
)
from rnn_edge.capture.rolling.schedules import Cycle, Opening, Schedule, find_stretch
from rnn_edge.capture.rolling.trace import Place, Step, Trace

_ATEN = torch.ops.aten
# So many places are tried at which the first iteration may begin.
_MOST_CUTS = 40


def align_phases(traces: Sequence[tuple[Sizes, Trace]], period: int) -> RolledProgram:
    """One program from ``traces`` at lengths that follow each other, and one more.

    Raises NotRollableError where the iterations do not repeat after ``period``.
    """
    return _align(unroll(traces, period), Cycle(period))


def align_opening(traces: Sequence[tuple[Sizes, Trace]], longest: int) -> RolledProgram:
    """As align_phases(), where at most the first ``longest`` iterations differ from all others."""
    found: list[RolledProgram] = []
    for unrolled in islice(unroll_opening(traces), _MOST_CUTS):
        for length in range(1, longest + 1):
            try:
                found.append(_align(unrolled, Opening(length)))
                break
            except NotRollableError:
                continue
    if not found:
        raise differs("")
    # What stands before the loop need not be a part of it.
    return min(found, key=_count_steps)


def _count_steps(program: RolledProgram) -> int:
    bodies = [item.body for item in program.items if isinstance(item, Loop)]
    return sum(map(len, bodies)) + len(program.items)


def _align(unrolled: list[Unrolled], schedule: Schedule) -> RolledProgram:
    if not repeat(unrolled, schedule):
        raise differs("")
    body, active = unite(read_variants(unrolled, schedule))
    for one in unrolled:
        one.where.clear()
        for iteration, copy in enumerate(one.copies):
            steps = active[schedule.phase_of(iteration)]
            for place, step in zip(range(copy.start, copy.end), steps, strict=True):
                one.where[place] = (iteration, step)
    return _Merge(unrolled, schedule, len(body), active).merge()


class _Merge:
    """The common body; steps that choose and hold are added behind those of the loop itself."""

    def __init__(
        self,
        unrolled: Sequence[Unrolled],
        schedule: Schedule,
        count: int,
        active: Sequence[list[int]],
    ) -> None:
        self._unrolled = unrolled
        self._schedule = schedule
        self._phases = [
            frozenset(phase for phase in range(schedule.count) if step in active[phase])
            for step in range(count)
        ]
        self._none = (0,) * len(unrolled[0].sizes)
        self._body: list[Any] = [None] * count
        self._flags: dict[tuple[int, ...], OwnValue] = {}
        self._chosen: dict[tuple[Argument, ...], OwnValue] = {}
        self._held: dict[tuple[int, int | None], int] = {}
        self._beginnings = Beginnings(unrolled, schedule, self._phases)
        self._initial = self._beginnings.initial

    def merge(self) -> RolledProgram:
        count = fit([(one.sizes, 0) for one in self._unrolled],
                    [len(one.copies) for one in self._unrolled])  # fmt: skip
        if count is None:
            raise differs("")
        before = self._unrolled[0].start
        fillers = self._beginnings.fill()
        for step in range(len(self._body)):
            self._body[step] = self._merge_step(step)
        outside = [self._merge_plain([one.plain()[place] for one in self._unrolled])
                   for place in range(len(self._unrolled[0].plain()))]  # fmt: skip
        returned = self._outside([one.trace.returned for one in self._unrolled], "the result")
        loop = Loop(0, count, tuple(self._body))
        items: list[RolledStep | Loop] = [*outside[:before], *fillers, loop, *outside[before:]]
        return RolledProgram(tuple(items), returned, self._unrolled[0].trace.sources)

    def _merge_step(self, number: int) -> RolledStep:
        copies = copies_of(self._unrolled, number)
        head = copies[-1][2]
        line = head.line or str(head.target)
        where = [(one, iteration) for one, iteration, _ in copies]
        args = self._beginnings.shifted.get(number) or self._inside(
            [s.args for *_, s in copies], where, line
        )
        kwargs = self._inside([step.kwargs for *_, step in copies], where, line)
        return RolledStep(head.target, args, kwargs, line)

    def _inside(
        self, versions: Sequence[Any], where: Sequence[tuple[Unrolled, int]], line: str
    ) -> Argument:
        """One argument of the body, from its versions in iterations of traces."""

        def merge_places(places: Sequence[Any]) -> Argument:
            by_phase: dict[int, list[tuple[Unrolled, int, Any]]] = {}
            for place, (one, iteration) in zip(places, where, strict=True):
                by_phase.setdefault(self._schedule.phase_of(iteration), []).append(
                    (one, iteration, place)
                )
            return self._choose({phase: self._merge_phase(phase, rows, line)
                                 for phase, rows in by_phase.items()})  # fmt: skip

        points = [(one.sizes, iteration) for one, iteration in where]
        return merge_nested(versions, points, line, merge_places)

    def _merge_phase(
        self, phase: int, rows: Sequence[tuple[Unrolled, int, Any]], line: str
    ) -> Argument:
        """A value that the iterations of one phase are given."""
        one, iteration, last = rows[-1]
        if not isinstance(last, Place) or last.index not in one.where:
            values = {read_plain(row, place) for row, _, place in rows}
            if len(values) > 1:
                raise differs(line)
            return values.pop()
        before, step = one.where[last.index]
        delay = iteration - before
        for row, other, place in rows:
            if other >= delay and (
                not isinstance(place, Place)
                or row.where.get(place.index) != (other - delay, step)
                or place.item != last.item
            ):
                raise differs(line)
        return self._read(step, last.item, delay, phase, line)

    def _read(self, step: int, item: int | None, delay: int, phase: int, line: str) -> OwnValue:
        """What ``step`` gave ``delay`` iterations before one of ``phase``."""
        if delay == 0:
            return OwnValue(step, item, 0)
        between = self._phases_between(phase, 1, delay)
        if between & self._phases[step] or (step, item) not in self._initial:
            raise differs(line)
        initial = (self._initial[step, item],)
        if len(self._phases[step]) == self._schedule.count:
            return OwnValue(step, item, 1, initial)
        return OwnValue(self._hold(step, item), None, 1, initial)

    def _add(self, target: Callable[..., Any], *args: Argument) -> int:
        self._body.append(RolledStep(target, args, {}, ""))
        return len(self._body) - 1

    def _phases_between(self, phase: int, first: int, end: int) -> set[int]:
        before = (self._schedule.phases_before(phase, back) for back in range(first, end))
        return {each for phases in before for each in phases}

    def _flag(self, phases: Collection[int]) -> OwnValue:
        """Whether an iteration is of one of ``phases``."""
        key = tuple(sorted(phases))
        if key not in self._flags:
            self._flags[key] = OwnValue(self._add_flag(key), None, 0)
        return self._flags[key]

    def _add_flag(self, phases: tuple[int, ...]) -> int:
        place = Number(Affine(0, self._none, 1), True)
        opening = isinstance(self._schedule, Opening)
        stretch = find_stretch(phases, self._schedule.count) if opening else None
        if stretch is not None:
            first, end = stretch
            if first == 0:
                return self._add(_ATEN.lt.Scalar, place, self._constant(end))
            return self._add(_ATEN.ge.Scalar, place, self._constant(first))
        if len(phases) > 1:
            *others, last = (self._flag((phase,)) for phase in phases)
            flag = last
            for other in others:
                flag = OwnValue(self._add(_ATEN.logical_or.default, other, flag), None, 0)
            return flag.step
        if opening:
            return self._add(_ATEN.eq.Scalar, place, self._constant(phases[0]))
        rest = self._add(_ATEN.remainder.Scalar, place, self._constant(self._schedule.count))
        return self._add(_ATEN.eq.Scalar, OwnValue(rest, None, 0), self._constant(phases[0]))

    def _constant(self, value: int) -> Number:
        return Number(Affine(value, self._none), True)

    def _choose(self, by_phase: dict[int, Argument]) -> Argument:
        """The value of the iteration's phase."""
        values = list(by_phase.values())
        if all(value == values[0] for value in values):
            return values[0]
        key = tuple(by_phase.items())
        if key not in self._chosen:
            phases_of: dict[Argument, list[int]] = {}
            for phase, value in by_phase.items():
                phases_of.setdefault(value, []).append(phase)
            # The last one is that of most iterations.
            *others, (chosen, _) = phases_of.items()
            for value, phases in others:
                step = self._add(_ATEN.where.self, self._flag(phases), value, chosen)
                chosen = OwnValue(step, None, 0)
            self._chosen[key] = chosen
        return self._chosen[key]

    def _hold(self, step: int, item: int | None) -> int:
        """The step that gives the last value of ``step``, in iterations that leave it out too."""
        if (step, item) not in self._held:
            before = (self._initial[step, item],)
            number = self._held[step, item] = len(self._body)
            self._body.append(None)
            held: OwnValue = OwnValue(number, None, 1, before)
            args = (self._flag(self._phases[step]), OwnValue(step, item, 0), held)
            self._body[number] = RolledStep(_ATEN.where.self, args, {}, "")
        return self._held[step, item]

    def _merge_plain(self, steps: Sequence[Step]) -> RolledStep:
        head = steps[0]
        line = head.line or str(head.target)
        args = self._outside([step.args for step in steps], line)
        return RolledStep(head.target, args, self._outside([s.kwargs for s in steps], line), line)

    def _outside(self, versions: Sequence[Any], line: str) -> Argument:
        points = [(one.sizes, 0) for one in self._unrolled]

        def merge_places(places: Sequence[Any]) -> Argument:
            pairs = list(zip(self._unrolled, places, strict=True))
            inside = [isinstance(p, Place) and p.index in one.where for one, p in pairs]
            if not any(inside):
                values = {read_plain(one, place) for one, place in pairs}
                if len(values) == 1:
                    return values.pop()
            if not all(inside):
                raise differs(line)
            last = [(len(one.copies) - 1, place) for one, place in pairs]
            step, item = self._leave(list(zip(self._unrolled, last, strict=True)), line)
            count = fit(points, [len(one.copies) - 1 for one in self._unrolled])
            assert count is not None
            return LoopValue(0, step, item, count)

        def merge_list(lists: Sequence[tuple[Any, ...]]) -> Argument | None:
            return self._collect(lists, points, line)

        return merge_nested(versions, points, line, merge_places, merge_list)

    def _collect(
        self, lists: Sequence[tuple[Any, ...]], points: Sequence[tuple[Sizes, int]], line: str
    ) -> Argument | None:
        """A list of results of neighbouring iterations, up or down, single ones beside it.

        Where not all iterations give an item, those do that computed it.
        """
        sources, firsts, counts, pieces = [], [], [], []
        directions, grows = set(), len({len(items) for items in lists}) > 1
        for one, items in zip(self._unrolled, lists, strict=True):
            own = [n for n, item in enumerate(items)
                   if isinstance(item, Place) and item.index in one.where]  # fmt: skip
            is_partial = len(own) != len(one.copies)
            if not own or (is_partial and not grows) or own != list(range(own[0], own[-1] + 1)):
                return None
            stretch = [items[n] for n in own]
            pieces.append((list(items[: own[0]]), list(items[own[-1] + 1 :])))
            upwards = one.where[stretch[0].index][0] <= one.where[stretch[-1].index][0]
            directions.add(1 if upwards else -1)
            ordered = stretch if upwards else stretch[::-1]
            given = [one.where[item.index][0] for item in ordered]
            iterations = given if is_partial else range(len(one.copies))
            if list(iterations) != list(range(iterations[0], iterations[0] + len(own))):
                return None
            sources += [(one, pair) for pair in zip(iterations, ordered, strict=True)]
            firsts.append(iterations[0])
            counts.append(len(own))
        first, count = fit(points, firsts), fit(points, counts)
        if len(directions) > 1 or first is None or count is None:
            return None
        step, item = self._leave(sources, line)
        direction = directions.pop()
        if direction < 0:
            first = first.plus(count).plus(Affine(-1, self._none))
        middle = Collected(0, step, item, first, count, direction)
        ends = [[self._outside(column, line) for column in zip(*side, strict=True)]
                for side in zip(*pieces, strict=True)]  # fmt: skip
        return (*ends[0], middle, *ends[1])

    def _leave(
        self, values: Sequence[tuple[Unrolled, tuple[int, Place]]], line: str
    ) -> tuple[int, int | None]:
        """The step that gives what is read outside after each iteration."""
        by_phase: dict[int, set[OwnValue]] = {}
        for one, (iteration, place) in values:
            before, step = one.where[place.index]
            phase, delay = self._schedule.phase_of(iteration), iteration - before
            if delay < 0:
                raise differs(line)
            between = self._phases_between(phase, 0, delay)
            if delay and (between & self._phases[step] or (step, place.item) not in self._initial):
                raise differs(line)
            everywhere = len(self._phases[step]) == self._schedule.count
            if delay or (not everywhere and (step, place.item) in self._initial):
                read = OwnValue(self._hold(step, place.item), None, 0)
            else:
                read = OwnValue(step, place.item, 0)
            by_phase.setdefault(phase, set()).add(read)
        if any(len(reads) > 1 for reads in by_phase.values()):
            raise differs(line)
        chosen = self._choose({phase: reads.pop() for phase, reads in by_phase.items()})
        return chosen.step, chosen.item
