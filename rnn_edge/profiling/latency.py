"""How long one call takes: engines timed call by call, in alternating order, on fresh data."""

from __future__ import annotations

import gc
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

import numpy as np

from rnn_edge.profiling.inputs import Point

WARM_UP_CALLS = 10
# Even a slow call is timed this often, whatever the time limit.
FEWEST_CALLS = 20
PERCENTILES = {"p50_us": 50.0, "p90_us": 90.0, "p99_us": 99.0, "p99_9_us": 99.9}

Arrays = Mapping[str, np.ndarray]


class Engine(ABC):
    """Something that answers a feed; only ``call`` is timed."""

    name: str

    def setting(self) -> AbstractContextManager[Any]:
        """What holds around a call and is not timed."""
        return nullcontext()

    def prepare(self, feed: Arrays) -> Any:
        """The feed as ``call`` takes it; not timed."""
        return feed

    @abstractmethod
    def call(self, prepared: Any) -> Any:
        """One run."""

    @abstractmethod
    def answers(self, returned: Any) -> list[np.ndarray]:
        """What ``call`` returned, as arrays; not timed."""


@dataclass(frozen=True, eq=False)
class Latency:
    """The timings of one engine at one point of the grid: ``samples`` are nanoseconds a call."""

    engine: str
    point: Point
    samples: np.ndarray

    @property
    def calls(self) -> int:
        return len(self.samples)

    @property
    def mean_us(self) -> float:
        return float(self.samples.mean()) / 1e3

    def percentile_us(self, percent: float) -> float:
        """Microseconds within which ``percent`` of the calls returned."""
        return float(np.percentile(self.samples, percent)) / 1e3

    @property
    def rows_per_second(self) -> float:
        """Throughput: rows (sequences) answered in a second of back-to-back calls."""
        return (self.point.batch or 1) * 1e6 / self.mean_us

    @property
    def steps_per_second(self) -> float | None:
        """Throughput in time steps, padding included; None where the time axis is fixed."""
        if self.point.sequence is None:
            return None
        return self.rows_per_second * self.point.sequence

    def to_dict(self) -> dict[str, Any]:
        return {
            "engine": self.engine,
            "batch": self.point.batch,
            "sequence": self.point.sequence,
            "calls": self.calls,
            "mean_us": self.mean_us,
            **{name: self.percentile_us(percent) for name, percent in PERCENTILES.items()},
            "rows_per_second": self.rows_per_second,
            "steps_per_second": self.steps_per_second,
        }


def time_engines(
    engines: Sequence[Engine],
    make_feed: Callable[[], Arrays],
    *,
    calls: int,
    seconds: float,
) -> dict[str, np.ndarray]:
    """Nanoseconds of each call, by engine: ``calls`` of each, fewer when ``seconds`` are over.

    Every call gets data that no call has had, since repeating an input hides its copy. All engines
    answer the same feed before the next one is made, first in one order, then in the reverse.
    """
    samples: dict[str, list[int]] = {engine.name: [] for engine in engines}
    deadline = perf_counter_ns() + int(seconds * 1e9)
    with _without_garbage_collection():
        for turn in range(-WARM_UP_CALLS, calls):
            feed = make_feed()
            for engine in engines if turn % 2 == 0 else reversed(engines):
                nanoseconds = _time_once(engine, feed)
                if turn >= 0:
                    samples[engine.name].append(nanoseconds)
            if turn + 1 >= FEWEST_CALLS and perf_counter_ns() > deadline:
                break
    return {name: np.array(values, np.int64) for name, values in samples.items()}


def _time_once(engine: Engine, feed: Arrays) -> int:
    with engine.setting():
        prepared = engine.prepare(feed)
        start = perf_counter_ns()
        engine.call(prepared)
        return perf_counter_ns() - start


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
