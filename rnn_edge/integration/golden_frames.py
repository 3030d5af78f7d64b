"""The golden chunks of a bundle, cut into the steps of one row after another."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from rnn_edge.bundle import Bundle, golden_sets_in
from rnn_edge.c99.generation import Generated, Tensor, axes_of, rate_axis
from rnn_edge.contract import GraphContract, TensorSpec
from rnn_edge.errors import BundleError
from rnn_edge.verification.golden import read_golden_set
from rnn_edge.verification.golden_chunks import FOLDER

_Call = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]


@dataclass
class Frames:
    """Step n takes ``inputs[k][n]`` of every input k and must give ``outputs[k][n]``.

    ``starts`` tells the steps that start a sequence. An answer for a whole chunk is known at its
    last step only; ``sizes[k][n]`` elements of ``outputs[k][n]`` are known.
    """

    starts: list[bool] = field(default_factory=list)
    inputs: list[np.ndarray] = field(default_factory=list)
    outputs: list[np.ndarray] = field(default_factory=list)
    sizes: list[list[int]] = field(default_factory=list)
    #: The value of every state where a sequence starts, one after another.
    states: list[np.ndarray] = field(default_factory=list)


def golden_frames(bundle: Bundle, generated: Generated) -> Frames:
    """Raises BundleError where the bundle has no golden chunks."""
    contract = generated.contract
    calls = [read_golden_set(place, contract) for place in golden_sets_in(bundle.path / FOLDER)]
    if not calls:
        raise BundleError(f"{bundle.path} must hold golden chunks, it has none. Export again.")
    given = [inputs for inputs, _ in calls]
    count = sum(_frames(contract, each) for each in given) // generated.frames
    frames = Frames(sizes=[[] for _ in generated.outputs])
    inputs: list[list[np.ndarray]] = [[] for _ in generated.inputs]
    outputs: list[list[np.ndarray]] = [[] for _ in generated.outputs]
    for row in range(_rows(contract, given[0])):
        frames.starts += [step == 0 for step in range(count)]
        for place, tensor in enumerate(generated.inputs):
            spec = contract.input(tensor.name)
            whole = _row(_joined(given, spec, contract), spec, contract, row)
            inputs[place] += _cut(whole, axes_of(spec, contract)[1], [generated.frames] * count)
        for place, tensor in enumerate(generated.outputs):
            answers = _answers(generated, tensor, calls, row, count)
            outputs[place] += [_filled(answer, tensor) for answer in answers]
            frames.sizes[place] += [0 if answer is None else answer.size for answer in answers]
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


def _frames(contract: GraphContract, inputs: dict[str, np.ndarray]) -> int:
    for spec in contract.inputs:
        axis = axes_of(spec, contract)[1]
        if axis is not None:
            return int(inputs[spec.name].shape[axis])
    raise BundleError(f"{contract.file} must have an input with an axis of time, it has none.")


def _joined(
    calls: Sequence[dict[str, np.ndarray]], spec: TensorSpec, contract: GraphContract
) -> np.ndarray:
    """A tensor over all calls; the first call's where it has no axis of time."""
    axis = rate_axis(spec, contract)
    arrays = [call[spec.name] for call in calls]
    return arrays[0] if axis is None else np.concatenate(arrays, axis)


def _row(array: np.ndarray, spec: TensorSpec, contract: GraphContract, row: int) -> np.ndarray:
    axis = axes_of(spec, contract)[0]
    return array if axis is None else np.take(array, [row], axis)


def _cut(array: np.ndarray, axis: int | None, sizes: Sequence[int]) -> list[np.ndarray]:
    """Parts of ``sizes`` frames one after another; the same for all where there is no time."""
    if axis is None:
        return [array for _ in sizes]
    ends = np.cumsum([0, *sizes]).tolist()
    return [np.take(array, range(*span), axis) for span in itertools.pairwise(ends)]


def _answers(
    generated: Generated, tensor: Tensor, calls: Sequence[_Call], row: int, count: int
) -> list[np.ndarray | None]:
    """What a row's steps must give; None where that is not known."""
    contract, frames = generated.contract, generated.frames
    spec = contract.output(tensor.name)
    axis = rate_axis(spec, contract)
    if axis is not None:
        whole = _row(_joined([given for _, given in calls], spec, contract), spec, contract, row)
        first = generated.starts.get(tensor.name, ())
        return [*_cut(whole, axis, [*first, *[tensor.shape[axis]] * count][:count])]
    ends = np.cumsum([_frames(contract, given) for given, _ in calls]).tolist()
    after = {
        end: _row(expected[spec.name], spec, contract, row)
        for end, (_, expected) in zip(ends, calls, strict=True)
    }
    return [after.get((step + 1) * frames) for step in range(count)]


def _filled(array: np.ndarray | None, tensor: Tensor) -> np.ndarray:
    """The elements in a row of the tensor's size, zeros behind them."""
    found = np.zeros(tensor.size, tensor.dtype)
    if array is not None:
        found[: array.size] = array.reshape(-1)
    return found
