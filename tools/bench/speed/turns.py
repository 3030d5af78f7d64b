"""Competitors timed in turn on one core, so that what else the machine does hits all alike."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Any

import numpy as np

# A block of calls lasts about so long; between blocks the competitors take turns.
BLOCK_SECONDS = 2e-3
MOST_CALLS = 400


@dataclass(frozen=True)
class Row:
    """Ours against one other. ``ratio`` above 1: ours is faster; a quarter of the turns each were
    below ``low`` and above ``high``. ``reached`` is None where nothing was asked for."""

    group: str
    case: str
    ours: str
    against: str
    ours_median: float
    other_median: float
    ratio: float
    low: float
    high: float
    wanted: float | None = None
    #: Of the medians.
    unit: str = "us"

    @property
    def reached(self) -> bool | None:
        return None if self.wanted is None else self.ratio >= self.wanted


@dataclass(frozen=True)
class Competitor:
    """``call`` is timed; ``answer`` must be near torch's, within ``error`` of the largest value."""

    name: str
    call: Callable[[], Any]
    answer: Callable[[], np.ndarray]
    error: float = 1e-4


class WrongAnswerError(Exception):
    """A competitor computes something else: its time means nothing."""


def check(competitors: Sequence[Competitor], truth: np.ndarray) -> None:
    """Raise WrongAnswerError unless every answer is near ``truth``."""
    scale = max(1.0, float(np.abs(truth).max()))
    for competitor in competitors:
        found = np.asarray(competitor.answer())
        if found.shape != truth.shape:
            raise WrongAnswerError(f"{competitor.name} gives {found.shape}, not {truth.shape}")
        error = float(np.abs(found - truth).max()) / scale
        if not error <= competitor.error:
            raise WrongAnswerError(f"{competitor.name} is off by {error:.2g}")


def measure(competitors: Sequence[Competitor], turns: int) -> dict[str, np.ndarray]:
    """Microseconds a call of each block, by name; the order turns round every time.

    Of the processor's time, all threads of this process together: what other programs take of the
    core in between does not count.
    """
    counts = {}
    for competitor in competitors:
        for _ in range(3):
            competitor.call()
        start = perf_counter()
        competitor.call()
        taken = max(perf_counter() - start, 1e-7)
        counts[competitor.name] = int(np.clip(BLOCK_SECONDS / taken, 1, MOST_CALLS))
    found: dict[str, list[float]] = {competitor.name: [] for competitor in competitors}
    gc.collect()
    gc.disable()
    try:
        for turn in range(turns):
            for competitor in competitors if turn % 2 == 0 else reversed(competitors):
                call, count = competitor.call, counts[competitor.name]
                start = process_time()
                for _ in range(count):
                    call()
                found[competitor.name].append((process_time() - start) / count * 1e6)
    finally:
        gc.enable()
    return {name: np.array(values) for name, values in found.items()}


def rows_of(
    group: str,
    case: str,
    competitors: Sequence[Competitor],
    turns: int,
    ours: Sequence[str],
    wanted: Mapping[tuple[str, str], float],
) -> list[Row]:
    """Each of ``ours`` against each other competitor; ``wanted`` by (ours, other)."""
    times = measure(competitors, turns)
    rows = []
    for mine in ours:
        for other in times:
            if other == mine or (other in ours and (mine, other) not in wanted):
                continue
            asked = wanted.get((mine, other))
            rows.append(row_of(group, case, mine, other, times[mine], times[other], asked))
    return rows


def row_of(
    group: str,
    case: str,
    ours: str,
    other: str,
    our_values: np.ndarray,
    other_values: np.ndarray,
    wanted: float | None,
    unit: str = "us",
) -> Row:
    """The values are those of the same turns, in their order."""
    low, middle, high = np.percentile(other_values / our_values, [25, 50, 75])
    medians = float(np.median(our_values)), float(np.median(other_values))
    return Row(
        group, case, ours, other, *medians, float(middle), float(low), float(high), wanted, unit
    )
