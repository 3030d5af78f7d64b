"""Which way of running a bundle is the fastest here, for one shape of use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rnn_edge.bundle import Bundle
from rnn_edge.contract import AxisLimits
from rnn_edge.errors import (
    BundleError,
    InputError,
    IntegrationError,
    MissingExtraError,
    ProviderError,
    QuantizationError,
)
from rnn_edge.profiling.engines import SessionEngine
from rnn_edge.profiling.inputs import random_inputs
from rnn_edge.profiling.latency import Engine, time_engines
from rnn_edge.profiling.streaming import random_chunk, random_context
from rnn_edge.quantization.beside import Beside, quantised_beside
from rnn_edge.runtime import Session, StreamSession
from rnn_edge.runtime.providers import OPTIONS
from rnn_edge.runtime.stream_form import StreamForm
from rnn_edge.runtime.tuning import Tuning, write_tuning

# Less than this is not worth another way of running: it may be gone in the next measurement.
LEAST_GAIN = 0.03
# A thread that waits for nobody need not spin.
_OPTIONS_OF_ONE = tuple(option for option in OPTIONS if option != "spinning")
# Steps over which weights of 8 bits are held against float32.
_CHECKED_STEPS = 1000
# ONNX Runtime on the bundle itself, and on the int8 bundle beside it; the latter for sequences.
_PLAIN, _PLAIN_INT8, _INT8 = "onnxruntime", "onnxruntime-int8", "int8"


@dataclass(frozen=True, eq=False)
class Candidate:
    """One way of running: its settings, its ns a call, and what its answers lose: an int8 bundle's
    as quantize measures it, else the root mean square of errors in units of the answers' own."""

    name: str
    tuning: Tuning
    samples: np.ndarray
    loss: float = 0.0

    @property
    def median_us(self) -> float:
        return float(np.median(self.samples)) / 1e3


@dataclass(frozen=True, eq=False)
class TuningResult:
    """``candidates`` were timed in turn, the first is what was in use by default; ``left_out`` are
    those that could not be, with the reason. ``path`` holds the winner."""

    candidates: tuple[Candidate, ...]
    left_out: Mapping[str, str]
    best: Candidate
    path: Path

    @property
    def gain(self) -> float:
        """How many times faster the winner is than the default."""
        return self.candidates[0].median_us / self.best.median_us

    def to_dict(self) -> dict[str, Any]:
        return {
            "candidates": [
                {"name": each.name, "median_us": each.median_us, "loss": each.loss}
                for each in self.candidates
            ],
            "left_out": dict(self.left_out),
            "best": self.best.name,
            "gain": self.gain,
            "path": str(self.path),
        }


def tune(
    source: Bundle | str | Path,
    *,
    stream: bool = False,
    batch: int = 1,
    sequence: int = 100,
    lengths: Sequence[int] | None = None,
    chunk: int | None = None,
    max_drop: float | None = None,
    calls: int = 300,
    seconds: float = 3.0,
    seed: int = 0,
    progress: Callable[[str], None] = lambda stage: None,
) -> TuningResult:
    """Time the ways of running ``source``, a bundle, on this machine and keep the fastest.

    ``stream`` tunes pushes of ``chunk`` frames (the fewest, 1 mostly) in ``batch`` rows, with the
    engines of StreamSession, the graphs that take such chunks, a memory arena or pattern; otherwise
    ``batch`` sequences of ``sequence`` steps, or a batch with these ``lengths``, with numbers of
    threads, a memory arena or pattern, threads that spin, and with rows of alike lengths run
    together or not. ``max_drop`` admits weights of 8 bits whose answers lose no more than that
    share: those of the C engine, and for both uses the bundle that quantize writes as NAME-int8,
    which is made beside ``source`` where there is none and stays there if it is the fastest.
    ``seconds`` are those of one candidate. Session and StreamSession use what was kept where they
    are not told otherwise.
    Raises InputError where the bundle cannot be run so.
    """
    bundle = source if isinstance(source, Bundle) else Bundle.load(source)
    random = np.random.default_rng(seed)
    left_out: dict[str, str] = {}
    engines: list[_Push] | list[_Session]
    with ExitStack() as stack:
        int8 = _int8(bundle, max_drop, stream, stack, left_out, progress)
        if stream:
            engines = list(_pushes(bundle, (batch, chunk), max_drop, random, left_out, int8))
            make_feed: Callable[[], Mapping[str, np.ndarray]] = dict
        else:
            make_feed = _feed(bundle, batch, sequence, lengths, random)
            engines = list(_sessions(bundle, len(set(lengths or ())) > 1, int8))
        progress(f"{len(engines)} candidates in turn")
        samples = time_engines(engines, make_feed, calls=calls, seconds=seconds * len(engines))
        found = tuple(
            Candidate(each.name, each.tuning, samples[each.name], each.loss) for each in engines
        )
        best = min(found, key=lambda each: each.median_us)
        if best.median_us > (1 - LEAST_GAIN) * found[0].median_us:
            best = found[0]
        if int8 is not None and (best.tuning.quantised or best.tuning.stream_quantised):
            int8.keep()
    return TuningResult(found, left_out, best, write_tuning(bundle, best.tuning))


def _int8(
    bundle: Bundle,
    max_drop: float | None,
    stream: bool,
    stack: ExitStack,
    left_out: dict[str, str],
    progress: Callable[[str], None],
) -> Beside | None:
    """The int8 bundle beside, within the budget; made for the time of ``stack``."""
    name = _PLAIN_INT8 if stream else _INT8
    if max_drop is None:
        left_out[name] = "no --max-drop was given"
        return None
    progress("int8 beside float32")
    try:
        return stack.enter_context(quantised_beside(bundle, max_drop))
    except (QuantizationError, BundleError, MissingExtraError) as error:
        left_out[name] = str(error)
        return None


class _Session(SessionEngine):
    def __init__(self, bundle: Bundle, name: str, tuning: Tuning, loss: float) -> None:
        super().__init__(
            Session(
                bundle,
                threads=tuning.threads,
                groups=tuning.groups,
                options=tuning.options,
                quantised=False,
            )
        )
        self.name, self.tuning, self.loss = name, tuning, loss


class _Push(Engine):
    def __init__(
        self,
        bundle: Bundle,
        name: str,
        tuning: Tuning,
        sizes: tuple[int, int | None],
        random: np.random.Generator,
    ) -> None:
        batch, chunk = sizes
        self.name, self.tuning, self.loss = name, tuning, 0.0
        self.stream = StreamSession(
            bundle,
            batch=batch,
            engine=tuning.engine,
            step=tuning.step,
            options=tuning.stream_options,
            quantised=False,
        )
        self._batch, self._random = batch, random
        self.frames = _shortest(self.stream) if chunk is None else chunk
        context = random_context(self.stream.contract, random)
        if context:
            self.stream.push({**self.chunk(), **_repeated(context, self.stream, batch)})

    def chunk(self) -> dict[str, np.ndarray]:
        chunk = random_chunk(self.stream.contract, self.frames, self._random)
        return _repeated(chunk, self.stream, self._batch)

    def prepare(self, feed: Mapping[str, np.ndarray]) -> Any:
        return tuple(self.chunk().values())

    def call(self, prepared: Any) -> Any:
        return self.stream.push(*prepared)

    def answers(self, returned: Any) -> list[np.ndarray]:
        return list(returned)


def _sessions(bundle: Bundle, ragged: bool, int8: Beside | None) -> Iterator[_Session]:
    """The default first."""
    yield from _ways(bundle, ragged, "", None, 0.0)
    if int8 is not None:
        yield from _ways(int8.bundle, ragged, f"{_INT8}, ", int8.bundle.checksum, int8.drop)


def _ways(
    bundle: Bundle, ragged: bool, before: str, quantised: str | None, loss: float
) -> Iterator[_Session]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    counts = sorted({1, *(2**n for n in range(8) if 2**n <= cores), cores})
    can_group = bundle.graph().ragged and ragged
    for groups in (True, False) if can_group else (True,):
        for threads in counts:
            name = f"{before}{threads} thread{'s' * (threads > 1)}"
            name += f", rows {'in groups' if groups else 'in one run'}" if can_group else ""
            tried = OPTIONS if threads > 1 else _OPTIONS_OF_ONE
            for options in ((), *((option,) for option in tried)):
                told = f"{name}, {options[0]}" if options else name
                tuning = Tuning(
                    threads=threads, groups=groups, options=options, quantised=quantised
                )
                yield _Session(bundle, told, tuning, loss)


def _pushes(
    bundle: Bundle,
    sizes: tuple[int, int | None],
    max_drop: float | None,
    random: np.random.Generator,
    left_out: dict[str, str],
    int8: Beside | None,
) -> Iterator[_Push]:
    """The default first; engines that cannot run the model are left out."""
    default, *others = _plain_pushes(bundle, sizes, random, _PLAIN, None)
    yield default
    yield from others
    if int8 is not None:
        for each in _plain_pushes(int8.bundle, sizes, random, _PLAIN_INT8, int8.bundle.checksum):
            each.loss = int8.drop
            yield each
    for engine in ("c", "c-int8"):
        if engine == "c-int8" and max_drop is None:
            left_out[engine] = "no --max-drop was given"
            continue
        try:
            tuning = Tuning(engine=engine, step=True, stream_options=())
            made = _Push(bundle, engine, tuning, sizes, random)
            made.loss = _loss(default.stream, made)
        except (ProviderError, IntegrationError, InputError) as error:
            left_out[engine] = str(error)
            continue
        if max_drop is not None and made.loss > max_drop:
            left_out[engine] = f"it loses {made.loss:.2g}, more than {max_drop:g}"
            continue
        made.stream.reset()
        yield made
    default.stream.reset()


def _plain_pushes(
    bundle: Bundle,
    sizes: tuple[int, int | None],
    random: np.random.Generator,
    name: str,
    quantised: str | None,
) -> Iterator[_Push]:
    """By ONNX Runtime, its default first."""
    plain = Tuning(engine=_PLAIN, step=True, stream_options=(), stream_quantised=quantised)
    first = _Push(bundle, name, plain, sizes, random)
    yield first
    if "step" in bundle.contract.graphs and first.frames == 1:
        yield _Push(bundle, f"{name}, stream.onnx", replace(plain, step=False), sizes, random)
    for option in _OPTIONS_OF_ONE:
        tuning = replace(plain, stream_options=(option,))
        yield _Push(bundle, f"{name}, {option}", tuning, sizes, random)


def _loss(reference: StreamSession, made: _Push) -> float:
    """The root mean square of the errors over steps, in units of the answers' own."""
    for stream in (reference, made.stream):
        stream.reset()
    error, size = 0.0, 0.0
    for _ in range(_CHECKED_STEPS):
        chunk = made.chunk()
        for right, found in zip(reference.push(chunk), made.stream.push(chunk), strict=True):
            if right.dtype.kind == "f":
                error += float(np.square(found - right, dtype=np.float64).sum())
                size += float(np.square(right, dtype=np.float64).sum())
            elif not np.array_equal(right, found):
                error, size = error + 1, size + 1
    return float(np.sqrt(error / size)) if size else 0.0


def _shortest(stream: StreamSession) -> int:
    rule = stream.contract.stream
    assert rule is not None
    return stream.contract.axes.get(rule.axis, AxisLimits()).minimum


def _repeated(
    arrays: Mapping[str, np.ndarray], stream: StreamSession, batch: int
) -> dict[str, np.ndarray]:
    """The arrays of one row for ``batch`` of them."""
    found, form = {}, StreamForm.of(stream.contract)
    for name, array in arrays.items():
        axis = form.row_axis(stream.contract.input(name))
        found[name] = array if axis is None else np.repeat(array, batch, axis)
    return found


def _feed(
    bundle: Bundle,
    batch: int,
    sequence: int,
    lengths: Sequence[int] | None,
    random: np.random.Generator,
) -> Callable[[], Mapping[str, np.ndarray]]:
    """A function that makes inputs of that shape, with the lengths in another order every time."""
    contract = bundle.graph()
    timed = [spec for spec in contract.inputs if spec.lengths_of is not None]
    if lengths is not None and len(timed) != 1:
        raise InputError(
            f"lengths must go to one input of {contract.file}, it has {len(timed)} that take them. "
            "Leave --lengths out."
        )
    sizes = {dim: 1 for spec in contract.inputs for dim in spec.dims if isinstance(dim, str)}
    for axis, size in (("batch", len(lengths) if lengths else batch), ("sequence", sequence)):
        if axis in sizes:
            sizes[axis] = size
    if lengths:
        sizes[str(timed[0].lengths_of)] = max(lengths)

    def make() -> Mapping[str, np.ndarray]:
        given = random_inputs(contract, sizes, random)
        if lengths:
            spec = timed[0]
            given[spec.name] = random.permutation(np.array(lengths)).astype(spec.dtype)
        return given

    make()
    return make
