"""Where a loop stands inside of another one in a trace."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from rnn_edge.capture.rolling.runs import (
    FEWEST,
    Run,
    describe,
    find_runs,
    is_worthwhile,
    may_be_first,
)
from rnn_edge.capture.rolling.steps import leaves_of
from rnn_edge.capture.rolling.trace import Trace


@dataclass(frozen=True)
class Nest:
    """``starts`` are where the inner loop begins, in each iteration of the one around it."""

    starts: tuple[int, ...]
    period: int
    count: int


def find_nest(trace: Trace, refused: Collection[str]) -> tuple[str, Nest] | None:
    for outer in find_runs(trace):
        rows = _find_rows(trace, outer)
        if rows is not None:
            name = f"{describe(trace.steps[outer.start], {})} {outer.period} in rows"
            if name not in refused:
                return name, rows
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


def _find_rows(trace: Trace, run: Run) -> Nest | None:
    """``run`` as a loop in a loop, where nothing stands between the inner ones.

    Its numbers tell: 0, 1, 2, 3, 0, 1, 2, 3, or 0, 0, 0, 0, 1, 1, 1, 1.
    """
    for step in range(run.period):
        copies = trace.steps[run.start + step : run.end : run.period]
        columns = zip(*(leaves_of(copy.args) for copy in copies), strict=False)
        for numbers in columns:
            count = _find_row(numbers)
            if count is not None and is_worthwhile(Run(run.start, run.period, count)):
                starts = range(run.start, run.end, run.period * count)
                return Nest(tuple(starts), run.period, count)
    return None


def _find_row(numbers: Sequence[Any]) -> int | None:
    """After how many of ``numbers``, of the form above, a row begins anew."""
    if any(type(number) is not int for number in numbers):
        return None
    slope = numbers[1] - numbers[0]
    breaks = (n for n in range(2, len(numbers)) if numbers[n] - numbers[n - 1] != slope)
    count = next(breaks, None)
    if count is None or len(numbers) % count or len(numbers) < FEWEST * count:
        return None
    straight = all(
        numbers[n] - numbers[n - n % count] == slope * (n % count) for n in range(len(numbers))
    )
    return count if straight else None


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
