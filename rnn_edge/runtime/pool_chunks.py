"""A stream of a pool, and the check of what is pushed to it."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rnn_edge.runtime.stream_block import Row
from rnn_edge.runtime.stream_form import values_surely_fit
from rnn_edge.runtime.stream_graph import StreamGraph

# Chunks from which on they are looked at in one piece.
FEWEST_ALIKE = 3
# Shapes of chunks whose next check is a short one.
_MOST_FITTING = 1024

Chunk = tuple[list[np.ndarray], bool]


@dataclass(eq=False)
class Stream:
    """A row, the block it is in or comes to, its chunks that wait, and a reset that waits."""

    row: Row
    kind: Hashable
    sizes: dict[str, int]
    queue: deque[Chunk] = field(default_factory=deque)
    start: bool = False


class ChunkChecks:
    """Checks chunks against the contract; those alike to one that was right, in short."""

    def __init__(self, graph: StreamGraph) -> None:
        self._graph = graph
        self._form = graph.form
        # Dtypes of chunks that were found right, by kind of stream and shapes.
        self._fitting: dict[Hashable, list[np.dtype]] = {}

    def check(self, stream: Stream, chunk: tuple[Any, ...], copy: bool = True) -> list[np.ndarray]:
        """The arrays of ``chunk`` in the contract's order. Raises InputError where one is wrong."""
        specs = self._form.chunk
        if len(chunk) == len(specs) and all(type(array) is np.ndarray for array in chunk):
            key = (stream.kind, *(array.shape for array in chunk))
            dtypes = self._fitting.get(key)
            if dtypes is not None and all(a.dtype is d for a, d in zip(chunk, dtypes, strict=True)):
                # Copied first: another thread may write into an array that is given.
                arrays = [array.copy() for array in chunk] if copy else list(chunk)
                if all(map(values_surely_fit, specs, arrays)):
                    return arrays
        given = chunk[0] if len(chunk) == 1 and isinstance(chunk[0], Mapping) else chunk
        arrays = self._form.checked_chunk(given, stream.sizes, self._graph.shortest(1))
        if len(self._fitting) == _MOST_FITTING:
            self._fitting.clear()
        self._fitting[stream.kind, *(array.shape for array in arrays)] = [a.dtype for a in arrays]
        return [array.copy() for array in arrays] if copy else arrays

    def check_alike(
        self, streams: Mapping[int, Stream], chunks: Mapping[int, Any]
    ) -> dict[int, list[np.ndarray]] | None:
        """The chunks where all are alike and surely fit, looked at in one piece; else None."""
        if len(self._form.chunk) != 1 or len(chunks) < FEWEST_ALIKE:
            return None
        (spec,) = self._form.chunk
        found: dict[int, list[np.ndarray]] = {}
        arrays, alike = [], None
        for number, chunk in chunks.items():
            array = chunk[0] if type(chunk) is tuple and len(chunk) == 1 else chunk
            stream = streams.get(number)
            if stream is None or type(array) is not np.ndarray:
                return None
            own = stream.kind, array.shape, array.dtype
            if alike is None:
                alike = own
            elif own != alike:
                return None
            arrays.append(array)
            found[number] = [array]
        assert alike is not None
        kind, shape, dtype = alike
        if self._fitting.get((kind, shape)) != [dtype]:
            return None
        joined = np.concatenate(arrays, self._form.row_axis(spec) or 0)
        return found if values_surely_fit(spec, joined) else None
