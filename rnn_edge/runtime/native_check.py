"""Hold a library that was just built against ONNX Runtime on the same graph."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rnn_edge.c99.library import Library
from rnn_edge.contract import TensorSpec
from rnn_edge.errors import ProviderError
from rnn_edge.runtime.native_batch import NativeBatch
from rnn_edge.runtime.stream_batch import StreamBatch
from rnn_edge.runtime.stream_graph import StreamGraph

# The largest error, relative to the largest value and to 1. What int8 weights lose is the model's
# own; the limit only tells a broken build from a coarse one.
TOLERANCE = 1e-4
INT8_TOLERANCE = 0.1
# Steps of the chunks in turn, and the chunk before which a row starts anew.
_CHUNKS = (1, 1, 3, 1, 4)
_RESET_BEFORE = 3
_UNKNOWN_SIZE = 3


def check_library(library: Library, graph: StreamGraph, *, int8: bool = False) -> None:
    """Raise ProviderError unless both give the same answers and states on random chunks."""
    form, random = graph.form, np.random.default_rng(0)
    rows = 2 if isinstance(form.batch, str) else (form.batch or 1)
    sizes = {form.batch: rows} if isinstance(form.batch, str) else {}
    context = {spec.name: _draw(spec, sizes, random) for spec in form.context}
    reference = StreamBatch(graph, rows, context)
    native = NativeBatch(library, form, rows, context)
    limit = INT8_TOLERANCE if int8 else TOLERANCE
    for number, steps in enumerate(_CHUNKS):
        if number == _RESET_BEFORE:
            again = range(rows) if form.in_step else [rows - 1]
            reference.start(again)
            native.start(again)
        known = {**sizes, form.rule.axis: steps * library.frames}
        chunk = [_draw(spec, known, random) for spec in form.chunk]
        found = []
        for batch in (reference, native):
            plan = batch.plan(tuple(array.shape for array in chunk))
            plan.put(chunk)
            answers = batch.run(plan)  # type: ignore[arg-type]
            found.append([*answers, *(batch.states()[p.input].copy() for p in form.states)])
        names = [*(s.name for s in form.outputs), *(pair.output for pair in form.states)]
        for name, expected, got in zip(names, *found, strict=True):
            _require_equal(graph, name, expected, got, limit)


def _require_equal(
    graph: StreamGraph, name: str, expected: np.ndarray, found: np.ndarray, limit: float
) -> None:
    if expected.shape == found.shape:
        if expected.dtype.kind != "f":
            error = float((expected != found).any())
        else:
            scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
            error = float(np.abs(expected - found).max(initial=0.0)) / scale
        if error <= limit:
            return
        what = f"an error of {error:.2g}"
    else:
        what = f"the shape {list(found.shape)} in the place of {list(expected.shape)}"
    raise ProviderError(
        f"C code of {graph.form.contract.file} must give ONNX Runtime's {name!r}, it gives {what}. "
        "Use the engine 'onnxruntime'."
    )


def _draw(spec: TensorSpec, sizes: Mapping[str, int], random: np.random.Generator) -> np.ndarray:
    """Random values that the contract allows."""
    shape = [sizes.get(dim, _UNKNOWN_SIZE) if isinstance(dim, str) else dim for dim in spec.dims]
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        low = -np.inf if spec.minimum is None else spec.minimum
        high = np.inf if spec.maximum is None else spec.maximum
        return np.clip(random.standard_normal(shape), low, high).astype(dtype)
    if dtype.kind == "b":
        return random.random(shape) < 0.5
    least = int(spec.minimum if spec.minimum is not None else 0)
    most = int(spec.maximum if spec.maximum is not None else least + 1)
    return random.integers(least, most, shape, endpoint=True).astype(dtype)
