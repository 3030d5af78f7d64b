"""Golden chunks: consecutive calls of a stream graph, replayed with the states carried.

Replaying needs numpy and onnxruntime alone, so that a device can check itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnn_edge.bundle import GOLDEN_PREFIX, Bundle, golden_sets_in
from rnn_edge.contract import GraphContract
from rnn_edge.errors import BundleError, VerificationError
from rnn_edge.runtime import Session
from rnn_edge.runtime.stream_graph import STEP, STREAM
from rnn_edge.verification.golden import compare_golden, read_golden_set, run_at
from rnn_edge.verification.report import OutputParity, ParityReport
from rnn_edge.verification.single_rows import session_for_rows

FOLDER = "stream"
Arrays = dict[str, np.ndarray]


def replay_golden_chunks(bundle: Bundle, provider: str = "cpu") -> ParityReport | None:
    """Run the golden chunks of a bundle one after another; None where it has no stream graph.

    Each call gets the states that the call before gave here, not those that were stored, so that
    what this runtime adds up is seen. Single frames go through the graph for them as well.
    Raises VerificationError naming call and output, BundleError when there is no golden data.
    """
    if STREAM not in bundle.contract.graphs:
        return None
    graph = bundle.graph(STREAM)
    calls = list(_golden_calls(bundle, graph))
    noise = _recorded_noise(bundle)
    worst: dict[str, OutputParity] = {}
    stream = Session(bundle, provider, graph=STREAM)
    ways = [[stream]]
    if STEP in bundle.contract.graphs:
        step = session_for_rows(Session(bundle, provider, graph=STEP), graph)
        ways.append([step, stream])
    for way in ways:
        for parity in _replay(way, graph, calls, noise):
            best = worst.get(parity.name)
            if best is None or parity.error > best.error:
                worst[parity.name] = parity
    sizes = tuple(_sizes(graph, inputs) for _, inputs, _ in calls)
    return ParityReport("golden chunks", sizes, tuple(worst.values()))


def _replay(
    sessions: Sequence[Session],
    graph: GraphContract,
    calls: Sequence[tuple[Path, Arrays, Arrays]],
    noise: Mapping[str, float],
) -> Iterator[OutputParity]:
    """The parity of every output of every call, each run by the first session that takes it."""
    carried: Arrays = {}
    for place, stored, expected in calls:
        inputs = {**stored, **carried}
        session = next(each for each in sessions if _takes(each.contract, inputs))
        names = (spec.name for spec in session.contract.outputs)
        found = dict(zip(names, run_at(session, inputs), strict=True))
        for name, truth in expected.items():
            known = noise.get(name, max(noise.values(), default=0.0))
            parity = compare_golden(name, found[name], truth, known, _sizes(graph, inputs))
            if parity.error > parity.tolerance:
                raise VerificationError(
                    f"output {name!r} of {FOLDER}/{place.name} must be within "
                    f"{parity.tolerance:.2g} of the golden data when {session.contract.file} "
                    f"carries its own states, error is {parity.error:.2g}. "
                    "Do not use this runtime for this bundle, or export it again."
                )
            yield parity
        carried = {pair.input: found[pair.output] for pair in graph.states}


def _takes(contract: GraphContract, inputs: Arrays) -> bool:
    return all(
        isinstance(dim, str) or dim == size
        for spec in contract.inputs
        for dim, size in zip(spec.dims, inputs[spec.name].shape, strict=True)
    )


def _golden_calls(bundle: Bundle, graph: GraphContract) -> Iterator[tuple[Path, Arrays, Arrays]]:
    places = golden_sets_in(bundle.path / FOLDER)
    if not places:
        raise BundleError(
            f"{bundle.path} must hold golden chunks in {FOLDER}/{GOLDEN_PREFIX}0, it has none. "
            "Export again."
        )
    for place in places:
        inputs, outputs = read_golden_set(place, graph)
        yield place, inputs, outputs


def _recorded_noise(bundle: Bundle) -> dict[str, float]:
    """What torch's own dtype lost at the export, by output; that of a state is not known."""
    outputs: Sequence[Mapping[str, Any]] = (bundle.evidence.get("stream") or {}).get("outputs", ())
    return {str(output["name"]): float(output["noise"]) for output in outputs}


def _sizes(graph: GraphContract, inputs: Arrays) -> dict[str, int]:
    return {
        dim: size
        for spec in graph.inputs
        for dim, size in zip(spec.dims, inputs[spec.name].shape, strict=True)
        if isinstance(dim, str)
    }
