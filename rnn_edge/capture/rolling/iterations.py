"""Traces of a loop whose iterations differ in length, cut into iterations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import accumulate, pairwise
from typing import Any

from rnn_edge.capture.rolling.alignment import differs
from rnn_edge.capture.rolling.layouts import Sizes
from rnn_edge.capture.rolling.program import Argument, PlainValue
from rnn_edge.capture.rolling.runs import describe, may_be_first
from rnn_edge.capture.rolling.schedules import Cycle, Schedule
from rnn_edge.capture.rolling.trace import Place, Step, Trace


@dataclass(frozen=True)
class Copy:
    """One iteration in one trace: its steps are ``steps[start : end]``."""

    start: int
    end: int


@dataclass
class Unrolled:
    """One trace with the iterations of its one loop, ``steps`` as places in the common body."""

    trace: Trace
    sizes: Sizes
    copies: list[Copy]
    where: dict[int, tuple[int, int]] = field(default_factory=dict)  # -> (iteration, body step)
    added: int = 0  # plain steps in front of the loop that are not in the trace

    @property
    def start(self) -> int:
        return self.copies[0].start

    @property
    def end(self) -> int:
        return self.copies[-1].end

    def plain(self) -> list[Step]:
        return [*self.trace.steps[: self.start], *self.trace.steps[self.end :]]

    def plain_place(self, index: int) -> int:
        return index if index < self.start else index - (self.end - self.start) + self.added


def unroll(traces: Sequence[tuple[Sizes, Trace]], period: int) -> list[Unrolled]:
    """Each trace cut into iterations; how long they are shows in how traces differ in length."""
    by_size = {sizes[0]: len(trace.steps) for sizes, trace in traces}
    grown = {size: by_size[size + 1] - by_size[size] for size in by_size if size + 1 in by_size}
    lengths: dict[int, int] = {}
    for size, length in grown.items():
        if length <= 0 or lengths.setdefault(size % period, length) != length:
            raise differs("")
    for skipped in range(period + 1):
        found = _unroll_from(traces, lengths, skipped)
        if found:
            return found
    raise differs("")


def _unroll_from(
    traces: Sequence[tuple[Sizes, Trace]], lengths: dict[int, int], skipped: int
) -> list[Unrolled]:
    """With the iterations before ``skipped`` left outside of the loop."""
    period = len(lengths)
    tokens = [[describe(step, trace.sources) for step in trace.steps] for _, trace in traces]
    spans = [sum(lengths[t % period] for t in range(skipped, sizes[0])) for sizes, _ in traces]
    outside = {len(row) - span for row, span in zip(tokens, spans, strict=True)}
    if len(outside) > 1 or min(outside) < 0:
        return []
    for start in range(outside.pop() + 1):
        found = []
        for (sizes, trace), row in zip(traces, tokens, strict=True):
            place, copies = start, []
            for iteration in range(skipped, sizes[0]):
                copies.append(Copy(place, place + lengths[iteration % period]))
                place = copies[-1].end
            if not _repeats(trace, row, copies, Cycle(period)):
                break
            found.append(Unrolled(trace, sizes, copies))
        if len(found) == len(traces) and _same_outside(found):
            return found
    return []


def repeat(unrolled: Sequence[Unrolled], schedule: Schedule) -> bool:
    """Whether the iterations of one phase do the same in every trace."""
    for one in unrolled:
        tokens = [describe(step, one.trace.sources) for step in one.trace.steps]
        if not _repeats(one.trace, tokens, one.copies, schedule):
            return False
    return True


def _repeats(
    trace: Trace, tokens: Sequence[str], copies: Sequence[Copy], schedule: Schedule
) -> bool:
    before: dict[int, Copy] = {}
    seen: set[int] = set()
    for iteration, copy in enumerate(copies):
        phase = schedule.phase_of(iteration)
        one, is_first = before.get(phase), phase not in seen
        before[phase] = copy
        if one is None or tokens[one.start : one.end] == tokens[copy.start : copy.end]:
            continue
        if one.end - one.start != copy.end - copy.start:
            return False
        pairs = zip(
            trace.steps[one.start : one.end], trace.steps[copy.start : copy.end], strict=True
        )
        # What comes from the iteration before comes from outside in the first ones.
        if not is_first or not all(may_be_first(*pair) for pair in pairs):
            return False
        seen.add(phase)
    return True


def _same_outside(unrolled: Sequence[Unrolled]) -> bool:
    rows = [[describe(step, {}) for step in one.plain()] for one in unrolled]
    return all(row == rows[0] for row in rows)


def unroll_opening(traces: Sequence[tuple[Sizes, Trace]]) -> Iterator[list[Unrolled]]:
    """Each trace cut into iterations, with the first one and without it.

    There are traces at the smallest sizes, one after the other, and at a larger one. How long the
    first iteration is does not show: as long as the second one, if it is part of the loop.
    """
    by_size = {sizes[0]: len(trace.steps) for sizes, trace in traces}
    smallest = min(by_size)
    lengths: list[int] = []
    while smallest + len(lengths) + 1 in by_size:
        size = smallest + len(lengths)
        lengths.append(by_size[size + 1] - by_size[size])
    if not lengths or min(lengths) <= 0:
        return
    for first, iterations in ((smallest - 1, [lengths[0], *lengths]), (smallest, lengths)):
        longer = [(sizes, trace) for sizes, trace in traces if sizes[0] > first]
        yield from _cut(longer, iterations, first)


def _cut(
    traces: Sequence[tuple[Sizes, Trace]], lengths: Sequence[int], first: int
) -> Iterator[list[Unrolled]]:
    """``traces`` with ``lengths`` of iterations, the last of which all others have, too."""
    rows = [
        [lengths[min(place, len(lengths) - 1)] for place in range(sizes[0] - first)]
        for sizes, _ in traces
    ]
    outside = {len(trace.steps) - sum(row) for (_, trace), row in zip(traces, rows, strict=True)}
    if len(outside) > 1 or min(outside) < 0:
        return
    for start in range(outside.pop() + 1):
        found = []
        for (sizes, trace), row in zip(traces, rows, strict=True):
            ends = list(accumulate(row, initial=start))
            copies = [Copy(*ends_of) for ends_of in pairwise(ends)]
            found.append(Unrolled(trace, sizes, copies))
        if _same_outside(found):
            yield found


def read_variants(unrolled: Sequence[Unrolled], schedule: Schedule) -> list[list[str]]:
    """What the body is in each phase, read where nothing comes from outside any more.

    An iteration that is the only one of its phase is read as those that come after it.
    """
    longest = max(unrolled, key=lambda one: len(one.copies))
    copies: dict[int, list[Copy]] = {}
    for iteration, copy in enumerate(longest.copies):
        copies.setdefault(schedule.phase_of(iteration), []).append(copy)
    variants: dict[int, list[str]] = {}
    known: list[Step] = []
    for phase in sorted(copies, reverse=True):
        rows = copies[phase]
        copy = rows[min(1, len(rows) - 1)]
        steps = longest.trace.steps[copy.start : copy.end]
        later = [_find_later(step, known) for step in steps] if len(rows) == 1 else steps
        variants[phase] = [describe(step, {}) for step in later]
        known += steps
    return [variants[phase] for phase in sorted(variants)]


def _find_later(step: Step, known: Sequence[Step]) -> Step:
    """The one among ``known`` steps that is ``step`` with other values from outside."""
    token = describe(step, {})
    if any(describe(other, {}) == token for other in known):
        return step
    return next((other for other in known if may_be_first(step, other)), step)


def unite(variants: Sequence[Sequence[str]]) -> tuple[list[str], list[list[int]]]:
    """The shortest body found that holds every variant in its order; by phase, its steps in it."""
    body: list[str] = []
    for variant in variants:
        merged: list[str] = []
        matcher = SequenceMatcher(None, body, variant, autojunk=False)
        for _, start, end, first, last in matcher.get_opcodes():
            same = body[start:end] == list(variant[first:last])
            merged += body[start:end] if same else [*body[start:end], *variant[first:last]]
        body = merged
    places = []
    for variant in variants:
        found, place = [], 0
        for token in variant:
            place = body.index(token, place)
            found.append(place)
            place += 1
        places.append(found)
    return body, places


def read_plain(one: Unrolled, value: Any) -> Argument:
    """A value from outside of the loop."""
    if isinstance(value, Place):
        if value.index in one.where:
            raise differs("")
        return PlainValue(one.plain_place(value.index), value.item)
    return value


def copies_of(unrolled: Sequence[Unrolled], step: int) -> list[tuple[Unrolled, int, Step]]:
    """(trace, iteration, step) of every copy of step ``step`` of the common body."""
    return [
        (one, iteration, one.trace.steps[place])
        for one in unrolled
        for place, (iteration, own) in one.where.items()
        if own == step
    ]
