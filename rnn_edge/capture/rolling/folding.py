"""A trace whose loops inside of loops are one step each: their iterations then look alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch

from rnn_edge.capture.rolling.alignment import JOINING, NotRollableError, differs
from rnn_edge.capture.rolling.folded import FoldedLoop, Lifted, Result, repeat_for_each
from rnn_edge.capture.rolling.program import OwnValue, RolledStep
from rnn_edge.capture.rolling.runs import Run, describe, find_runs, is_worthwhile
from rnn_edge.capture.rolling.steps import arrange, leaves_of
from rnn_edge.capture.rolling.trace import Place, Source, Step, Trace

_ATEN = torch.ops.aten
# versions[i][j]: what is the same in the program, in iteration j of the loop that is in iteration
# i of the one around it.
_Versions: TypeAlias = Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Nest:
    """``starts`` are where the inner loop begins, in each iteration of the one around it."""

    starts: tuple[int, ...]
    period: int
    count: int



def fold_inner_loops(trace: Trace) -> Trace:
    """``trace`` with every loop inside of a loop, where that can be, as one step."""
    refused: set[str] = set()
    while (found := _find_nest(trace, refused)) is not None:
        name, nest = found
        try:
            trace = _Fold(trace, nest).apply()
        except NotRollableError:
            refused.add(name)
    return trace


def _find_nest(trace: Trace, refused: set[str]) -> tuple[str, Nest] | None:
    for outer in find_runs(trace):
        for inner in _runs_inside(trace, outer):
            starts = tuple(outer.start + i * outer.period + inner.start for i in range(outer.count))
            first = trace.steps[starts[1]]
            name = f"{describe(first, {})} {inner.period}"
            if is_worthwhile(inner) and name not in refused:
                return name, Nest(starts, inner.period, inner.count)
    return None


def _runs_inside(trace: Trace, outer: Run) -> list[Run]:
    """The runs in one iteration of ``outer``, the second, which starts from nothing outside."""
    start = outer.start + outer.period
    return find_runs(Trace(trace.steps[start : start + outer.period], None, trace.sources))


@dataclass
class _Body:
    """The inner loop as it becomes; what it is given in each iteration of the outer loop."""

    steps: list[RolledStep] = field(default_factory=list)
    places: dict[int, int] = field(default_factory=dict)  # step of the trace's copies -> of these
    numbers: list[Sequence[Any]] = field(default_factory=list)
    values: list[Sequence[Any]] = field(default_factory=list)  # one value, or _Each
    known: dict[Any, Source] = field(default_factory=dict)


@dataclass(frozen=True)
class _Each:
    """What the inner loop is given in each of its iterations."""

    values: tuple[Any, ...]


class _Fold:
    """Folds one inner loop in all iterations of the outer one."""

    def __init__(self, trace: Trace, nest: Nest) -> None:
        self._trace = trace
        self._nest = nest
        self._where = {
            start + n: (i, *divmod(n, nest.period))
            for i, start in enumerate(nest.starts)
            for n in range(nest.period * nest.count)
        }
        self._body = _Body()
        self._hoisted: set[int] = set()

    def apply(self) -> Trace:
        for step in range(self._nest.period):
            if self._is_same(step):
                self._hoisted.add(step)
        kept = [step for step in range(self._nest.period) if step not in self._hoisted]
        self._body.places = {step: place for place, step in enumerate(kept)}
        self._body.steps = [None] * len(kept)  # type: ignore[list-item]
        for step in kept:
            self._body.steps[self._body.places[step]] = self._merge_step(step)
        results = self._find_results()
        return _Writer(self._trace, self._nest, self._where, self._hoisted, self._body,
                       results).write()  # fmt: skip

    def _copies(self, step: int) -> list[list[Step]]:
        return [
            [self._trace.steps[start + j * self._nest.period + step]
             for j in range(self._nest.count)]
            for start in self._nest.starts
        ]  # fmt: skip

    def _canonical(self, value: Any) -> Any:
        """What is the same in every iteration is what it is in the first one."""
        if isinstance(value, tuple):
            return tuple(self._canonical(item) for item in value)
        if isinstance(value, dict):
            return {key: self._canonical(item) for key, item in value.items()}
        spot = self._where.get(value.index) if isinstance(value, Place) else None
        if spot is None or spot[2] not in self._hoisted:
            return value
        return Place(self._nest.starts[spot[0]] + spot[2], value.item)

    def _is_same(self, step: int) -> bool:
        """Whether all iterations of an inner loop do the very same in ``step``."""
        for i, copies in enumerate(self._copies(step)):
            first = self._canonical((copies[0].args, copies[0].kwargs))
            if any(self._canonical((c.args, c.kwargs)) != first for c in copies[1:]):
                return False
            if any(self._is_inside(leaf, i) for leaf in leaves_of(first)):
                return False
        return torch.Tag.nondeterministic_seeded not in getattr(copies[0].target, "tags", ())

    def _is_inside(self, leaf: Any, i: int) -> bool:
        spot = self._where.get(leaf.index) if isinstance(leaf, Place) else None
        return spot is not None and spot[0] == i and spot[2] not in self._hoisted

    def _merge_step(self, step: int) -> RolledStep:
        copies = self._copies(step)
        head = copies[0][-1]
        line = head.line or str(head.target)
        args = self._merge([[c.args for c in row] for row in copies], line)
        kwargs = self._merge([[c.kwargs for c in row] for row in copies], line)
        return RolledStep(head.target, args, kwargs, head.line)

    def _merge(self, versions: _Versions, line: str) -> Any:
        flat = [value for row in versions for value in row]
        head = versions[0][-1]
        if isinstance(head, tuple):
            if any(not isinstance(v, tuple) or len(v) != len(head) for v in flat):
                raise differs(line)
            return tuple(
                self._merge([[v[n] for v in row] for row in versions], line)
                for n in range(len(head))
            )
        if isinstance(head, dict):
            if any(v.keys() != head.keys() for v in flat):
                raise differs(line)
            return {key: self._merge([[v[key] for v in row] for row in versions], line)
                    for key in head}  # fmt: skip
        if any(isinstance(value, (Place, Source)) for value in flat):
            if not all(isinstance(value, (Place, Source)) for value in flat):
                raise differs(line)
            rows = [[self._canonical(value) for value in row] for row in versions]
            return self._merge_values(rows, line)
        if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in flat):
            return self._merge_numbers(versions, line)
        if any(v != head or type(v) is not type(head) for v in flat):
            raise differs(line)
        return head

    def _merge_numbers(self, versions: _Versions, line: str) -> Lifted:
        whole = all(isinstance(value, int) for row in versions for value in row)
        slopes = {row[1] - row[0] if whole else round(row[1] - row[0], 9) for row in versions}
        slope = slopes.pop()
        straight = all(
            abs(row[0] + slope * j - value) <= 1e-9 * max(1.0, abs(value))
            for row in versions
            for j, value in enumerate(row)
        )
        if slopes or not straight:
            raise differs(line)
        self._body.numbers.append([row[0] for row in versions])
        return Lifted(len(self._body.numbers) - 1, slope, whole)

    def _merge_values(self, versions: _Versions, line: str) -> Any:
        last = versions[0][-1]
        spot = self._where.get(last.index) if isinstance(last, Place) else None
        if spot is not None and spot[0] == 0 and spot[2] not in self._hoisted:
            return self._merge_own(versions, self._nest.count - 1 - spot[1], spot[2], line)
        if all(value == row[0] for row in versions for value in row):
            return self._give([row[0] for row in versions])
        each = self._give([_Each(tuple(row)) for row in versions])
        zero, one = self._count(0), self._count(1)
        chosen = RolledStep(_ATEN.select.int, (each, zero, one), {}, line)
        self._body.steps.append(chosen)
        return OwnValue(len(self._body.steps) - 1, None, 0)

    def _count(self, slope: int) -> Lifted:
        """The number 0, and ``slope`` more in each iteration."""
        self._body.numbers.append([0] * len(self._nest.starts))
        return Lifted(len(self._body.numbers) - 1, slope, True)

    def _merge_own(self, versions: _Versions, delay: int, step: int, line: str) -> OwnValue:
        item = versions[0][-1].item
        for i, row in enumerate(versions):
            for j, value in enumerate(row[delay:]):
                own = self._where.get(value.index) if isinstance(value, Place) else None
                if own != (i, j, step) or value.item != item:
                    raise differs(line)
        initial = tuple(
            self._give([row[delay - back] for row in versions]) for back in range(1, delay + 1)
        )
        return OwnValue(self._body.places[step], item, delay, initial)

    def _give(self, values: Sequence[Any]) -> Source:
        """The name under which the loop is given a value, other ones in other iterations."""
        key = tuple(values)
        if key not in self._body.known:
            self._body.known[key] = Source(f"v{len(self._body.values)}")
            self._body.values.append(values)
        return self._body.known[key]

    def _find_results(self) -> list[tuple[int, int | None, bool]]:
        """(step, item, every) of what is used outside of the loop, as the trace counts steps."""
        found: dict[tuple[int, int | None, bool], None] = {}

        def note(value: Any, is_joined: bool = False) -> None:
            if isinstance(value, _Each):
                for item in value.values:
                    note(item, True)
            elif isinstance(value, (tuple, dict)):
                for item in value.values() if isinstance(value, dict) else value:
                    note(item, is_joined)
            elif isinstance(value, Place) and value.index in self._where:
                _, j, step = self._where[value.index]
                if step not in self._hoisted:
                    every = is_joined or j < self._nest.count - 1
                    found[step, value.item, every] = None

        for number, step in enumerate(self._trace.steps):
            if number not in self._where:
                joins = step.target in JOINING
                note(step.args[:1] if joins else step.args, joins)
                note(step.args[1:] if joins else (), False)
                note(step.kwargs)
        for given in self._body.values:
            note(tuple(given))
        note(self._trace.returned)
        return sorted(found, key=str)


class _Writer:
    """Writes the trace anew, each inner loop as one step."""

    def __init__(
        self, trace: Trace, nest: Nest, where: dict[int, tuple[int, int, int]],
        hoisted: set[int], body: _Body, results: Sequence[tuple[int, int | None, bool]],
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
        return _in_order(written, self._early)

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
        if not isinstance(value, _Each):
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
        ways = {b[1] - a[1] for a, b in zip(spots, spots[1:], strict=False) if a and b}
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


def _in_order(trace: Trace, early: set[int]) -> Trace:
    """The steps ``early`` right behind what they need, the others as they are."""
    following: dict[int, list[int]] = {}
    for number in sorted(early):
        step = trace.steps[number]
        needed = [leaf.index for leaf in leaves_of((step.args, step.kwargs))
                  if isinstance(leaf, Place)]  # fmt: skip
        following.setdefault(max(needed, default=-1), []).append(number)
    order: list[int] = []

    def place(number: int) -> None:
        if number >= 0:
            order.append(number)
        for other in following.get(number, ()):
            place(other)

    place(-1)
    for number in range(len(trace.steps)):
        if number not in early:
            place(number)
    return arrange(trace, order)
