"""The bytes of weights that a call must read, and how long this core takes to read them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np

from rnn_edge.extras import import_extra

# Where each recurrent node has its weights: those of the inputs, those of the state.
_RECURRENT = ("RNN", "GRU", "LSTM")
_LOOPS = ("Scan", "Loop")
_TURNS = 30
_SHORTEST_NS = 200_000


@dataclass(frozen=True)
class ByteLimit:
    """Weights that a call reads: ``once_bytes`` whatever its length, ``step_bytes`` each step.

    All rows of a batch share them. A step of a sequence needs the state of the step before, so
    that what multiplies it is read again, from memory or from a cache.
    """

    step_bytes: int
    once_bytes: int

    def microseconds(self, steps: int) -> float:
        """Time to read them for ``steps`` steps, as measured on this core now."""
        both = self.step_bytes + self.once_bytes
        if steps == 1:
            return reading_us(both)
        return steps * reading_us(self.step_bytes) + reading_us(self.once_bytes)


def weigh(path: Path) -> ByteLimit:
    """Of the graph in a file; tables that rows are looked up in count as nothing.

    Needs the onnx package.
    """
    graph = import_extra("onnx").load(path).graph
    sizes = {tensor.name: _bytes(tensor) for tensor in graph.initializer}
    each: set[str] = set()
    tables = {node.input[0] for node in graph.node if node.op_type == "Gather"}
    inner = 0
    for node in graph.node:
        if node.op_type in _RECURRENT:
            each.add(node.input[2])
        elif node.op_type in _LOOPS:
            body = next(a.g for a in node.attribute if a.name == "body")
            each |= {name for name in _names(body) if name in sizes}
            inner += sum(_bytes(tensor) for tensor in body.initializer)
    step = inner + sum(sizes[name] for name in each if name in sizes)
    once = sum(size for name, size in sizes.items() if name not in each | tables)
    return ByteLimit(step, once)


def reading_us(count: int) -> float:
    """Microseconds in which one core reads ``count`` bytes again and again; the best of many."""
    if count < 4:
        return 0.0
    numbers = np.ones(math.ceil(count / 4), np.float32)
    return max(0.0, _best_us(numbers) - _best_us(numbers[:1]))


def _best_us(numbers: np.ndarray) -> float:
    """A product of an array with itself reads it once."""
    dot = numbers.dot
    dot(numbers)
    best = math.inf
    for _ in range(_TURNS):
        calls, start = 0, perf_counter_ns()
        while calls == 0 or perf_counter_ns() - start < _SHORTEST_NS:
            for _ in range(8):
                dot(numbers)
            calls += 8
        best = min(best, (perf_counter_ns() - start) / calls)
    return best / 1e3


def _bytes(tensor: Any) -> int:
    helper = import_extra("onnx.helper")
    itemsize = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
    return itemsize * math.prod(tensor.dims)


def _names(graph: Any) -> Iterator[str]:
    """What the nodes of a body take."""
    for node in graph.node:
        yield from node.input
