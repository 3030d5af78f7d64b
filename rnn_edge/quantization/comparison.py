"""A quantised graph beside its float32 original: what the answers lose, and what a call takes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnn_edge.bundle import Bundle
from rnn_edge.contract import AxisLimits, GraphContract, LabelDecoder, NextCharacterDecoder
from rnn_edge.profiling.engines import SessionEngine
from rnn_edge.profiling.inputs import axis_sizes, grid, random_inputs
from rnn_edge.profiling.latency import Arrays, Engine, time_engines
from rnn_edge.profiling.streaming import random_chunk, random_context
from rnn_edge.runtime import Session, StreamSession
from rnn_edge.verification.golden import read_golden_set, run_at

_SEED = 7
_RANDOM_CALLS = 4
_CHUNKS, _LONGEST_CHUNK = 100, 16
HORIZONS = (10, 100, 1_000, 10_000)


@dataclass(frozen=True)
class Loss:
    """What one output loses: ``kind`` says in which unit ``drop`` is, ``error`` is the largest.

    "labels changed" is the share of answers whose likeliest label is another; "relative error" is
    the root of the mean square of the errors, in units of the answers' standard deviation; "values
    changed" is the share of whole numbers or words that are others, which have no ``error`` (0).
    """

    output: str
    kind: str
    drop: float
    error: float


@dataclass(frozen=True)
class Drift:
    """The relative and the largest error of the first answer over the first ``steps`` steps."""

    steps: int
    drop: float
    error: float


@dataclass(frozen=True)
class Timing:
    """Medians of one call, timed in turn; ``ratio`` is float32 over quantised."""

    call: str
    float_us: float
    quantised_us: float

    @property
    def ratio(self) -> float:
        return self.float_us / self.quantised_us


def compare_answers(one: Bundle, other: Bundle) -> list[Loss]:
    """Every output of the whole-sequence graph, over the golden inputs and random ones."""
    graph = one.graph()
    sessions = [Session(each, threads=1, quantised=False) for each in (one, other)]
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {s.name: [] for s in graph.outputs}
    for feed in random_feeds(one, graph):
        answers = [run_at(session, feed) for session in sessions]
        for spec, truth, array in zip(graph.outputs, *answers, strict=True):
            found[spec.name].append((truth, array))
    labelled = isinstance(one.contract.decoder, LabelDecoder | NextCharacterDecoder)
    return [
        loss_of(name, pairs, labelled and place == 0)
        for place, (name, pairs) in enumerate(found.items())
    ]


def compare_streams(one: Bundle, other: Bundle, steps: int = HORIZONS[-1]) -> list[Drift]:
    """The same random frames through both streams, one by one."""
    streams = [_stream(each) for each in (one, other)]
    random = np.random.default_rng(_SEED)
    contract = streams[0].contract
    context = random_context(contract, random)
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    drifts = []
    for step in range(1, steps + 1):
        frames = random_chunk(contract, 1, random)
        given = {**frames, **context} if step == 1 else frames
        answers = [stream.push(given) for stream in streams]
        if answers[0] and answers[0][0].size:
            pairs.append((answers[0][0], answers[1][0]))
        if step in HORIZONS and pairs:
            loss = loss_of("", pairs, labelled=False)
            drifts.append(Drift(step, loss.drop, loss.error))
    return drifts


def compare_chunks(one: Bundle, other: Bundle) -> Loss:
    """The first answer to the same random frames in chunks of mixed sizes, single ones too: these
    go through another graph than the rest, whose products are rounded otherwise."""
    streams = [_stream(each) for each in (one, other)]
    random, contract = np.random.default_rng(_SEED), streams[0].contract
    assert contract.stream is not None
    limits = contract.axes.get(contract.stream.axis, AxisLimits())
    most = limits.minimum + _LONGEST_CHUNK - 1
    most = most if limits.maximum is None else min(most, limits.maximum)
    context = random_context(contract, random)
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    for number in range(_CHUNKS):
        frames = limits.minimum
        if number % 2:
            frames = int(random.integers(frames, most, endpoint=True))
        given = {**random_chunk(contract, frames, random), **({} if number else context)}
        answers = [stream.push(given) for stream in streams]
        if answers[0] and answers[0][0].size:
            pairs.append((answers[0][0], answers[1][0]))
    name = f"stream, chunks of {limits.minimum} to {most}"
    return loss_of(name, pairs, labelled=False) if pairs else Loss(name, "relative error", 0.0, 0.0)


def compare_speed(one: Bundle, other: Bundle, seconds: float = 1.0) -> list[Timing]:
    """Whole sequences at the largest of the usual sizes, and a push of one step."""
    timings = []
    random = np.random.default_rng(_SEED)
    graph = one.graph()
    sizes = axis_sizes(graph, grid(graph)[-1])
    engines = [
        _named(SessionEngine(Session(each, threads=1, quantised=False)), name)
        for name, each in _both(one, other)
    ]
    name = ", ".join(f"{axis} {size}" for axis, size in sizes.items()) or "one call"
    timings.append(_timing(name, engines, lambda: random_inputs(graph, sizes, random), seconds))
    if "stream" in one.contract.graphs:
        pushes = [_named(_Push(_stream(b), random), n) for n, b in _both(one, other)]
        timings.append(_timing("a push of one step", pushes, lambda: {}, seconds))
    return timings


class _Push(Engine):
    """Single steps of a stream."""

    def __init__(self, stream: StreamSession, random: np.random.Generator) -> None:
        self._stream, self._random = stream, random
        context = random_context(stream.contract, random)
        if context:
            stream.push({**random_chunk(stream.contract, 1, random), **context})

    def prepare(self, feed: Arrays) -> Any:
        return tuple(random_chunk(self._stream.contract, 1, self._random).values())

    def call(self, prepared: Any) -> Any:
        return self._stream.push(*prepared)

    def answers(self, returned: Any) -> list[np.ndarray]:
        return list(returned)


def _stream(bundle: Bundle) -> StreamSession:
    """By ONNX Runtime, whatever is tuned here."""
    return StreamSession(bundle, engine="onnxruntime")


def _both(one: Bundle, other: Bundle) -> tuple[tuple[str, Bundle], tuple[str, Bundle]]:
    return ("float32", one), ("quantised", other)


def _named(engine: Engine, name: str) -> Engine:
    engine.name = name
    return engine


def _timing(call: str, engines: Sequence[Engine], make: Any, seconds: float) -> Timing:
    samples = time_engines(engines, make, calls=500, seconds=seconds)
    medians = [float(np.median(samples[engine.name])) / 1e3 for engine in engines]
    return Timing(call, *medians)


def random_feeds(bundle: Bundle, graph: GraphContract) -> Iterator[dict[str, np.ndarray]]:
    """Inputs of the whole-sequence graph: the golden ones, then random ones."""
    for place in bundle.golden_sets():
        yield read_golden_set(place, graph)[0]
    random = np.random.default_rng(_SEED)
    sizes = axis_sizes(graph, grid(graph)[-1])
    for _ in range(_RANDOM_CALLS):
        yield random_inputs(graph, sizes, random)


def loss_of(name: str, pairs: Sequence[tuple[np.ndarray, np.ndarray]], labelled: bool) -> Loss:
    """Of pairs of a float32 and a quantised answer, over all of them."""
    if any(one.shape != other.shape for one, other in pairs):
        return Loss(name, "other shapes", math.inf, math.inf)
    if pairs[0][0].dtype.kind != "f":
        wrong = sum(int((one != other).sum()) for one, other in pairs)
        return Loss(name, "values changed", wrong / sum(o.size for o, _ in pairs), 0.0)
    truth = np.concatenate([one.ravel() for one, _ in pairs]).astype(np.float64)
    found = np.concatenate([other.ravel() for _, other in pairs]).astype(np.float64)
    error = float(np.abs(truth - found).max())
    if labelled:
        changed = [(one.argmax(-1) != other.argmax(-1)).ravel() for one, other in pairs]
        return Loss(name, "labels changed", float(np.concatenate(changed).mean()), error)
    scale = float(truth.std()) or 1.0
    drop = float(np.sqrt(np.mean((truth - found) ** 2))) / scale
    return Loss(name, "relative error", drop if math.isfinite(drop) else math.inf, error)
