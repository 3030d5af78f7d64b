"""Golden data: inputs with the module's answers, in ONNX's own test layout, and their replay.

Replaying needs numpy and onnxruntime alone, so that a device can check itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from rnn_edge.bundle import GOLDEN_PREFIX, Bundle
from rnn_edge.contract import GraphContract
from rnn_edge.errors import BundleError, VerificationError
from rnn_edge.extras import import_extra
from rnn_edge.runtime import LongSequenceWarning, Session
from rnn_edge.verification.report import OutputParity, ParityReport
from rnn_edge.verification.tensor_file import read_tensor_file
from rnn_edge.verification.tolerance import compare, tolerance_for

Arrays = dict[str, np.ndarray]


def write_golden_set(
    folder: Path, number: int, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]
) -> None:
    """Write ``test_data_set_<number>`` with input_0.pb, ..., output_0.pb, ... into ``folder``."""
    numpy_helper = import_extra("onnx.numpy_helper")
    place = folder / f"{GOLDEN_PREFIX}{number}"
    place.mkdir()
    for kind, tensors in (("input", inputs), ("output", outputs)):
        for index, (name, array) in enumerate(tensors.items()):
            tensor = numpy_helper.from_array(np.asarray(array, order="C"), name)
            (place / f"{kind}_{index}.pb").write_bytes(tensor.SerializeToString())


def read_golden_set(place: Path, graph: GraphContract) -> tuple[Arrays, Arrays]:
    """(inputs, outputs) by name, in the contract's order. Raises BundleError."""
    sides: list[Arrays] = []
    for kind, specs in (("input", graph.inputs), ("output", graph.outputs)):
        tensors = [read_tensor_file(place / f"{kind}_{i}.pb") for i in range(len(specs))]
        names = [name for name, _ in tensors]
        if names != [spec.name for spec in specs]:
            raise BundleError(
                f"{place} must hold {kind}s {', '.join(s.name for s in specs)}, "
                f"got {', '.join(names)}. Export the model again."
            )
        sides.append(dict(tensors))
    return sides[0], sides[1]


def replay(bundle: Bundle, provider: str = "cpu") -> ParityReport:
    """Run every golden set; the answers must be as near to torch's as they were at the export.

    Raises VerificationError naming set and output, BundleError when there is no golden data.
    """
    graph = bundle.graph()
    session = Session(bundle, provider, quantised=False)
    noise = recorded_noise(bundle)
    worst: dict[str, OutputParity] = {}
    cases = []
    for place, inputs, expected in _golden_data(bundle, graph):
        sizes = _sizes(graph, inputs)
        cases.append(sizes)
        for (name, truth), found in zip(expected.items(), run_at(session, inputs), strict=True):
            parity = compare_golden(name, found, truth, noise.get(name, 0.0), sizes)
            if parity.error > parity.tolerance:
                raise VerificationError(
                    f"output {name!r} of {place.name} must be within {parity.tolerance:.2g} of "
                    f"the golden data, error is {parity.error:.2g}. "
                    "Do not use this runtime for this bundle, or export it again."
                )
            if name not in worst or parity.error > worst[name].error:
                worst[name] = parity
    return ParityReport("golden data", tuple(cases), tuple(worst.values()))


def run_at(session: Session, inputs: Arrays) -> list[np.ndarray]:
    """Run at sizes that nobody trained on, without being warned of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LongSequenceWarning)
        return session.run(inputs)


def compare_golden(
    name: str, found: np.ndarray, truth: np.ndarray, noise: float, sizes: Mapping[str, int]
) -> OutputParity:
    """``noise`` is what torch's own dtype lost at the export."""
    deviation = compare(found, truth, truth)
    if truth.dtype.kind != "f":
        return OutputParity(name, deviation.error, 0.0, 0.0, sizes)
    noise = max(noise, deviation.noise)
    tolerance = tolerance_for(noise, str(truth.dtype))
    return OutputParity(name, deviation.error, noise, tolerance, sizes)


def _golden_data(bundle: Bundle, graph: GraphContract) -> Iterator[tuple[Path, Arrays, Arrays]]:
    places = bundle.golden_sets()
    if not places:
        raise BundleError(
            f"{bundle.path} must hold golden data in {GOLDEN_PREFIX}0, it has none. Export again."
        )
    for place in places:
        inputs, outputs = read_golden_set(place, graph)
        yield place, inputs, outputs


def recorded_noise(bundle: Bundle) -> dict[str, float]:
    """What torch's own dtype lost at the export, by output, in its worst case."""
    parity = bundle.evidence.get("parity") or {}
    outputs: Sequence[Mapping[str, float | str]] = parity.get("outputs", ())
    return {str(output["name"]): float(output["noise"]) for output in outputs}


def _sizes(graph: GraphContract, inputs: Arrays) -> dict[str, int]:
    return {
        dim: size
        for spec in graph.inputs
        for dim, size in zip(spec.dims, inputs[spec.name].shape, strict=True)
        if isinstance(dim, str)
    }
