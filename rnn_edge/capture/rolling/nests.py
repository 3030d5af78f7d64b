"""Where a loop stands inside of another one in a trace."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from rnn_edge.capture.rolling.runs import Run, describe, find_runs, is_worthwhile, may_be_first
from rnn_edge.capture.rolling.trace import Trace


@dataclass(frozen=True)
class Nest:
    """``starts`` are where the inner loop begins, in each iteration of the one around it."""

    starts: tuple[int, ...]
    period: int
    count: int


def find_nest(trace: Trace, refused: Collection[str]) -> tuple[str, Nest] | None:
    for outer in find_runs(trace):
        # Of two iterations, neither the first: an inner loop that the cut parts is whole there.
        start = outer.start + outer.period
        part = trace.steps[start : start + 2 * outer.period]
        runs = find_runs(Trace(part, None, trace.sources))
        for inner in sorted(runs, key=lambda run: -run.period * run.count):
            name = f"{describe(part[inner.start], {})} {inner.period}"
            if inner.period * inner.count <= outer.period and is_worthwhile(inner):
                starts = _find_copies(trace, start + inner.start, outer.period, inner)
                if name not in refused:
                    return name, Nest(starts, inner.period, inner.count)
    return None


def _find_copies(trace: Trace, known: int, distance: int, inner: Run) -> tuple[int, ...]:
    """Where ``inner``, which is at ``known``, is again, at multiples of ``distance`` from there."""
    length = inner.period * inner.count
    copy = trace.steps[known : known + length]
    tokens = [describe(step, trace.sources) for step in copy]
    starts = []
    for start in range(known % distance, len(trace.steps) - length + 1, distance):
        steps = trace.steps[start : start + length]
        if all(
            describe(one, trace.sources) == token or may_be_first(one, other)
            for one, other, token in zip(steps, copy, tokens, strict=True)
        ):
            starts.append(start)
    return tuple(starts)
