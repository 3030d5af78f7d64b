"""The shortest way through a pool: the same streams as in the call before, all that share a batch.

Sixteen rows of a small model take ONNX Runtime less than what a pool does for each of them alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rnn_edge.errors import InputError
from rnn_edge.runtime.stream_form import StreamForm

#: Chunks by stream -> the answers by stream; None when they must be looked at more closely.
QuickPool = Callable[[Mapping[int, Any]], dict[int, list[np.ndarray]] | None]


def quick_pool(
    form: StreamForm, plan: Any, streams: Sequence[int], places: Sequence[int]
) -> QuickPool | None:
    """A function that runs one more chunk of each of ``streams``, all rows that ``plan`` runs.

    ``places`` are their rows; ``plan`` is one of either engine. None where there is more to do:
    several inputs, rows that must be in step, inputs or outputs that all rows share.
    """
    axes = [form.row_axis(spec) for spec in form.outputs]
    if len(form.chunk) != 1 or form.in_step or any(axis is None for axis in axes):
        return None
    (spec,) = form.chunk
    axis = form.row_axis(spec)
    if axis is None:
        return None
    joined = np.empty(plan.shapes[0], spec.dtype)
    shape = tuple(1 if place == axis else size for place, size in enumerate(joined.shape))
    order, rows = list(streams), list(places)
    by_row = None if rows == sorted(rows) else [int(place) for place in np.argsort(rows)]
    cuts = [
        [(slice(None),) * (place or 0) + (slice(row, row + 1),) for place in axes] for row in rows
    ]
    array_type, dtype, quick = np.ndarray, joined.dtype, plan.quick

    def push(chunks: Mapping[int, Any]) -> dict[int, list[np.ndarray]] | None:
        if list(chunks) != order:
            return None
        arrays = list(chunks.values())
        for array in arrays:
            if type(array) is not array_type or array.shape != shape or array.dtype is not dtype:
                return None
        if by_row is not None:
            arrays = [arrays[place] for place in by_row]
        np.concatenate(arrays, axis, out=joined)
        try:
            answers = quick((joined,), True)
        except InputError:
            # Whose chunk it was is found by running them one by one.
            return None
        if answers is None:
            return None
        if len(answers) == 1:
            only = answers[0]
            return {number: [only[cut[0]]] for number, cut in zip(order, cuts, strict=True)}
        return {
            number: [array[place] for array, place in zip(answers, cut, strict=True)]
            for number, cut in zip(order, cuts, strict=True)
        }

    return push
