"""Golden calls of generate.onnx and pipeline.onnx: what is given, and the words that came of it."""

from __future__ import annotations

import numpy as np

from rnn_edge.bundle import GOLDEN_PREFIX, Bundle, golden_sets_in
from rnn_edge.errors import BundleError, VerificationError
from rnn_edge.runtime import Session
from rnn_edge.runtime.pipeline_graph import PIPELINE
from rnn_edge.verification.golden import read_golden_set, recorded_noise, run_at
from rnn_edge.verification.tolerance import tolerance_for

_GRAPHS = ("generate", PIPELINE)
# What a number may be off, relative to the largest: exp and sums in float32.
_RELATIVE = 1e-5


def replay_golden_calls(bundle: Bundle, provider: str = "cpu") -> dict[str, int]:
    """How many golden calls are right, words and numbers, by the graph; none for one that is not
    there.

    Strings have no place on other devices than the CPU, and loops are slow there: none of both.
    Raises VerificationError naming set and output, BundleError when there is no golden data.
    """
    names = [name for name in _GRAPHS if name in bundle.contract.graphs and provider == "cpu"]
    return {name: _replay(bundle, name) for name in names}


def _replay(bundle: Bundle, name: str) -> int:
    graph = bundle.graph(name)
    session = Session(bundle, graph=name)
    noise = max(recorded_noise(bundle).values(), default=0.0)
    places = golden_sets_in(bundle.path / name)
    if not places:
        raise BundleError(
            f"{bundle.path} must hold golden data in {name}/{GOLDEN_PREFIX}0, it has none. "
            "Export again."
        )
    for place in places:
        inputs, expected = read_golden_set(place, graph)
        for (output, truth), found in zip(expected.items(), run_at(session, inputs), strict=True):
            if not _is_right(found, truth, noise):
                raise VerificationError(
                    f"output {output!r} of {name}/{place.name} must be that of the golden data, "
                    "it differs. Do not use this runtime for this bundle, or export it again."
                )
    return len(places)


def _is_right(found: np.ndarray, truth: np.ndarray, noise: float) -> bool:
    if found.shape != truth.shape:
        return False
    if truth.dtype.kind != "f":
        return bool(np.all(found == truth))
    largest = float(np.max(np.abs(truth), initial=0.0, where=np.isfinite(truth)))
    tolerance = tolerance_for(noise, str(truth.dtype)) + _RELATIVE * max(1.0, largest)
    return bool(np.allclose(found, truth, rtol=0, atol=tolerance, equal_nan=True))
