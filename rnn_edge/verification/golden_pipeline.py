"""Golden calls of pipeline.onnx: what a person has, and the words that came of it."""

from __future__ import annotations

import numpy as np

from rnn_edge.bundle import GOLDEN_PREFIX, Bundle, golden_sets_in
from rnn_edge.errors import BundleError, VerificationError
from rnn_edge.runtime import Session
from rnn_edge.runtime.pipeline_graph import PIPELINE
from rnn_edge.verification.golden import read_golden_set, recorded_noise, run_at
from rnn_edge.verification.tolerance import tolerance_for

# What a number may be off, relative to the largest: exp and sums in float32.
_RELATIVE = 1e-5


def replay_golden_pipeline(bundle: Bundle, provider: str = "cpu") -> int | None:
    """How many golden calls are right, words and numbers; None where there is no such graph.

    Strings have no place on other devices than the CPU: None there too. Raises VerificationError
    naming set and output, BundleError when there is no golden data.
    """
    if PIPELINE not in bundle.contract.graphs or provider != "cpu":
        return None
    graph = bundle.graph(PIPELINE)
    session = Session(bundle, graph=PIPELINE)
    noise = max(recorded_noise(bundle).values(), default=0.0)
    places = golden_sets_in(bundle.path / PIPELINE)
    if not places:
        raise BundleError(
            f"{bundle.path} must hold golden data in {PIPELINE}/{GOLDEN_PREFIX}0, it has none. "
            "Export again."
        )
    for place in places:
        inputs, expected = read_golden_set(place, graph)
        for (name, truth), found in zip(expected.items(), run_at(session, inputs), strict=True):
            if not _is_right(found, truth, noise):
                raise VerificationError(
                    f"output {name!r} of {PIPELINE}/{place.name} must be that of the golden data, "
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
