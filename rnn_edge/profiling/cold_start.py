"""From nothing to the first answer, in fresh processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from rnn_edge.profiling.child import Program, Start, start_fresh


@dataclass(frozen=True)
class ColdStart:
    """Medians over ``processes`` fresh ones, in milliseconds; the interpreter's start is left out.

    ``import_ms`` loads the libraries, ``load_ms`` the model (for a bundle with its checksums),
    ``first_run_ms`` is the first call. Files come from the system's cache.
    """

    engine: str
    processes: int
    import_ms: float
    load_ms: float
    first_run_ms: float

    @property
    def parts_ms(self) -> tuple[float, float, float]:
        return self.import_ms, self.load_ms, self.first_run_ms

    @property
    def total_ms(self) -> float:
        return sum(self.parts_ms)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "total_ms": self.total_ms}


def measure_cold_start(
    program: Program, feed: Mapping[str, np.ndarray], folder: Path, processes: int
) -> ColdStart:
    """Start ``processes`` fresh ones, one after the other; ``folder`` holds the feed."""
    starts = [start_fresh(program, feed, folder, repeats=0) for _ in range(processes)]
    return median_of(program.engine, starts)


def median_of(engine: str, starts: Sequence[Start]) -> ColdStart:
    return ColdStart(
        engine,
        len(starts),
        median(start.import_ns for start in starts) / 1e6,
        median(start.load_ns for start in starts) / 1e6,
        median(start.first_run_ns for start in starts) / 1e6,
    )
