"""How long a push takes, how much several streams share, and how many meet a deadline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnn_edge.bundle import Bundle
from rnn_edge.contract import AxisLimits, GraphContract, StreamRule
from rnn_edge.errors import InputError
from rnn_edge.profiling.inputs import random_inputs
from rnn_edge.profiling.latency import PERCENTILES, Engine, time_engines
from rnn_edge.runtime import StreamPool, StreamSession
from rnn_edge.runtime.stream_engine import ENGINES
from rnn_edge.runtime.stream_form import StreamForm

CHUNKS = (1, 10, 100)
STREAMS = (1, 4, 16)
# Runs whose p99 is held against a deadline, and the most streams that are tried.
DEADLINE_RUNS = 100
MOST_STREAMS = 4096


@dataclass(frozen=True, eq=False)
class StreamLatency:
    """Timings of pushes: ``streams`` that share a run, ``chunk`` frames each, ns a push."""

    streams: int
    chunk: int
    samples: np.ndarray

    def percentile_us(self, percent: float) -> float:
        return float(np.percentile(self.samples, percent)) / 1e3

    @property
    def frame_us(self) -> float:
        """Microseconds for one frame of one stream, by the median."""
        return self.percentile_us(50) / (self.streams * self.chunk)

    def real_time_factor(self, frame_rate: float) -> float:
        """The share of one core that these streams take at ``frame_rate`` frames a second."""
        return self.percentile_us(50) / 1e6 * frame_rate / self.chunk


@dataclass(frozen=True)
class Capacity:
    """``streams`` whose next frames run together with a p99 within ``deadline_ms``, on one core.

    ``more`` is set where the largest number that was tried met it.
    """

    streams: int
    deadline_ms: float
    p99_ms: float
    more: bool


@dataclass(frozen=True, eq=False)
class StreamProfile:
    """All of one profile run of a stream graph; what it measured is in ``latencies``."""

    name: str
    provider: str
    threads: int
    latency_frames: int
    frame_rate: float | None
    latencies: tuple[StreamLatency, ...]
    capacity: Capacity | None

    def relative(self, latency: StreamLatency) -> float:
        """The cost of a frame in units of that of one stream in single steps."""
        return latency.frame_us / self.latencies[0].frame_us

    def to_dict(self) -> dict[str, Any]:
        """For JSON; every figure but the single samples."""
        rate = self.frame_rate
        return {
            "name": self.name,
            "provider": self.provider,
            "threads": self.threads,
            "latency_frames": self.latency_frames,
            "frame_rate": rate,
            "pushes": [
                {
                    "streams": each.streams,
                    "chunk": each.chunk,
                    "calls": len(each.samples),
                    **{name: each.percentile_us(percent) for name, percent in PERCENTILES.items()},
                    "us_per_frame": each.frame_us,
                    "relative": self.relative(each),
                    "real_time_factor": each.real_time_factor(rate) if rate else None,
                }
                for each in self.latencies
            ],
            "capacity": None
            if self.capacity is None
            else {
                "streams": self.capacity.streams,
                "deadline_ms": self.capacity.deadline_ms,
                "p99_ms": self.capacity.p99_ms,
                "more": self.capacity.more,
            },
        }


def profile_stream(
    source: Bundle | str | Path,
    *,
    chunks: Sequence[int] = CHUNKS,
    streams: Sequence[int] = STREAMS,
    frame_rate: float | None = None,
    deadline_ms: float | None = None,
    engine: str | None = None,
    provider: str = "cpu",
    threads: int = 1,
    calls: int = 1000,
    seconds: float = 2.0,
    seed: int = 0,
    progress: Callable[[str], None] = lambda stage: None,
) -> StreamProfile:
    """Measure pushes of a stream graph: what StreamSession and StreamPool take, checks included.

    One stream in ``chunks`` and several ``streams`` in single steps are timed in turn, so that
    their ratios hold on a busy machine. ``frame_rate``, in frames a second, gives real-time
    factors (left out, the contract's); ``deadline_ms`` asks for the most streams whose next frames
    one core computes in time. ``engine`` is StreamSession's; with "c" and "c-int8" several streams
    are the rows of one session, which the C computes one by one. Raises InputError and what
    StreamSession raises.
    """
    _check(chunks, streams, frame_rate, deadline_ms)
    if not isinstance(source, Bundle) and Path(source).is_dir():
        source = Bundle.load(source)
    random = np.random.default_rng(seed)
    options: dict[str, Any] = {"provider": provider, "threads": threads}
    engines: list[_Pushes] = []
    for size in dict.fromkeys((1, *chunks)):
        stream = StreamSession(source, engine=engine, **options)
        engines.append(_OneStream(stream, size, random))

    def many(count: int) -> _Pushes:
        if engine in (None, ENGINES[0]):
            return _ManyStreams(StreamPool(source, max_batch=count, **options), count, random)
        return _ManyRows(source, count, random, engine=engine, **options)

    engines += [many(count) for count in sorted({*streams} - {1})]
    rule = engines[0].rule
    progress(f"{len(engines)} kinds of pushes in turn")
    samples = time_engines(engines, lambda: {}, calls=calls, seconds=seconds * len(engines))
    capacity = None
    if deadline_ms is not None:
        progress("streams within the deadline")
        capacity = _find_capacity(many, deadline_ms)
    return StreamProfile(
        source.name if isinstance(source, Bundle) else Path(source).name,
        provider,
        threads,
        rule.latency,
        rule.frame_rate if frame_rate is None else frame_rate,
        tuple(StreamLatency(each.streams, each.chunk, samples[each.name]) for each in engines),
        capacity,
    )


class _Pushes(Engine):
    """One kind of push, timed with fresh frames in every call."""

    streams: int
    chunk: int
    rule: StreamRule

    def answers(self, returned: Any) -> list[np.ndarray]:
        return list(returned)


class _OneStream(_Pushes):
    def __init__(self, stream: StreamSession, chunk: int, random: np.random.Generator) -> None:
        self.name, self.streams, self.chunk = f"one stream, chunks of {chunk}", 1, chunk
        self.rule = _rule_of(stream.contract)
        self._stream, self._random = stream, random
        context = random_context(stream.contract, random)
        if context:
            stream.push({**random_chunk(stream.contract, 1, random), **context})

    def prepare(self, feed: Mapping[str, np.ndarray]) -> Any:
        return tuple(random_chunk(self._stream.contract, self.chunk, self._random).values())

    def call(self, prepared: Any) -> Any:
        return self._stream.push(*prepared)


class _ManyStreams(_Pushes):
    def __init__(self, pool: StreamPool, count: int, random: np.random.Generator) -> None:
        self.name, self.streams, self.chunk = f"{count} streams", count, 1
        self.rule = _rule_of(pool.contract)
        self._pool, self._random = pool, random
        context = random_context(pool.contract, random)
        self._numbers = [pool.open(context=context) for _ in range(count)]

    def prepare(self, feed: Mapping[str, np.ndarray]) -> Any:
        contract, random = self._pool.contract, self._random
        return {n: tuple(random_chunk(contract, 1, random).values()) for n in self._numbers}

    def call(self, prepared: Any) -> Any:
        return self._pool.push_many(prepared)

    def answers(self, returned: Any) -> list[np.ndarray]:
        return [array for arrays in returned.values() for array in arrays]


class _ManyRows(_Pushes):
    """Streams that are the rows of one session: they step together."""

    def __init__(
        self, source: Any, count: int, random: np.random.Generator, **options: Any
    ) -> None:
        self.name, self.streams, self.chunk = f"{count} rows", count, 1
        self._random = random
        self._stream = StreamSession(source, batch=count, **options)
        self.rule = _rule_of(self._stream.contract)
        context = self._rows(random_context)
        if context:
            self._stream.push({**self._rows(self._frames), **context})

    def prepare(self, feed: Mapping[str, np.ndarray]) -> Any:
        return tuple(self._rows(self._frames).values())

    def call(self, prepared: Any) -> Any:
        return self._stream.push(*prepared)

    @staticmethod
    def _frames(contract: GraphContract, random: np.random.Generator) -> dict[str, np.ndarray]:
        return random_chunk(contract, 1, random)

    def _rows(
        self, draw: Callable[[GraphContract, np.random.Generator], dict[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        """What ``draw`` gives one row, for all rows."""
        contract = self._stream.contract
        rows = [draw(contract, self._random) for _ in range(self.streams)]
        batch = StreamForm.of(contract).batch
        found = {}
        for name, array in rows[0].items():
            dims = contract.input(name).dims
            arrays = [row[name] for row in rows]
            found[name] = np.concatenate(arrays, dims.index(batch)) if batch in dims else array
        return found


def random_chunk(
    contract: GraphContract, frames: int, random: np.random.Generator
) -> dict[str, np.ndarray]:
    """Frames of one row for the inputs along time, in the contract's order."""
    return _some_inputs(contract, frames, random, timed=True)


def random_context(contract: GraphContract, random: np.random.Generator) -> dict[str, np.ndarray]:
    """The inputs of one row that belong to the whole sequence."""
    return _some_inputs(contract, 1, random, timed=False)


def _some_inputs(
    contract: GraphContract, frames: int, random: np.random.Generator, *, timed: bool
) -> dict[str, np.ndarray]:
    rule = _rule_of(contract)
    chosen = tuple(
        spec
        for spec in contract.inputs
        if spec.name not in contract.state_inputs
        and spec.name != rule.reset
        and (rule.axis in spec.dims) == timed
    )
    sizes = {
        dim: frames if dim == rule.axis else contract.axes.get(dim, AxisLimits()).minimum
        for spec in chosen
        for dim in spec.dims
        if isinstance(dim, str)
    }
    return random_inputs(GraphContract(contract.file, chosen, ()), sizes, random)


def _rule_of(contract: GraphContract) -> StreamRule:
    rule = contract.stream
    assert rule is not None
    return rule


def _find_capacity(many: Callable[[int], _Pushes], deadline_ms: float) -> Capacity | None:
    """Double the streams until the deadline is missed, then close in to a sixteenth."""
    measured: dict[int, float] = {}

    def meets(count: int) -> bool:
        engine = many(count)
        samples = time_engines([engine], lambda: {}, calls=DEADLINE_RUNS, seconds=2.0)
        measured[count] = float(np.percentile(samples[engine.name], 99)) / 1e6
        return measured[count] <= deadline_ms

    good, bad = 0, None
    count = 1
    while bad is None and count <= MOST_STREAMS:
        if meets(count):
            good, count = count, count * 2
        else:
            bad = count
    while bad is not None and bad - good > max(1, good // 16):
        middle = (good + bad) // 2
        if meets(middle):
            good = middle
        else:
            bad = middle
    return Capacity(good, deadline_ms, measured[good or 1], bad is None)


def _check(
    chunks: Sequence[int],
    streams: Sequence[int],
    frame_rate: float | None,
    deadline_ms: float | None,
) -> None:
    for what, sizes in (("chunks", chunks), ("streams", streams)):
        if not sizes or min(sizes) < 1:
            raise InputError(
                f"{what} must be numbers of at least 1, got {list(sizes)}. Raise them."
            )
    for name, value in (("frame_rate", frame_rate), ("deadline_ms", deadline_ms)):
        if value is not None and not 0 < value < float("inf"):
            raise InputError(f"{name} must be a number above 0, got {value}. Correct it.")
