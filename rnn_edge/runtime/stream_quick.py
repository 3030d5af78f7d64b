"""The shortest way through a push: a chunk like the one before, checked, run and answered.

A small model's step takes ONNX Runtime 5 us, and each function that Python calls a twentieth of
that: what StreamSession, StreamBatch and Plan do one after the other is written out here once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from rnn_edge.runtime.providers import runtime_errors
from rnn_edge.runtime.stream_form import values_surely_fit

if TYPE_CHECKING:
    from rnn_edge.runtime.stream_batch import StreamBatch
    from rnn_edge.runtime.stream_plan import Plan

#: (chunk, copy) -> the answers; None when the chunk must be looked at more closely.
QuickPush = Callable[[tuple[Any, ...], bool], list[np.ndarray] | None]


def quick_push(batch: StreamBatch, plan: Plan) -> QuickPush:
    """A function that pushes one more chunk of ``plan``, which ``batch`` has made.

    It stands aside, having changed nothing, for rows that start anew, for a chunk that is not
    surely right, and always where there is more to do: several inputs, another device, outputs
    that the runtime allocates.
    """
    if len(plan.chunk) != 1 or not plan.is_bound:
        return lambda chunk, copy: None
    spec, buffer = plan.chunk[0]
    target, shape, dtype = buffer.array, buffer.array.shape, buffer.array.dtype
    # Of float16 a sum of many would overflow.
    plain = dtype.kind == "f" and dtype.itemsize > 2
    unbounded = plain and spec.minimum is None and spec.maximum is None
    flat = target.reshape(-1)
    scaled_sum, scales = flat.dot, small_numbers(target) if unbounded else flat
    # A sum that is written into an array takes half as long as a new number.
    total = np.empty((), dtype)
    fits = partial(values_surely_fit, spec, target)
    arrays, copies = plan.arrays, plan.copies
    first = copies[0] if len(copies) == 1 else None
    there, back = plan.runs
    array_type, finite = np.ndarray, math.isfinite

    def push(chunk: tuple[Any, ...], copy: bool) -> list[np.ndarray] | None:
        if len(chunk) != 1 or batch.some_fresh:
            return None
        array = chunk[0]
        if type(array) is not array_type or array.shape != shape or array.dtype is not dtype:
            return None
        target[...] = array
        if not (finite(scaled_sum(scales, total)) if unbounded else fits()):
            return None
        try:
            if batch.way:
                back()
                batch.way = 0
            else:
                there()
                batch.way = 1
        except runtime_errors() as error:
            raise plan.refusal(error) from None
        if not copy:
            return arrays.copy()
        return [first()] if first is not None else [copied() for copied in copies]

    return push


def small_numbers(array: np.ndarray) -> np.ndarray:
    """For each of ``array`` a number so small that no sum of products of finite ones overflows."""
    return np.full(array.size, 2.0 ** -(np.finfo(array.dtype).maxexp // 2), array.dtype)
