"""What the steps of a loop are given before they first run, where its iterations differ."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch

from rnn_edge.capture.rolling.affine import Affine, fit
from rnn_edge.capture.rolling.alignment import differs
from rnn_edge.capture.rolling.iterations import Unrolled, copies_of, read_plain
from rnn_edge.capture.rolling.nesting import merge_nested
from rnn_edge.capture.rolling.program import Argument, Number, PlainValue, RolledStep
from rnn_edge.capture.rolling.schedules import Schedule
from rnn_edge.capture.rolling.trace import Place, Source

_ATEN = torch.ops.aten


class Beginnings:
    """``phases`` are those in which each step of the common body runs.

    ``initial`` is what the value of a step is before its first iteration, ``shifted`` the arguments
    of steps that are given others than they were traced with.
    """

    def __init__(
        self, unrolled: Sequence[Unrolled], schedule: Schedule, phases: Sequence[Collection[int]]
    ) -> None:
        self._unrolled = unrolled
        self._schedule = schedule
        self._phases = phases
        self._none = (0,) * len(unrolled[0].sizes)
        self.initial: dict[tuple[int, int | None], Argument] = {}
        self.shifted: dict[int, tuple[Argument, ...]] = {}
        # Values used in one place by different phases, which have one shape: of steps, of others.
        self._alike: list[tuple[set[tuple[int, int | None]], list[Argument]]] = []

    def fill(self) -> list[RolledStep]:
        """Steps in front of the loop for what no value is known to begin with.

        Nothing reads it before its first iteration, but a scan gives it its shape. So it is what
        another value begins with that is used in the same place, or what the first iteration
        gives, or what another step of the kind begins with, or a zero.
        """
        read = {what for step in range(len(self._phases)) for what in self._read_initial(step)}
        fillers: list[RolledStep] = []
        before = self._unrolled[0].start
        missing = self._spread(read - self.initial.keys())
        for value in sorted(missing, key=str):
            first = self._find_first(value) if value not in self.initial else None
            if first is not None:
                place = self._copy_first(first[0], before, fillers)
                self.initial[value] = PlainValue(place, first[1])
                self._spread(missing)
        missing -= self.initial.keys()
        last = [copies_of(self._unrolled, step)[-1][2] for step in range(len(self._phases))]
        target = {number: step.target for number, step in enumerate(last)}
        known = {(target[step], item): value for (step, item), value in self.initial.items()}
        for step, item in missing:
            if (target[step], item) in known:
                self.initial[step, item] = known[target[step], item]
        missing -= self.initial.keys()
        if missing:
            self.initial.update(dict.fromkeys(missing, PlainValue(before + len(fillers), None)))
            fillers.append(RolledStep(_ATEN.zeros.default, ((),), {}, ""))
        for step in range(len(self._phases)):
            self._shift(step, before, fillers)
        for one in self._unrolled:
            one.added = len(fillers)
        return fillers

    def _find_first(self, value: tuple[int, int | None]) -> tuple[int, int | None] | None:
        """What the first iteration gives in the place of ``value``, if it does."""
        used = [value, *(other for values, _ in self._alike if value in values for other in values)]
        last = self._schedule.count - 1
        return next(
            (one for one in used if 0 in self._phases[one[0]] and (one is not value
             or last not in self._phases[one[0]])), None,
        )  # fmt: skip

    def _shift(self, number: int, before: int, fillers: list[RolledStep]) -> None:
        """Let a step that selects place t - k, and is not done in the first k iterations, select
        place t behind k places that are filled up: all iterations do what one of them does.
        """
        copies = copies_of(self._unrolled, number)
        if copies[0][2].target is not _ATEN.select.int or 0 in self._phases[number]:
            return
        x, dim, _ = copies[0][2].args
        rest = {repr(step.args[1]) for *_, step in copies}
        if (isinstance(x, Place) and x.index in copies[0][0].where) or len(rest) > 1:
            return
        points = [(one.sizes, iteration) for one, iteration, _ in copies]
        places = [step.args[2] for *_, step in copies]
        index = fit(points, places)
        if (
            index is None
            or min(places) < 0
            or index.constant >= 0
            or index.by_iteration != 1
            or any(index.by_size)
        ):
            return
        x, dim = read_plain(copies[0][0], x), self._whole(dim)
        at = before + len(fillers)
        first = (x, dim, self._whole(0), self._whole(1))
        fillers.append(RolledStep(_ATEN.slice.Tensor, first, {}, ""))
        fillers.append(RolledStep(_ATEN.zeros_like.default, (PlainValue(at, None),), {}, ""))
        filling = (PlainValue(at + 1, None),) * -int(index.constant)
        fillers.append(RolledStep(_ATEN.cat.default, ((*filling, x), dim), {}, ""))
        place = Number(Affine(0, self._none, 1), True)
        self.shifted[number] = (PlainValue(at + 2, None), dim, place)

    def _spread(self, unknown: Collection[tuple[int, int | None]]) -> set[tuple[int, int | None]]:
        """Those of ``unknown`` that no value used in the same place tells how to begin."""
        missing, found = set(unknown) - self.initial.keys(), True
        while missing and found:
            found = False
            for values, outside in self._alike:
                known = [self.initial[value] for value in values if value in self.initial]
                for value in (values & missing) if known or outside else ():
                    self.initial[value] = (outside or known)[0]
                    missing.discard(value)
                    found = True
        return missing

    def _copy_first(self, step: int, before: int, fillers: list[RolledStep]) -> int:
        """The place of ``step`` of the first iteration, done outside of the loop."""
        firsts = [one.copies[0] for one in self._unrolled]
        offsets = {own: place - self._unrolled[0].start
                   for place, (iteration, own) in self._unrolled[0].where.items()
                   if iteration == 0}  # fmt: skip
        points = [(one.sizes, 0) for one in self._unrolled]

        def outside(places: Sequence[Any]) -> Argument:
            one, place = self._unrolled[0], places[0]
            if isinstance(place, Place) and place.index in one.where:
                return PlainValue(copy(place.index - one.start), place.item)
            return read_plain(one, place)

        def copy(offset: int) -> int:
            steps = [one.trace.steps[first.start + offset]
                     for one, first in zip(self._unrolled, firsts, strict=True)]  # fmt: skip
            args, kwargs = (
                merge_nested([getattr(step, part) for step in steps], points, "", outside)
                for part in ("args", "kwargs")
            )
            fillers.append(RolledStep(steps[0].target, args, kwargs, steps[0].line))
            return before + len(fillers) - 1

        return copy(offsets[step])

    def _read_initial(self, number: int) -> set[tuple[int, int | None]]:
        """Notes what the steps that ``number`` reads later are before they first run."""
        read = set()
        copies = copies_of(self._unrolled, number)

        def note(values: Sequence[Any]) -> Argument:
            alike: set[tuple[int, int | None]] = set()
            outside: list[Argument] = []
            for phase in range(self._schedule.count):
                rows = [(one, iteration, value)
                        for value, (one, iteration, _) in zip(values, copies, strict=True)
                        if self._schedule.phase_of(iteration) == phase]  # fmt: skip
                if not rows or not isinstance(rows[-1][2], (Place, Source)):
                    continue
                one, iteration, last = rows[-1]
                if not isinstance(last, Place) or last.index not in one.where:
                    outside.append(read_plain(one, last))
                    continue
                before, step = one.where[last.index]
                alike.add((step, last.item))
                if iteration > before:
                    read.add((step, last.item))
                for row, other, value in rows:
                    if other < iteration - before:
                        found = read_plain(row, value)
                        if self.initial.setdefault((step, last.item), found) != found:
                            raise differs(copies[-1][2].line)
            if len(alike) + len(outside) > 1:
                self._alike.append((alike, outside))
            return None

        points = [(one.sizes, iteration) for one, iteration, _ in copies]
        for part in ("args", "kwargs"):
            merge_nested([getattr(step, part) for *_, step in copies], points, "", note)
        return read

    def _whole(self, value: int) -> Number:
        return Number(Affine(value, self._none), True)
