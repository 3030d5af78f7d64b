"""Loops whose iterations repeat after k: one body that holds all variants, and chooses.

A step that is left out in some iterations is computed in all, and its last value is held where it
is left out. What a step is given may differ from phase to phase: it is chosen by the iteration's
number. So every iteration does the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch

from rnn_edge.capture.rolling.affine import Affine, fit
from rnn_edge.capture.rolling.alignment import (
    Sizes,
    differs,
    merge_constants,
)
from rnn_edge.capture.rolling.iterations import Unrolled, read_variants, unite, unroll
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
)
from rnn_edge.capture.rolling.trace import Place, Source, Step, Trace

_ATEN = torch.ops.aten


def align_phases(traces: Sequence[tuple[Sizes, Trace]], period: int) -> RolledProgram:
    """One program from ``traces`` at lengths that follow each other, and one more.

    Raises NotRollableError where the iterations do not repeat after ``period``.
    """
    unrolled = unroll(traces, period)
    variants = read_variants(unrolled, period)
    body, active = unite(variants)
    for one in unrolled:
        for iteration, copy in enumerate(one.copies):
            phase = iteration % period
            for place, step in zip(range(copy.start, copy.end), active[phase], strict=True):
                one.where[place] = (iteration, step)
    return _Merge(unrolled, period, len(body), active).merge()


class _Merge:
    """The common body; steps that choose and hold are added behind those of the loop itself."""

    def __init__(
        self, unrolled: Sequence[Unrolled], period: int, count: int, active: Sequence[list[int]]
    ) -> None:
        self._unrolled = unrolled
        self._period = period
        self._phases = [
            frozenset(phase for phase in range(period) if step in active[phase])
            for step in range(count)
        ]
        self._none = (0,) * len(unrolled[0].sizes)
        self._body: list[Any] = [None] * count
        self._flags: dict[int, OwnValue] = {}
        self._chosen: dict[tuple[Argument, ...], OwnValue] = {}
        # What a step's value is before its first iteration, from whoever reads it then.
        self._initial: dict[tuple[int, int | None], Argument] = {}
        self._held: dict[tuple[int, int | None], int] = {}

    def merge(self) -> RolledProgram:
        count = fit([(one.sizes, 0) for one in self._unrolled],
                    [len(one.copies) for one in self._unrolled])  # fmt: skip
        if count is None:
            raise differs("")
        read = {what for step in range(len(self._body)) for what in self._read_initial(step)}
        before = self._unrolled[0].start
        fillers = self._fill(read - self._initial.keys(), before)
        for step in range(len(self._body)):
            self._body[step] = self._merge_step(step)
        outside = [self._merge_plain([one.plain()[place] for one in self._unrolled])
                   for place in range(len(self._unrolled[0].plain()))]  # fmt: skip
        returned = self._outside([one.trace.returned for one in self._unrolled], "the result")
        loop = Loop(0, count, tuple(self._body))
        items: list[RolledStep | Loop] = [*outside[:before], *fillers, loop, *outside[before:]]
        return RolledProgram(tuple(items), returned, self._unrolled[0].trace.sources)

    def _copies(self, step: int) -> list[tuple[Unrolled, int, Step]]:
        """(trace, iteration, step) of every copy of a step of the body."""
        return [
            (one, iteration, one.trace.steps[place])
            for one in self._unrolled
            for place, (iteration, own) in one.where.items()
            if own == step
        ]

    def _merge_step(self, number: int) -> RolledStep:
        copies = self._copies(number)
        head = copies[-1][2]
        line = head.line or str(head.target)
        where = [(one, iteration) for one, iteration, _ in copies]
        args = self._inside([step.args for *_, step in copies], where, line)
        kwargs = self._inside([step.kwargs for *_, step in copies], where, line)
        return RolledStep(head.target, args, kwargs, line)

    def _inside(
        self, versions: Sequence[Any], where: Sequence[tuple[Unrolled, int]], line: str
    ) -> Argument:
        """One argument of the body, from its versions in iterations of traces."""

        def merge_places(places: Sequence[Any]) -> Argument:
            by_phase: dict[int, list[tuple[Unrolled, int, Any]]] = {}
            for place, (one, iteration) in zip(places, where, strict=True):
                by_phase.setdefault(iteration % self._period, []).append((one, iteration, place))
            return self._choose({phase: self._merge_phase(phase, rows, line)
                                 for phase, rows in by_phase.items()})  # fmt: skip

        points = [(one.sizes, iteration) for one, iteration in where]
        return _merge_nested(versions, points, line, merge_places)

    def _merge_phase(
        self, phase: int, rows: Sequence[tuple[Unrolled, int, Any]], line: str
    ) -> Argument:
        """A value that the iterations of one phase are given."""
        one, iteration, last = rows[-1]
        if not isinstance(last, Place) or last.index not in one.where:
            values = {self._plain(row, place) for row, _, place in rows}
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
        between = {(phase - back) % self._period for back in range(1, delay)}
        if between & self._phases[step] or (step, item) not in self._initial:
            raise differs(line)
        initial = (self._initial[step, item],)
        if len(self._phases[step]) == self._period:
            return OwnValue(step, item, 1, initial)
        return OwnValue(self._hold(step, item), None, 1, initial)

    def _fill(self, unknown: Collection[tuple[int, int | None]], before: int) -> list[RolledStep]:
        """Anything of its shape for what nothing reads before its first iteration.

        That is what another step of the kind begins with, or a zero: a scan gives it its shape.
        """
        target = {step: self._copies(step)[-1][2].target for step in range(len(self._body))}
        known = {(target[step], item): value for (step, item), value in self._initial.items()}
        missing = set()
        for step, item in unknown:
            if (target[step], item) in known:
                self._initial[step, item] = known[target[step], item]
            else:
                missing.add((step, item))
        if not missing:
            return []
        self._initial.update(dict.fromkeys(missing, PlainValue(before, None)))
        for one in self._unrolled:
            one.added = 1
        return [RolledStep(_ATEN.zeros.default, ((),), {}, "")]

    def _read_initial(self, number: int) -> set[tuple[int, int | None]]:
        """Notes what the steps that ``number`` reads later are before they first run."""
        read = set()
        copies = self._copies(number)

        def note(values: Sequence[Any]) -> Argument:
            for phase in range(self._period):
                rows = [(one, iteration, value)
                        for value, (one, iteration, _) in zip(values, copies, strict=True)
                        if iteration % self._period == phase]  # fmt: skip
                if not rows or not isinstance(rows[-1][2], Place):
                    continue
                one, iteration, last = rows[-1]
                if last.index not in one.where:
                    continue
                before, step = one.where[last.index]
                if iteration > before:
                    read.add((step, last.item))
                for row, other, value in rows:
                    if other < iteration - before:
                        found = self._plain(row, value)
                        if self._initial.setdefault((step, last.item), found) != found:
                            raise differs(copies[-1][2].line)
            return None

        points = [(one.sizes, iteration) for one, iteration, _ in copies]
        for part in ("args", "kwargs"):
            _merge_nested([getattr(step, part) for *_, step in copies], points, "", note)
        return read

    def _plain(self, one: Unrolled, value: Any) -> Argument:
        """A value from outside of the loop."""
        if isinstance(value, Place):
            if value.index in one.where:
                raise differs("")
            return PlainValue(one.plain_place(value.index), value.item)
        return value

    def _add(self, target: Callable[..., Any], *args: Argument) -> int:
        self._body.append(RolledStep(target, args, {}, ""))
        return len(self._body) - 1

    def _flag(self, phase: int) -> OwnValue:
        """Whether an iteration is of ``phase``."""
        if phase not in self._flags:
            place = Number(Affine(0, self._none, 1), True)
            rest = self._add(_ATEN.remainder.Scalar, place, self._constant(self._period))
            flag = self._add(_ATEN.eq.Scalar, OwnValue(rest, None, 0), self._constant(phase))
            self._flags[phase] = OwnValue(flag, None, 0)
        return self._flags[phase]

    def _constant(self, value: int) -> Number:
        return Number(Affine(value, self._none), True)

    def _choose(self, by_phase: dict[int, Argument]) -> Argument:
        """The value of the iteration's phase."""
        values = list(by_phase.values())
        if all(value == values[0] for value in values):
            return values[0]
        key = tuple(by_phase.items())
        if key not in self._chosen:
            (_, chosen), *others = by_phase.items()
            for phase, value in others:
                step = self._add(_ATEN.where.self, self._flag(phase), value, chosen)
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
            *others, last = sorted(self._phases[step])
            for phase in others:
                chosen = self._add(_ATEN.where.self, self._flag(phase),
                                   OwnValue(step, item, 0), held)  # fmt: skip
                held = OwnValue(chosen, None, 0)
            args = (self._flag(last), OwnValue(step, item, 0), held)
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
                values = {self._plain(one, place) for one, place in pairs}
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

        return _merge_nested(versions, points, line, merge_places, merge_list)

    def _collect(
        self, lists: Sequence[tuple[Any, ...]], points: Sequence[tuple[Sizes, int]], line: str
    ) -> Argument | None:
        """A list with one item for each iteration, upwards or downwards."""
        sources = []
        directions = set()
        pieces: list[tuple[list[Any], list[Any]]] = []
        for one, items in zip(self._unrolled, lists, strict=True):
            own = [n for n, item in enumerate(items)
                   if isinstance(item, Place) and item.index in one.where]  # fmt: skip
            if len(own) != len(one.copies) or own != list(range(own[0], own[-1] + 1)):
                return None
            stretch = [items[n] for n in own]
            pieces.append((list(items[: own[0]]), list(items[own[-1] + 1 :])))
            upwards = one.where[stretch[0].index][0] <= one.where[stretch[-1].index][0]
            directions.add(1 if upwards else -1)
            ordered = stretch if upwards else stretch[::-1]
            sources += [(one, (iteration, item)) for iteration, item in enumerate(ordered)]
        counts = fit(points, [len(one.copies) for one in self._unrolled])
        if len(directions) > 1 or counts is None:
            return None
        step, item = self._leave(sources, line)
        direction = directions.pop()
        first = Affine(0, self._none) if direction > 0 else counts.plus(Affine(-1, self._none))
        middle = Collected(0, step, item, first, counts, direction)
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
            phase, delay = iteration % self._period, iteration - before
            if delay < 0:
                raise differs(line)
            between = {(phase - back) % self._period for back in range(delay)}
            if delay and (between & self._phases[step] or (step, place.item) not in self._initial):
                raise differs(line)
            everywhere = len(self._phases[step]) == self._period
            if delay or (not everywhere and (step, place.item) in self._initial):
                read = OwnValue(self._hold(step, place.item), None, 0)
            else:
                read = OwnValue(step, place.item, 0)
            by_phase.setdefault(phase, set()).add(read)
        if any(len(reads) > 1 for reads in by_phase.values()):
            raise differs(line)
        chosen = self._choose({phase: reads.pop() for phase, reads in by_phase.items()})
        return chosen.step, chosen.item


def _merge_nested(
    versions: Sequence[Any],
    points: Sequence[tuple[Sizes, int]],
    line: str,
    merge_places: Callable[[Sequence[Any]], Argument],
    merge_list: Callable[[Sequence[tuple[Any, ...]]], Argument | None] | None = None,
) -> Argument:
    """Nested arguments merged leaf by leaf."""
    head = versions[-1]

    def inner(parts: Sequence[Any]) -> Argument:
        return _merge_nested(parts, points, line, merge_places, merge_list)

    if isinstance(head, tuple):
        if merge_list and any(isinstance(item, Place) for item in head):
            collected = merge_list(versions)
            if collected is not None:
                return collected
        if len({len(version) for version in versions}) > 1:
            raise differs(line)
        return tuple(inner(parts) for parts in zip(*versions, strict=True))
    if isinstance(head, dict):
        return {key: inner([version[key] for version in versions]) for key in head}
    if any(isinstance(version, (Place, Source)) for version in versions):
        return merge_places(versions)
    return merge_constants(versions, points, line)
