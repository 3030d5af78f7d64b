"""Where a list of steps repeats itself: the copies that unrolling a loop leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnn_edge.capture.rolling.trace import Place, Source, Step, Trace

# Fewer copies than this are taken for code that was written out.
FEWEST = 3
# As many, where the number of copies is the same at every size.
FEWEST_FIXED = 4
# Steps that a loop must save to be worth its own operators.
_FEWEST_SAVED = 6


@dataclass(frozen=True)
class Run:
    """``count`` copies of ``period`` steps, from step ``start`` on."""

    start: int
    period: int
    count: int

    @property
    def end(self) -> int:
        return self.start + self.period * self.count


def is_worthwhile(run: Run) -> bool:
    """Whether a loop of as many iterations whatever the sizes is to be one in the file."""
    return run.count >= FEWEST_FIXED and run.period * (run.count - 1) >= _FEWEST_SAVED


def find_runs(trace: Trace) -> list[Run]:
    """Runs that do not overlap, each as long as possible, from left to right."""
    tokens = _number_tokens(trace)
    runs: list[Run] = []
    repeats = _count_repeats(tokens)
    place = 0
    while place < len(tokens):
        run = _longest_run(repeats, place)
        if run is None:
            place += 1
        else:
            runs = _append(runs, run, repeats, trace)
            place = runs[-1].end
    return runs


def _append(
    runs: list[Run], run: Run, repeats: Mapping[int, np.ndarray], trace: Trace
) -> list[Run]:
    """``runs`` and ``run`` with its first iteration.

    What repeats itself inside of that iteration, four gates say, is no run of its own.
    """
    best = [*runs, run]
    for kept in range(len(runs), -1, -1):
        earliest = runs[kept - 1].end if kept else 0
        whole = _with_first_iteration(run, repeats, trace, earliest)
        inside = all(inner.start >= whole.start for inner in runs[kept:])
        if inside and whole.count > best[-1].count:
            best = [*runs[:kept], whole]
    return best


def _with_first_iteration(
    run: Run, repeats: Mapping[int, np.ndarray], trace: Trace, earliest: int
) -> Run:
    """``run`` with the iteration before it, which differs in that its state comes from outside.

    That iteration may hide in front of a later step of the period.
    """
    for start in range(run.start, run.start + run.period):
        first = start - run.period
        count = int(repeats[run.period][start]) // run.period + 1
        if first >= earliest and count >= FEWEST - 1 and all(
            may_be_first(trace.steps[place], trace.steps[place + run.period])
            for place in range(first, start)
        ):  # fmt: skip
            return Run(first, run.period, count + 1)
    return run


def may_be_first(first: Step, later: Step) -> bool:
    """Whether the two are one step, the first of them with other values from outside."""

    def fits(one: Any, other: Any) -> bool:
        if isinstance(other, Place):
            return isinstance(one, (Place, Source))
        if isinstance(other, tuple):
            return (
                isinstance(one, tuple)
                and len(one) == len(other)
                and all(fits(*pair) for pair in zip(one, other, strict=True))
            )
        if isinstance(other, Source):
            return bool(one == other) or (_is_constant(one) and _is_constant(other))
        if isinstance(other, (int, float)) and not isinstance(other, bool):
            return isinstance(one, (int, float)) and not isinstance(one, bool)
        return repr(one) == repr(other)

    return (
        (first.target, first.line) == (later.target, later.line)
        and fits(first.args, later.args)
        and first.kwargs.keys() == later.kwargs.keys()
        and all(fits(first.kwargs[key], value) for key, value in later.kwargs.items())
    )


def describe(step: Step, sources: dict[str, Any]) -> str:
    """What two copies of one step have in common: all but numbers and where values come from."""

    def shape(value: Any) -> str:
        if isinstance(value, Place):
            return "*"
        if isinstance(value, Source):
            return "*" if _is_constant(value) else value.name
        if isinstance(value, tuple):
            if value and all(isinstance(item, Place) for item in value):
                return "[*]"  # of any length: what a loop has collected
            kept = [shape(item) for place, item in enumerate(value)
                    if not (place and isinstance(item, Place)
                            and isinstance(value[place - 1], Place))]  # fmt: skip
            return f"({','.join(kept)})"  # of any length behind a first state, too
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return "#"
        return repr(value)

    keywords = ",".join(f"{key}={shape(value)}" for key, value in step.kwargs.items())
    return f"{step.target}{shape(step.args)}{keywords}@{step.line}"


def _is_constant(value: Any) -> bool:
    """The constants that tracing lifts differ from copy to copy, parameters do not."""
    return isinstance(value, Source) and value.name.startswith("c_")


def _number_tokens(trace: Trace) -> np.ndarray:
    numbers: dict[str, int] = {}
    return np.array(
        [numbers.setdefault(describe(step, trace.sources), len(numbers)) for step in trace.steps],
        dtype=np.int64,
    )


def _count_repeats(tokens: np.ndarray) -> dict[int, np.ndarray]:
    """For periods, for each place, how many steps from there equal those a period later.

    Periods after which no whole period comes again are left out.
    """
    repeats = {}
    places = np.arange(len(tokens) + 1)
    for period in range(1, len(tokens) // FEWEST + 1):
        differing = np.flatnonzero(tokens[:-period] != tokens[period:])
        # As many as there are places up to the next one that differs.
        ends = np.append(differing, len(tokens) - period)
        following = np.searchsorted(ends, places)
        lengths = np.append(ends, places[-1])[following] - places
        lengths[len(tokens) - period :] = 0
        if lengths.max() >= period:
            repeats[period] = lengths
    return repeats


def _longest_run(repeats: Mapping[int, np.ndarray], place: int) -> Run | None:
    best: Run | None = None
    for period, lengths in repeats.items():
        count = int(lengths[place]) // period + 1
        if count >= FEWEST and (best is None or count * period > best.period * best.count):
            best = Run(place, period, count)
    return best
