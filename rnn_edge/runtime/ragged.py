"""Batches of sequences of different lengths: a few runs of alike ones in place of one run of all.

ONNX Runtime's ``sequence_lens`` leaves out the activations of padding and nothing else: its matrix
products run over every row to the longest length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnn_edge.contract import AxisLimits, GraphContract, TensorSpec

Arrays = dict[str, np.ndarray]
#: Runs the graph once: inputs by name -> outputs in the contract's order.
Call = Callable[[Arrays], list[np.ndarray]]

MOST_RUNS = 8
# A step of a run costs as much as this part of a row more: what is done once for all of them.
ROWS_A_STEP = 0.4
# A run costs as much as these row steps of a small model: its inputs are gathered, its answers put
# back. Of larger models fewer, where a run more than needed costs little.
STEPS_A_RUN = 20.0
# Less than this share saved is not worth a second run.
LEAST_SAVED = 0.15


@dataclass(frozen=True)
class RaggedBatches:
    """How a graph whose contract is ``ragged`` is run on rows of different lengths.

    ``inputs`` and ``outputs`` have, by place, where rows and time lie in each tensor.
    """

    contract: GraphContract
    lengths: str
    inputs: Mapping[str, tuple[int | None, int | None]]
    outputs: tuple[tuple[int, int | None, bool], ...]
    shortest: int

    @classmethod
    def of(cls, contract: GraphContract) -> RaggedBatches | None:
        """None where the contract does not say that rows may be run cut to their lengths."""
        named = [spec for spec in contract.inputs if spec.lengths_of is not None]
        if not contract.ragged or len(named) != 1 or len(named[0].dims) != 1:
            return None
        rows, time = named[0].dims[0], str(named[0].lengths_of)
        if not isinstance(rows, str) or contract.axes.get(rows, AxisLimits()).minimum > 1:
            return None
        outputs = tuple(_places_of_output(spec, rows, time) for spec in contract.outputs)
        found = tuple(places for places in outputs if places is not None)
        if len(found) < len(outputs):
            return None
        inputs = {spec.name: (_place(spec, rows), _place(spec, time)) for spec in contract.inputs}
        shortest = max(contract.axes.get(time, AxisLimits()).minimum, 1)
        return cls(contract, named[0].name, inputs, found, shortest)

    def run(self, feed: Arrays, call: Call) -> list[np.ndarray] | None:
        """What ``call(feed)`` gives, by several calls; None where one call is as well."""
        lengths = feed[self.lengths]
        steps = next(feed[name].shape[t] for name, (_, t) in self.inputs.items() if t is not None)
        if len(lengths) < 2 or lengths.sum() > (1 - LEAST_SAVED) * len(lengths) * steps:
            return None
        parts = split(lengths, self.shortest)
        if cost(lengths, parts, self.shortest) > (1 - LEAST_SAVED) * _cost_of_one(lengths, steps):
            return None
        return self.run_parts(feed, parts, call)

    def run_parts(
        self, feed: Arrays, parts: Sequence[np.ndarray], call: Call
    ) -> list[np.ndarray] | None:
        """The same for these parts: places of rows. None where padding shows and is not known."""
        lengths = feed[self.lengths]
        answers = []
        for rows in parts:
            size = max(int(lengths[rows].max()), self.shortest)
            answers.append(call(self._part(feed, rows, size)))
        steps = next(feed[name].shape[t] for name, (_, t) in self.inputs.items() if t is not None)
        joined = []
        for place, (row_axis, time_axis, trimmed) in enumerate(self.outputs):
            arrays = [answer[place] for answer in answers]
            if time_axis is None:
                shape = list(arrays[0].shape)
                shape[row_axis] = len(lengths)
                whole = np.empty(shape, arrays[0].dtype)
            else:
                size = max(a.shape[time_axis] for a in arrays) if trimmed else steps
                padding = _padding(arrays, parts, lengths, row_axis, time_axis)
                if padding is None and any(a.shape[time_axis] < size for a in arrays):
                    return None
                whole = _filled(arrays[0], row_axis, time_axis, (len(lengths), size), padding)
            for rows, array in zip(parts, arrays, strict=True):
                index: list[slice | np.ndarray] = [slice(None)] * whole.ndim
                index[row_axis] = rows
                if time_axis is not None:
                    index[time_axis] = slice(array.shape[time_axis])
                whole[tuple(index)] = array
            joined.append(whole)
        return joined

    def _part(self, feed: Arrays, rows: np.ndarray, size: int) -> Arrays:
        part = {}
        for name, (row_axis, time_axis) in self.inputs.items():
            array = feed[name]
            index: list[slice | np.ndarray] = [slice(None)] * array.ndim
            if row_axis is not None:
                index[row_axis] = rows
            if time_axis is not None:
                index[time_axis] = slice(size)
            part[name] = np.ascontiguousarray(array[tuple(index)])
        return part


def split(lengths: np.ndarray, shortest: int = 1) -> list[np.ndarray]:
    """Places of rows, those of alike lengths together, in the way that costs least."""
    order = np.argsort(-lengths, kind="stable")
    sizes = np.maximum(lengths[order], shortest).astype(np.float64)
    # Rows may part where the length changes; few enough places to look at every pair of them.
    starts = np.flatnonzero(np.diff(sizes, prepend=np.inf))
    if len(starts) > 64:
        starts = starts[np.linspace(0, len(starts) - 1, 64).astype(int)]
    cuts = _cheapest_cuts(sizes[starts], np.append(starts, len(sizes)))
    parts = np.split(order, cuts)
    while len(parts) > MOST_RUNS:
        parts = _merge(parts, lengths, shortest)
    return parts


def _cheapest_cuts(steps: np.ndarray, places: np.ndarray) -> list[int]:
    """Where runs part, of rows sorted by length: ``steps`` of those from each of ``places`` on.

    The last of ``places`` is the number of rows.
    """
    # What a run from each place to each later one costs: rows in between, of the longest's steps.
    costs = _run_cost(steps[:, None], places[1:] - places[:-1, None])
    # By place: what all before it cost at least, and where the last run of those begins.
    least, begins = np.zeros(len(places)), [0]
    for end in range(1, len(places)):
        sums = least[:end] + costs[:end, end - 1]
        begins.append(int(sums.argmin()))
        least[end] = sums[begins[-1]]
    cuts, end = [], len(places) - 1
    while begins[end] > 0:
        end = begins[end]
        cuts.append(int(places[end]))
    return cuts[::-1]


def cost(lengths: np.ndarray, parts: Sequence[np.ndarray], shortest: int) -> float:
    """Of these runs, in steps of a row."""
    sizes = (max(float(lengths[rows].max()), shortest) for rows in parts)
    return sum(_run_cost(size, len(rows)) for size, rows in zip(sizes, parts, strict=True))


def _cost_of_one(lengths: np.ndarray, steps: int) -> float:
    return _run_cost(steps, len(lengths))


def _run_cost(steps: Any, rows: Any) -> Any:
    return steps * (rows + ROWS_A_STEP) + STEPS_A_RUN


def _merge(parts: Sequence[np.ndarray], lengths: np.ndarray, shortest: int) -> list[np.ndarray]:
    """Join the two neighbours whose union costs least."""
    joined = [
        [*parts[:place], np.concatenate(parts[place : place + 2]), *parts[place + 2 :]]
        for place in range(len(parts) - 1)
    ]
    return min(joined, key=lambda found: cost(lengths, found, shortest))


def _places_of_output(
    spec: TensorSpec, rows: str, time: str
) -> tuple[int, int | None, bool] | None:
    """Where rows and time lie, and whether time is trimmed to the longest; None where unclear."""
    if spec.dtype == "string" or spec.dims.count(rows) != 1:
        return None
    others = [n for n, dim in enumerate(spec.dims) if isinstance(dim, str) and dim != rows]
    if len(others) > 1:
        return None
    place = others[0] if others else None
    return spec.dims.index(rows), place, place is not None and spec.dims[place] != time


def _place(spec: TensorSpec, axis: str) -> int | None:
    return spec.dims.index(axis) if axis in spec.dims else None


def _padding(
    arrays: Sequence[np.ndarray],
    parts: Sequence[np.ndarray],
    lengths: np.ndarray,
    row_axis: int,
    time_axis: int,
) -> np.ndarray | None:
    """The frame that an output holds beyond a row's length, which is the same everywhere."""
    for rows, array in zip(parts, arrays, strict=True):
        short = np.flatnonzero(lengths[rows] < array.shape[time_axis])
        if short.size:
            place: list[slice | int] = [slice(None)] * array.ndim
            place[row_axis], place[time_axis] = int(short[-1]), -1
            return array[tuple(place)]
    return None


def _filled(
    like: np.ndarray,
    row_axis: int,
    time_axis: int,
    sizes: tuple[int, int],
    padding: np.ndarray | None,
) -> np.ndarray:
    shape = list(like.shape)
    shape[row_axis], shape[time_axis] = sizes
    if padding is not None and not padding.any():
        # Pages that nothing is written to are never touched.
        return np.zeros(shape, like.dtype)
    whole = np.empty(shape, like.dtype)
    if padding is not None:
        np.moveaxis(whole, (row_axis, time_axis), (0, 1))[...] = padding
    return whole
