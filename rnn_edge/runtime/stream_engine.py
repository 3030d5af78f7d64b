"""What runs the rows of a stream: ONNX Runtime, or C that was written for the graph."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from rnn_edge.bundle import Bundle
from rnn_edge.errors import IntegrationError, ProviderError
from rnn_edge.runtime.native_batch import NativeBatch
from rnn_edge.runtime.native_check import check_library
from rnn_edge.runtime.stream_batch import StreamBatch
from rnn_edge.runtime.stream_graph import StreamGraph

ENGINES = ("onnxruntime", "c", "c-int8")

Rows = StreamBatch | NativeBatch
#: So many rows, with this context.
MakeRows = Callable[[int, Mapping[str, np.ndarray]], Rows]


def choose_engine(engine: str | None, source: Bundle | str | Path, graph: StreamGraph) -> MakeRows:
    """A function that makes so many rows with this context.

    None takes what was tuned on this machine, and warns where that has gone. Raises ProviderError
    for an engine that is not known, has no compiler, or is wrong.
    """
    if engine is None:
        tuned = graph.tuned_engine
        if tuned in (None, ENGINES[0]):
            return partial(StreamBatch, graph)
        try:
            return choose_engine(tuned, source, graph)
        except (IntegrationError, ProviderError) as error:
            warnings.warn(f"engine {tuned!r}, tuned here, is left out: {error}", stacklevel=3)
            return partial(StreamBatch, graph)
    if engine not in ENGINES:
        raise ProviderError(
            f"engine must be one of {', '.join(ENGINES)}, got {engine!r}. Correct it."
        )
    if engine == ENGINES[0]:
        return partial(StreamBatch, graph)
    if graph.device != "cpu":
        raise ProviderError(
            f"provider must be cpu with the engine {engine!r}, got {graph.device}. "
            "Leave one of them out."
        )
    from rnn_edge.c99.library import open_library

    if not isinstance(source, Bundle):
        source = Bundle.load(source) if Path(source).is_dir() else Path(source)
    int8 = engine == "c-int8"
    check = partial(check_library, graph=graph, int8=int8)
    return partial(NativeBatch, open_library(source, check, int8=int8), graph.form)
