"""What a recurrent node holds: weights, biases and initial states, where they are plain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_USUAL = {
    "RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"],
}  # fmt: skip
#: So many bodies deep ONNX Runtime still packs weights that stand in the main graph; deeper, its
#: int8 products take many times as long as float32.
DEEPEST = 1
_BIAS, LENGTHS, STATE, CELL, _PEEPHOLES = 3, 4, 5, 6, 7


@dataclass(frozen=True)
class LayerWeights:
    """One direction: float32 ``input`` [gates, features] and ``recurrent`` [gates, hidden], and
    their biases. Gates in ONNX's order.

    ``row`` [1, gates], computed at run time, is added to the input's product; ``input`` is None
    where there is nothing but the row.
    """

    kind: str
    hidden: int
    input: np.ndarray | None
    recurrent: np.ndarray
    input_bias: np.ndarray
    recurrent_bias: np.ndarray
    row: ir.Value | None
    resets_behind: bool

    @property
    def count(self) -> int:
        return self.recurrent.size + (0 if self.input is None else self.input.size)


def read_layer(node: ir.Node) -> list[LayerWeights]:
    """The directions of ``node``; none where it is not a plain layer with constant weights."""
    if node.domain != "" or node.op_type not in GATES or not _is_plain(node):
        return []
    weights, recurrent = _array(node, 1), _array(node, 2)
    if weights is None or recurrent is None or weights.dtype != np.float32:
        return []
    bias, row = _read_bias(node, weights.shape[1])
    if bias is None:
        return []
    behind = node.attributes.get("linear_before_reset")
    found = []
    for own, other, added in zip(weights, recurrent, bias, strict=True):
        input_bias, recurrent_bias = np.split(added, 2)
        found.append(
            LayerWeights(
                node.op_type, recurrent.shape[2], own if own.any() else None, other,
                input_bias, recurrent_bias, row, behind is not None and bool(behind.as_int()),
            )
        )  # fmt: skip
    return found


def _is_plain(node: ir.Node) -> bool:
    attributes = node.attributes
    if "clip" in attributes or node_input(node, _PEEPHOLES) is not None:
        return False
    if any(name in attributes and attributes[name].as_int() for name in ("layout", "input_forget")):
        return False
    functions = attributes.get("activations")
    usual = _USUAL[node.op_type]
    return functions is None or all(
        str(name) == usual[place % len(usual)] for place, name in enumerate(functions.as_strings())
    )


def _read_bias(node: ir.Node, gates: int) -> tuple[np.ndarray | None, ir.Value | None]:
    """Both biases by direction, and what is added to them at run time; None where it is not known.

    Computed is a bias that joins a row of the input's with constants of the recurrent one's.
    """
    given = node_input(node, _BIAS)
    if given is None:
        directions = _array(node, 1)
        assert directions is not None
        return np.zeros((len(directions), 2 * gates), np.float32), None
    constant = _array(node, _BIAS)
    if constant is not None:
        return constant, None
    joined = given.producer()
    if joined is None or joined.op_type != "Concat" or len(joined.inputs) != 2:
        return None, None
    row, rest = joined.inputs
    tensor = None if rest is None else ir.convenience.get_const_tensor(rest)
    if tensor is None or tensor.numpy().shape != (1, gates):
        return None, None
    return np.concatenate([np.zeros((1, gates), np.float32), tensor.numpy()], 1), row


def graphs_in(graph: ir.Graph, depth: int = 0) -> Iterator[tuple[ir.Graph, int]]:
    """``graph`` and all bodies in it, with how many bodies deep each is."""
    yield graph, depth
    for node in graph:
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                yield from graphs_in(attribute.as_graph(), depth + 1)


def node_input(node: ir.Node, place: int) -> ir.Value | None:
    return node.inputs[place] if len(node.inputs) > place else None


def _array(node: ir.Node, place: int) -> np.ndarray | None:
    value = node_input(node, place)
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()
