"""The shortest way through a pool: the same streams as in the call before, all that share a batch.

Sixteen rows of a small model take ONNX Runtime less than what a pool does for each of them alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rnn_edge.runtime.providers import runtime_errors
from rnn_edge.runtime.stream_batch import StreamBatch
from rnn_edge.runtime.stream_form import StreamForm, values_surely_fit
from rnn_edge.runtime.stream_plan import Plan

#: Chunks by stream -> the answers by stream; None when they must be looked at more closely.
QuickPool = Callable[[Mapping[int, Any]], dict[int, list[np.ndarray]] | None]


def quick_pool(
    form: StreamForm, batch: StreamBatch, plan: Plan, streams: Sequence[int], places: Sequence[int]
) -> QuickPool | None:
    """A function that runs one more chunk of each of ``streams``, which are all rows of ``batch``.

    ``places`` are their rows. None where there is more to do: several inputs, rows that must be in
    step, another device, outputs that the runtime allocates.
    """
    axes = [form.row_axis(spec) for spec in form.outputs]
    if len(plan.chunk) != 1 or not plan.is_bound or form.in_step or form.shared_chunk:
        return None
    if any(axis is None for axis in axes):
        return None
    spec, buffer = plan.chunk[0]
    target, dtype = buffer.array, buffer.array.dtype
    axis = form.row_axis(spec)
    assert axis is not None
    shape = tuple(1 if place == axis else size for place, size in enumerate(target.shape))
    order, rows = list(streams), list(places)
    by_row = None if rows == sorted(rows) else [int(place) for place in np.argsort(rows)]
    cuts = [
        [(slice(None),) * (place or 0) + (slice(row, row + 1),) for place in axes] for row in rows
    ]
    array_type, runs, copies = np.ndarray, plan.runs, plan.copies

    def push(chunks: Mapping[int, Any]) -> dict[int, list[np.ndarray]] | None:
        if batch.some_fresh or list(chunks) != order:
            return None
        arrays = list(chunks.values())
        for array in arrays:
            if type(array) is not array_type or array.shape != shape or array.dtype is not dtype:
                return None
        if by_row is not None:
            arrays = [arrays[place] for place in by_row]
        np.concatenate(arrays, axis, out=target)
        if not values_surely_fit(spec, target):
            return None
        way = batch.way
        try:
            runs[way]()
        except runtime_errors():
            # Whose chunk it was is found by running them one by one.
            return None
        batch.way = 1 - way
        answers = [copied() for copied in copies]
        if len(answers) == 1:
            only = answers[0]
            return {number: [only[cut[0]]] for number, cut in zip(order, cuts, strict=True)}
        return {
            number: [array[place] for array, place in zip(answers, cut, strict=True)]
            for number, cut in zip(order, cuts, strict=True)
        }

    return push
