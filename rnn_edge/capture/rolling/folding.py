"""A trace whose loops inside of loops are one step each: their iterations then look alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import torch

from rnn_edge.capture.rolling.alignment import JOINING, NotRollableError, differs
from rnn_edge.capture.rolling.folded import Lifted
from rnn_edge.capture.rolling.nests import Nest, find_nest
from rnn_edge.capture.rolling.program import OwnValue, RolledStep, replace_leaves
from rnn_edge.capture.rolling.rewriting import Body, Each, Writer
from rnn_edge.capture.rolling.steps import leaves_of
from rnn_edge.capture.rolling.trace import Place, Source, Step, Trace

_ATEN = torch.ops.aten
# versions[i][j]: what is the same in the program, in iteration j of the loop that is in iteration
# i of the one around it.
_Versions: TypeAlias = Sequence[Sequence[Any]]


def fold_inner_loops(trace: Trace) -> Trace:
    """``trace`` with every loop inside of a loop, where that can be, as one step."""
    refused: set[str] = set()
    while (found := find_nest(trace, refused)) is not None:
        name, nest = found
        try:
            trace = _Fold(trace, nest).apply()
        except NotRollableError:
            refused.add(name)
    return trace


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
        self._body = Body()
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
        self._put_selects_first(len(kept))
        results = self._find_results()
        return Writer(self._trace, self._nest, self._where, self._hoisted, self._body,
                       results).write()  # fmt: skip

    def _put_selects_first(self, kept: int) -> None:
        """The steps that were added, before those that need them."""
        added = len(self._body.steps) - kept

        def move(leaf: Any) -> Any:
            if not isinstance(leaf, OwnValue):
                return leaf
            return replace(leaf, step=leaf.step + added if leaf.step < kept else leaf.step - kept)

        moved = [
            replace(step, args=replace_leaves(step.args, move),
                    kwargs=replace_leaves(step.kwargs, move))
            for step in self._body.steps
        ]  # fmt: skip
        self._body.steps = [*moved[kept:], *moved[:kept]]
        self._body.places = {step: n + added for step, n in self._body.places.items()}

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
        each = self._give([Each(tuple(row)) for row in versions])
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
            if isinstance(value, Each):
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
