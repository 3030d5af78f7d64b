"""A trace written anew, with each loop that stands inside of another one as one step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import torch

from rnn_edge.capture.rolling.alignment import JOINING
from rnn_edge.capture.rolling.folded import FoldedLoop, Result, repeat_for_each
from rnn_edge.capture.rolling.nests import Nest
from rnn_edge.capture.rolling.ordering import put_early
from rnn_edge.capture.rolling.program import RolledStep
from rnn_edge.capture.rolling.trace import Place, Source, Step, Trace

_ATEN = torch.ops.aten


@dataclass
class Body:
    """The inner loop as it becomes; what it is given in each iteration of the outer loop."""

    steps: list[RolledStep] = field(default_factory=list)
    places: dict[int, int] = field(default_factory=dict)  # step of the trace's copies -> of these
    numbers: list[Sequence[Any]] = field(default_factory=list)
    values: list[Sequence[Any]] = field(default_factory=list)  # one value, or Each
    known: dict[Any, Source] = field(default_factory=dict)


@dataclass(frozen=True)
class Each:
    """What the inner loop is given in each of its iterations."""

    values: tuple[Any, ...]


class Writer:
    """Writes the trace anew, each inner loop as one step."""

    def __init__(
        self, trace: Trace, nest: Nest, where: dict[int, tuple[int, int, int]],
        hoisted: set[int], body: Body, results: Sequence[tuple[int, int | None, bool]],
    ) -> None:  # fmt: skip
        self._trace = trace
        self._nest = nest
        self._where = where
        self._hoisted = hoisted
        self._body = body
        self._items = {result: item for item, result in enumerate(results)}
        named = tuple(Result(body.places[step], item, every) for step, item, every in results)
        self._target = FoldedLoop(tuple(body.steps), named)
        self._steps: list[Step] = []
        self._moved: dict[int, Place] = {}
        self._loops: list[int] = []  # where each inner loop's step is
        self._early: set[int] = set()

    def write(self) -> Trace:
        starts = {start: i for i, start in enumerate(self._nest.starts)}
        for number, step in enumerate(self._trace.steps):
            if number in starts:
                self._write_loop(starts[number])
            if number not in self._where:
                self._moved[number] = self._write_step(step)
        written = Trace(tuple(self._steps), self._value(self._trace.returned), self._trace.sources)
        return put_early(written, self._early)

    def _add(self, target: Any, *args: Any, line: str = "") -> Place:
        self._steps.append(Step(target, args, {}, line))
        return Place(len(self._steps) - 1)

    def _write_step(self, step: Step) -> Place:
        if step.target in JOINING and len(list(self._stretches(step.args[0]))) < len(step.args[0]):
            dim = step.args[1] if len(step.args) > 1 else 0
            return self._join(step.args[0], dim, step.target is _ATEN.stack.default, step.line)
        args, kwargs = self._value(step.args), self._value(step.kwargs)
        self._steps.append(replace(step, args=args, kwargs=kwargs))
        return Place(len(self._steps) - 1)

    def _write_loop(self, i: int) -> None:
        for number in sorted(self._hoisted):
            place = self._nest.starts[i] + number
            self._moved[place] = self._write_step(self._trace.steps[place])
        values = [self._given(given[i]) for given in self._body.values]
        numbers = tuple(number[i] for number in self._body.numbers)
        line = next(step.line for step in self._target.body)
        loop = self._add(self._target, self._nest.count, numbers, *values, line=line)
        self._loops.append(loop.index)

    def _given(self, value: Any) -> Any:
        if not isinstance(value, Each):
            return self._value(value)
        if all(one == value.values[0] for one in value.values):
            place = self._add(repeat_for_each, self._value(value.values[0]), len(value.values))
            self._early.add(place.index)
            return place
        if len(list(self._stretches(value.values))) < len(value.values):
            return self._join(value.values, 0, True, "")
        place = self._add(_ATEN.stack.default, self._value(value.values), 0)
        self._early.add(place.index)
        return place

    def _value(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(self._value(item) for item in value)
        if isinstance(value, dict):
            return {key: self._value(item) for key, item in value.items()}
        if not isinstance(value, Place):
            return value
        spot = self._where.get(value.index)
        if spot is None or spot[2] in self._hoisted:
            first = value.index if spot is None else self._nest.starts[spot[0]] + spot[2]
            moved = self._moved[first]
            # What joined the results of a loop may have become one of its items.
            return Place(moved.index, moved.item if value.item is None else value.item)
        i, j, step = spot
        if j == self._nest.count - 1 and (step, value.item, False) in self._items:
            return Place(self._loops[i], self._items[step, value.item, False])
        return self._add(_ATEN.select.int, self._every(i, step, value.item), 0, j)

    def _every(self, i: int, step: int, item: int | None) -> Place:
        return Place(self._loops[i], self._items[step, item, True])

    def _stretches(self, values: Sequence[Any]) -> Iterator[list[Any]]:
        """``values`` cut into single ones and neighbouring iterations of one step."""
        stretch: list[Any] = []
        for value in values:
            if stretch and not self._follows(stretch, value):
                yield stretch
                stretch = []
            stretch.append(value)
        if stretch:
            yield stretch

    def _follows(self, stretch: Sequence[Any], value: Any) -> bool:
        spots = [self._spot(one) for one in (*stretch[-2:], value)]
        if None in spots or len({(s[0], s[2], s[3]) for s in spots if s}) > 1:
            return False
        ways = {b[1] - a[1] for a, b in pairwise(spots) if a and b}
        return ways in ({1}, {-1})

    def _spot(self, value: Any) -> tuple[int, int, int, int | None] | None:
        spot = self._where.get(value.index) if isinstance(value, Place) else None
        return None if spot is None or spot[2] in self._hoisted else (*spot, value.item)

    def _join(self, values: Sequence[Any], dim: int, stacks: bool, line: str) -> Place:
        """torch.stack or torch.cat of single values and of the results of inner loops."""
        pieces: list[Any] = []
        for stretch in self._stretches(values):
            if len(stretch) == 1:
                piece = self._value(stretch[0])
                pieces.append(self._add(_ATEN.unsqueeze.default, piece, dim, line=line)
                              if stacks else piece)  # fmt: skip
                continue
            whole = self._part(stretch, line)
            # From the end, an axis is counted among one more than cat() joins along.
            at = dim if stacks or dim >= 0 else dim - 1
            if at:
                whole = self._add(_ATEN.movedim.int, whole, 0, at, line=line)
            if not stacks:
                ends = (at, at + 1)
                whole = self._add(_ATEN.flatten.using_ints, whole, *ends, line=line)
            pieces.append(whole)
        if len(pieces) > 1:
            return self._add(_ATEN.cat.default, tuple(pieces), dim, line=line)
        one: Place = pieces[0]
        return one

    def _part(self, stretch: Sequence[Any], line: str) -> Place:
        """[count, ...]: the results of neighbouring iterations, upwards or downwards."""
        (i, first, step, item), (_, last, *_) = (self._where[p.index] + (p.item,)
                                                 for p in (stretch[0], stretch[-1]))  # fmt: skip
        whole = self._every(i, step, item)
        low, high = min(first, last), max(first, last)
        if (low, high) != (0, self._nest.count - 1):
            whole = self._add(_ATEN.slice.Tensor, whole, 0, low, high + 1, line=line)
        if first > last:
            whole = self._add(_ATEN.flip.default, whole, (0,), line=line)
        return whole
