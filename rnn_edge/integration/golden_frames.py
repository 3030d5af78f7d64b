"""The golden chunks of a bundle, cut into the steps of one row after another."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rnn_edge.bundle import Bundle, golden_sets_in
from rnn_edge.c99.generation import Generated, axes_of
from rnn_edge.contract import GraphContract, TensorSpec
from rnn_edge.errors import BundleError
from rnn_edge.verification.golden import read_golden_set
from rnn_edge.verification.golden_chunks import FOLDER


@dataclass
class Frames:
    """Step n takes ``inputs[k][n]`` of every input k and must give ``outputs[k][n]``.

    ``starts`` tells the steps that start a sequence. An answer for a whole chunk is known at its
    last step only: ``known[k][n]``.
    """

    starts: list[bool] = field(default_factory=list)
    inputs: list[np.ndarray] = field(default_factory=list)
    outputs: list[np.ndarray] = field(default_factory=list)
    known: list[list[bool]] = field(default_factory=list)
    #: The value of every state where a sequence starts, one after another.
    states: list[np.ndarray] = field(default_factory=list)


def golden_frames(bundle: Bundle, generated: Generated) -> Frames:
    """Raises BundleError where the bundle has no golden chunks."""
    contract = generated.contract
    calls = [read_golden_set(place, contract) for place in golden_sets_in(bundle.path / FOLDER)]
    if not calls:
        raise BundleError(f"{bundle.path} must hold golden chunks, it has none. Export again.")
    specs = [contract.input(tensor.name) for tensor in generated.inputs]
    answers = [contract.output(tensor.name) for tensor in generated.outputs]
    frames = Frames(known=[[] for _ in answers])
    inputs: list[list[np.ndarray]] = [[] for _ in specs]
    outputs: list[list[np.ndarray]] = [[] for _ in answers]
    for row in range(_rows(contract, calls[0][0])):
        for number, (given, expected) in enumerate(calls):
            steps = _steps(contract, given) // generated.frames
            for step in range(steps):
                frames.starts.append(number == 0 and step == 0)
                for place, spec in enumerate(specs):
                    inputs[place].append(_part(given[spec.name], spec, contract, row, step, steps))
                for place, spec in enumerate(answers):
                    array = expected[spec.name]
                    outputs[place].append(_part(array, spec, contract, row, step, steps))
                    has_time = axes_of(spec, contract)[1] is not None
                    frames.known[place].append(has_time or step == steps - 1)
    first, rows = calls[0][0], _rows(contract, calls[0][0])
    for state in generated.states:
        axis = next(p.batch_axis for p in contract.states if p.input == state.name)
        array = first[state.name]
        parts = [array if axis is None else np.take(array, [row], axis) for row in range(rows)]
        frames.states.append(np.stack(parts))
    frames.inputs = [np.stack(parts) for parts in inputs]
    frames.outputs = [np.stack(parts) for parts in outputs]
    return frames


def _rows(contract: GraphContract, inputs: dict[str, np.ndarray]) -> int:
    for spec in contract.inputs:
        axis = axes_of(spec, contract)[0]
        if axis is not None:
            return int(inputs[spec.name].shape[axis])
    return 1


def _steps(contract: GraphContract, inputs: dict[str, np.ndarray]) -> int:
    for spec in contract.inputs:
        axis = axes_of(spec, contract)[1]
        if axis is not None:
            return int(inputs[spec.name].shape[axis])
    raise BundleError(f"{contract.file} must have an input with an axis of time, it has none.")


def _part(
    array: np.ndarray, spec: TensorSpec, contract: GraphContract, row: int, step: int, steps: int
) -> np.ndarray:
    """One row's share of one step."""
    row_axis, time_axis = axes_of(spec, contract)
    if time_axis is not None:
        size = array.shape[time_axis] // steps
        array = np.take(array, range(step * size, (step + 1) * size), time_axis)
    return array if row_axis is None else np.take(array, [row], row_axis)
