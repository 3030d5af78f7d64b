"""Traces of a loop whose iterations differ in length, cut into iterations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from rnn_edge.capture.rolling.alignment import Sizes, differs
from rnn_edge.capture.rolling.runs import describe, may_be_first
from rnn_edge.capture.rolling.trace import Step, Trace


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
            if not _repeats(trace, row, copies, period):
                break
            found.append(Unrolled(trace, sizes, copies))
        if len(found) == len(traces) and _same_outside(found):
            return found
    return []


def _repeats(trace: Trace, tokens: Sequence[str], copies: Sequence[Copy], period: int) -> bool:
    for number, (one, other) in enumerate(zip(copies, copies[period:], strict=False)):
        if tokens[one.start : one.end] == tokens[other.start : other.end]:
            continue
        pairs = zip(
            trace.steps[one.start : one.end], trace.steps[other.start : other.end], strict=True
        )
        # What comes from the iteration before comes from outside in the first ones.
        if number >= period or not all(may_be_first(*pair) for pair in pairs):
            return False
    return True


def _same_outside(unrolled: Sequence[Unrolled]) -> bool:
    rows = [[describe(step, {}) for step in one.plain()] for one in unrolled]
    return all(row == rows[0] for row in rows)


def read_variants(unrolled: Sequence[Unrolled], period: int) -> list[list[str]]:
    """What the body is in each phase, read where nothing comes from outside any more."""
    longest = max(unrolled, key=lambda one: len(one.copies))
    second = longest.copies[period : 2 * period]
    steps = longest.trace.steps
    return [[describe(step, {}) for step in steps[copy.start : copy.end]] for copy in second]


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
