"""A stream graph against the eager module and the whole-sequence graph, at random chunkings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from rnn_edge.contract import GraphContract, StreamRule, TensorSpec
from rnn_edge.errors import VerificationError
from rnn_edge.runtime import Session
from rnn_edge.verification.cases import Case
from rnn_edge.verification.golden import run_at
from rnn_edge.verification.report import ChunkParity, StreamReport
from rnn_edge.verification.sampling import Arrays
from rnn_edge.verification.tolerance import compare

_SEED = 21
_PRIMES = (2, 3, 5, 7, 11, 13)


# Ways to cut a number of frames, each with its name.
Ways = Callable[[int, np.random.Generator], Iterable[tuple[str, list[int]]]]


def check_stream(
    stream: Session, whole: Session, cases: Sequence[Case], ways: Ways | None = None
) -> StreamReport:
    """Run every case of ``cases`` in chunks: single steps, all at once, primes, ragged.

    Lengths in the cases must be full. Raises VerificationError at the first answer that is off.
    """
    worst: dict[str, ChunkParity] = {}
    random = np.random.default_rng(_SEED)
    tried: dict[str, None] = {}
    for case in cases:
        rule = stream.contract.stream
        assert rule is not None
        answers = dict(
            zip((s.name for s in whole.contract.outputs), run_at(whole, case.inputs), strict=True)
        )
        for words, chunks in (ways or chunkings)(case.sizes[rule.axis], random):
            tried[words] = None
            found = run_in_chunks(stream, case.inputs, chunks)
            for parity in _compare(stream.contract, whole.contract, case, found, answers, words):
                best = worst.get(parity.name)
                worst[parity.name] = _worse(best, parity) if best else parity
    latency = stream.contract.stream.latency if stream.contract.stream else 0
    return StreamReport(tuple(tried), latency, tuple(worst.values()))


def chunkings(steps: int, random: np.random.Generator) -> Iterator[tuple[str, list[int]]]:
    """Ways to cut ``steps`` frames, each with its name."""
    if steps <= 256:
        yield "single steps", [1] * steps
    yield "one whole", [steps]
    if steps > 2:
        yield "primes", _cut(steps, _PRIMES[: max(1, min(6, steps // 2))])
        ragged: list[int] = []
        while sum(ragged) < steps:
            ragged.append(min(int(random.integers(1, max(2, steps // 3))), steps - sum(ragged)))
        yield "ragged", ragged


def _cut(steps: int, sizes: Sequence[int]) -> list[int]:
    chunks: list[int] = []
    while sum(chunks) < steps:
        chunks.append(min(sizes[len(chunks) % len(sizes)], steps - sum(chunks)))
    return chunks


def run_in_chunks(stream: Session, inputs: Arrays, chunks: Sequence[int]) -> Arrays:
    """The outputs over all chunks by name: frames one after another, final values the last ones.

    ``inputs`` are those of the whole-sequence graph; lengths among them are left out.
    """
    contract = stream.contract
    rule = contract.stream
    assert rule is not None
    parts: dict[str, list[np.ndarray]] = {spec.name: [] for spec in contract.outputs}
    for _, outputs in replay_chunks(stream, inputs, chunks):
        for name, array in outputs.items():
            parts[name].append(array)
    return {spec.name: _join(spec, rule, parts[spec.name]) for spec in contract.outputs}


def replay_chunks(
    stream: Session, inputs: Arrays, chunks: Sequence[int]
) -> Iterator[tuple[Arrays, Arrays]]:
    """(inputs, outputs) of each call, states included, in the contract's order.

    Chunks go on until ``inputs`` end.
    """
    contract = stream.contract
    rule = contract.stream
    assert rule is not None
    rows = {
        dim: size
        for spec in contract.inputs
        if spec.name in inputs
        for dim, size in zip(spec.dims, inputs[spec.name].shape, strict=True)
        if isinstance(dim, str)
    }
    states = {
        pair.input: np.asarray(inputs[pair.input])
        if pair.input in inputs
        else _initial(contract.input(pair.input), pair.initial, rows)
        for pair in contract.states
    }
    start = 0
    for number, size in enumerate(chunks):
        if start + size > rows[rule.axis]:
            return
        feed = {}
        for spec in contract.inputs:
            if spec.name in states:
                feed[spec.name] = states[spec.name]
            elif spec.name == rule.reset:
                shape = [rows[dim] if isinstance(dim, str) else dim for dim in spec.dims]
                feed[spec.name] = np.full(shape, number == 0)
            else:
                feed[spec.name] = _chunk(spec, rule, inputs[spec.name], start, size)
        outputs = run_named_at(stream, feed)
        states = {pair.input: outputs[pair.output] for pair in contract.states}
        yield feed, outputs
        start += size


def _initial(spec: TensorSpec, value: float, sizes: Mapping[str, int]) -> np.ndarray:
    shape = [sizes[dim] if isinstance(dim, str) else dim for dim in spec.dims]
    return np.full(shape, value, np.dtype(spec.dtype))


def run_named_at(session: Session, inputs: Arrays) -> Arrays:
    """As Session.run_named, without being warned of long sequences."""
    names = (spec.name for spec in session.contract.outputs)
    return dict(zip(names, run_at(session, inputs), strict=True))


def time_axis_of(spec: TensorSpec, rule: StreamRule) -> int | None:
    """The axis along which an output of a stream graph has frames."""
    frames = (rule.axis, f"{spec.name}.frames")
    return next((place for place, dim in enumerate(spec.dims) if dim in frames), None)


def take_frames(
    spec: TensorSpec, rule: StreamRule, whole: np.ndarray, found: np.ndarray
) -> np.ndarray:
    """The frames of ``whole`` that ``found``, an output over all chunks, has: the first ones."""
    place = time_axis_of(spec, rule)
    if place is None:
        return whole
    return np.take(whole, range(found.shape[place]), axis=place)


def _chunk(
    spec: TensorSpec, rule: StreamRule, array: np.ndarray, start: int, size: int
) -> np.ndarray:
    if rule.axis not in spec.dims:
        return array
    place = spec.dims.index(rule.axis)
    return np.take(array, range(start, start + size), axis=place)


def _join(spec: TensorSpec, rule: StreamRule, arrays: list[np.ndarray]) -> np.ndarray:
    place = time_axis_of(spec, rule)
    return arrays[-1] if place is None else np.concatenate(arrays, place)


def _compare(
    stream: GraphContract,
    whole: GraphContract,
    case: Case,
    found: Arrays,
    answers: Arrays,
    words: str,
) -> Iterator[ChunkParity]:
    rule = stream.stream
    assert rule is not None
    for spec, answer in zip(whole.outputs, case.answers, strict=True):
        array, own, truth, offline = (
            found[spec.name], answer.own, answer.truth, answers[spec.name],
        )  # fmt: skip
        place = time_axis_of(stream.output(spec.name), rule)
        if place is not None:
            count = array.shape[place]
            if own.shape[place] - rule.latency > count or count > own.shape[place]:
                raise VerificationError(
                    f"a stream must give {own.shape[place]} frames of {spec.name!r} less "
                    f"{rule.latency}, it gave {count} ({words}). Report the module."
                )
            own, truth, offline = (
                take_frames(stream.output(spec.name), rule, each, array)
                for each in (own, truth, offline)
            )
        deviation = compare(array, own, truth, answer.sensitivity)
        if not deviation.allowed:
            raise VerificationError(
                f"output {spec.name!r} in chunks ({words}, {case.sizes[rule.axis]} frames) must be "
                f"within {deviation.tolerance:.2g} of the whole sequence, error is "
                f"{deviation.error:.2g}. Report the module."
            )
        yield ChunkParity(
            spec.name, deviation.error, deviation.noise, deviation.tolerance, case.sizes, words,
            bool(np.array_equal(array, offline)),
        )  # fmt: skip


def _worse(one: ChunkParity, other: ChunkParity) -> ChunkParity:
    def ratio(parity: ChunkParity) -> float:
        return parity.error / parity.tolerance if parity.tolerance else 0.0

    worst = max(one, other, key=ratio)
    return replace(worst, bitwise=one.bitwise and other.bitwise)
