"""One profile run, from the bundle to the report."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from rnn_edge.bundle import Bundle
from rnn_edge.contract import GraphContract
from rnn_edge.errors import InputError, VerificationError
from rnn_edge.extras import import_extra
from rnn_edge.profiling.byte_limit import weigh
from rnn_edge.profiling.child import Program, session_program, torch_program
from rnn_edge.profiling.cold_start import measure_cold_start
from rnn_edge.profiling.engines import (
    SessionEngine,
    TorchEngine,
    require_agreement,
    torch_engines,
    torch_threads,
)
from rnn_edge.profiling.inputs import Point, axis_sizes, grid, random_inputs
from rnn_edge.profiling.latency import Arrays, Engine, Latency, time_engines
from rnn_edge.profiling.memory import folder_bytes, measure_memory
from rnn_edge.profiling.operators import measure_operators
from rnn_edge.profiling.peers import OpenVinoEngine, PeerError, PlainEngine, StockEngine
from rnn_edge.profiling.report import Profile
from rnn_edge.runtime import Session
from rnn_edge.version import VERSION

if TYPE_CHECKING:
    from torch import nn

#: What a graph can be measured against.
AGAINST = ("torch", "stock", "openvino")


def profile(
    bundle: Bundle | str | Path,
    *,
    batches: Sequence[int] | None = None,
    sequences: Sequence[int] | None = None,
    against: str | Sequence[str] | None = None,
    module: nn.Module | str | Path | None = None,
    provider: str = "cpu",
    threads: int = 1,
    graph: str = "model",
    calls: int = 1000,
    seconds: float = 2.0,
    processes: int = 5,
    seed: int = 0,
    progress: Callable[[str], None] = lambda stage: None,
) -> Profile:
    """Measure a graph of a bundle (or a lone .onnx file) on random inputs that its contract allows.

    ``batches`` and ``sequences`` are the sizes of those axes, every pair of them a point; left out,
    a few are chosen. At each point every engine is called ``calls`` times, fewer (at least 20) when
    ``seconds`` per engine are over; ``processes`` is the number of cold starts. ``progress`` is
    told each stage.

    ``against`` names what is measured in the same run, call by call in alternating order, after
    checking that its answers are the same, beside the time in which this core reads the weights:
    "torch", the eager ``module`` (or the one in a checkpoint folder); "stock", that module by
    torch.onnx.export and session.run, or without a module the bundle's file in a session with
    nothing set; "openvino", the file in OpenVINO. The last two are left out where they cannot run
    the model or answer otherwise, and the report says why.

    Raises InputError for sizes that the graph does not take, VerificationError when the answers
    differ, and what Session and load_checkpoint raise.
    """
    _check_numbers(threads=threads, calls=calls, processes=processes)
    others = _others(against, module)
    eager = torch_engines(module) if module is not None else []
    session = Session(bundle, provider, graph=graph, threads=threads, quantised=False)
    points = grid(session.contract, batches, sequences)
    inputs = RandomInputs(session.contract, seed)
    latencies: list[Latency] = []
    with (
        torch_threads(threads) if module is not None else nullcontext(),
        TemporaryDirectory(prefix="rnn-edge-profile-") as place,
    ):
        engines: list[Engine] = [SessionEngine(session), *(eager if "torch" in others else [])]
        samples = [inputs.make(point) for point in points]
        left_out: dict[str, str] = {}
        for name in (name for name in others if name != "torch"):
            progress(f"the answers of {name}")
            try:
                engines.append(
                    _agreeing_peer(name, engines[0], session, eager, threads, Path(place), samples)
                )
            except (PeerError, VerificationError) as error:
                left_out[name] = str(error)
        for point in points:
            progress(f"latency at {point}")
            latencies += _measure_point(engines, point, inputs, calls, seconds)
    limit, limits = None, {}
    if others:
        progress("the byte limit of this core")
        limit = weigh(session.path)
        limits = {point: limit.microseconds(point.sequence or 1) for point in points}

    programs = _programs(session, graph, threads, module)
    with TemporaryDirectory(prefix="rnn-edge-profile-") as place:
        folder = Path(place)
        progress("cold start")
        smallest, largest = inputs.make(points[0]), inputs.make(points[-1])
        starts = [measure_cold_start(each, smallest, folder, processes) for each in programs]
        progress("memory")
        memories = [measure_memory(each, largest, folder) for each in programs]
        progress("operators")
        operators, nodes = measure_operators(session, threads, inputs.maker(points[-1]), folder)

    return Profile(
        name=session.bundle.name if session.bundle else session.path.name,
        graph=graph,
        provider=provider,
        threads=threads,
        versions=_versions(others, with_torch=module is not None),
        model_bytes=session.path.stat().st_size,
        bundle_bytes=folder_bytes(session.bundle.path) if session.bundle else None,
        latencies=tuple(latencies),
        cold_starts=tuple(starts),
        memories=tuple(memories),
        operator_point=points[-1],
        operators=tuple(operators),
        nodes=tuple(nodes),
        byte_limit=limit,
        limits_us=limits,
        left_out=left_out,
    )


class RandomInputs:
    """Fresh random inputs for a contract, the same ones again for the same seed."""

    def __init__(self, contract: GraphContract, seed: int) -> None:
        self._contract = contract
        self._generator = np.random.default_rng(seed)

    def make(self, point: Point) -> Arrays:
        return random_inputs(self._contract, axis_sizes(self._contract, point), self._generator)

    def maker(self, point: Point) -> Callable[[], Arrays]:
        return lambda: self.make(point)


def _others(against: str | Sequence[str] | None, module: object) -> tuple[str, ...]:
    """The engines that were asked for, each once."""
    asked = (against,) if isinstance(against, str) else tuple(dict.fromkeys(against or ()))
    unknown = [name for name in asked if name not in AGAINST]
    if unknown:
        raise InputError(
            f"against must be some of {', '.join(AGAINST)}, got {', '.join(map(repr, unknown))}. "
            "Choose among them."
        )
    if "torch" in asked and module is None:
        raise InputError('against "torch" must come together with a module, got none. Give it.')
    if module is not None and not {"torch", "stock"} & {*asked}:
        raise InputError(
            'a module must be given for against "torch" or "stock", got it without. Give both.'
        )
    return asked


def _agreeing_peer(
    name: str,
    ours: Engine,
    session: Session,
    eager: Sequence[TorchEngine],
    threads: int,
    folder: Path,
    samples: Sequence[Arrays],
) -> Engine:
    """Raises PeerError where it cannot run the model, VerificationError for other answers."""
    peer: Engine
    if name == "openvino":
        peer = OpenVinoEngine(session.path, threads)
    elif eager:
        peer = StockEngine(eager[0].module, threads, folder)
    else:
        peer = PlainEngine(session.path, threads)
    for sample in samples:
        require_agreement([ours, peer], sample)
    return peer


def _measure_point(
    engines: Sequence[Engine], point: Point, inputs: RandomInputs, calls: int, seconds: float
) -> list[Latency]:
    require_agreement(engines, inputs.make(point))
    samples = time_engines(
        engines, inputs.maker(point), calls=calls, seconds=seconds * len(engines)
    )
    return [Latency(name, point, values) for name, values in samples.items()]


def _programs(
    session: Session, graph: str, threads: int, module: nn.Module | str | Path | None
) -> list[Program]:
    """What is started in processes of its own; a module in memory cannot be."""
    source = session.bundle.path if session.bundle else session.path
    ours = session_program(source, session.provider, graph, threads, trusted=True)
    if isinstance(module, str | Path):
        return [ours, torch_program(Path(module), threads)]
    return [ours]


def _check_numbers(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise InputError(f"{name} must be at least 1, got {number}. Raise it.")


def _versions(others: Sequence[str], with_torch: bool) -> dict[str, str]:
    versions = {
        "rnn-edge": VERSION,
        "python": platform.python_version(),
        "onnxruntime": str(import_extra("onnxruntime").__version__),
    }
    if with_torch:
        versions["torch"] = str(import_extra("torch").__version__)
    if "openvino" in others:
        versions["openvino"] = str(import_extra("openvino").__version__)
    return versions
