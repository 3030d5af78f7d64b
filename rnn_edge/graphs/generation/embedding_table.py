"""A layer that reads one embedding a step: both products of it become rows of one table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from rnn_edge.graphs.streaming.stream import Stream

_RECURRENT = ("RNN", "GRU", "LSTM")
# What leaves the elements of one embedding in their order: all axes but one have size 1.
_VIEWS = ("Reshape", "Transpose", "Unsqueeze", "Squeeze", "Identity", "Flatten")


def fold_embeddings(step: Stream, tokens: str) -> Stream:
    """``step`` for one row, its first layers fed by a table of ``W x embedding + bias``.

    ONNX's layers have no place for a product that is there already, but a bias for each gate may
    be computed: the row of the table takes its place, and the layer reads a single 0. That holds
    where all rows have one bias, so for one row. A table that is larger than all weights of the
    graph is not made. Where nothing else reads the ids they are int64[1] afterwards.
    """
    model = step.model.clone()
    graph = model.graph
    ids = next(value for value in graph.inputs if value.name == tokens)
    tensors = (value.const_value for value in graph.initializers.values())
    room = sum(tensor.nbytes for tensor in tensors if tensor is not None)
    flat = ir.node("Reshape", [ids, _constant(graph, np.array([-1]), "one_id")])
    graph.insert_before(graph[0], flat)
    for node in list(graph):
        if node.op_type in _RECURRENT and node.domain == "":
            _fold(graph, node, (ids, flat.outputs[0]), room)
    common.RemoveUnusedNodesPass()(model)
    if [reader for reader, _ in ids.uses()] != [flat]:
        return Stream(model, step.contract)
    flat.outputs[0].replace_all_uses_with(ids)
    graph.remove(flat, safe=True)
    ids.shape = ir.Shape([1])
    inputs = [replace(s, dims=(1,)) if s.name == tokens else s for s in step.contract.inputs]
    return Stream(model, replace(step.contract, inputs=tuple(inputs)))


def _fold(graph: ir.Graph, node: ir.Node, ids: tuple[ir.Value, ir.Value], room: int) -> None:
    """``ids`` as the graph takes them, and without axes."""
    embedding = _embedding_behind(node.inputs[0], ids[0])
    weights, bias = _array(node.inputs[1]), _array(node.inputs[3] if len(node.inputs) > 3 else None)
    if embedding is None or weights is None or len(weights) != 1:
        return
    if bias is None and len(node.inputs) > 3 and node.inputs[3] is not None:
        return
    gates = weights.shape[1]
    if len(embedding) * gates * weights.itemsize > room:
        return
    both = np.zeros((1, 2 * gates), weights.dtype) if bias is None else bias
    own, recurrent = both[0, :gates].astype(np.float64), both[:, gates:].copy()
    # Both are added to the same sum, but for what a GRU resets behind the product.
    added = 2 * gates // 3 if _resets_behind(node) else gates
    own[:added] += recurrent[0, :added]
    recurrent[:, :added] = 0
    table = embedding.astype(np.float64) @ weights[0].T.astype(np.float64) + own
    stem = _stem(node)
    rows = _constant(graph, table.astype(weights.dtype), f"{stem}.table")
    row = _insert(graph, node, "Gather", [rows, ids[1]])
    rest = _constant(graph, recurrent, f"{stem}.recurrent_bias")
    node.resize_inputs(max(len(node.inputs), 4))
    node.replace_input_with(3, _insert(graph, node, "Concat", [row, rest], axis=1))
    nothing = np.zeros((1, 1, 1), weights.dtype)
    node.replace_input_with(0, _constant(graph, nothing, "no_input"))
    no_weights = np.zeros((1, gates, 1), weights.dtype)
    node.replace_input_with(1, _constant(graph, no_weights, f"{stem}.no_weights"))


def _resets_behind(node: ir.Node) -> bool:
    behind = node.attributes.get("linear_before_reset")
    return node.op_type == "GRU" and behind is not None and bool(behind.as_int())


def _embedding_behind(value: ir.Value | None, ids: ir.Value) -> np.ndarray | None:
    """The table [ids, features] of which ``value`` is the row that ``ids`` names."""
    node = _source(value)
    if node is None or node.op_type != "Gather":
        return None
    axis = node.attributes.get("axis")
    table = _array(node.inputs[0])
    if (axis is not None and axis.as_int()) or table is None or table.ndim != 2:
        return None
    index = node.inputs[1]
    while index is not ids:
        producer = None if index is None else index.producer()
        if producer is None or producer.op_type not in _VIEWS:
            return None
        index = producer.inputs[0]
    return table


def _source(value: ir.Value | None) -> ir.Node | None:
    node = None if value is None else value.producer()
    while node is not None and node.op_type in _VIEWS:
        first = node.inputs[0]
        node = None if first is None else first.producer()
    return node


def _array(value: ir.Value | None) -> np.ndarray | None:
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def _insert(
    graph: ir.Graph, node: ir.Node, kind: str, inputs: list[ir.Value], **attributes: int
) -> ir.Value:
    new = ir.node(kind, inputs, attributes)
    graph.insert_before(node, new)
    new.outputs[0].name = f"{_stem(node)}.{kind.lower()}"
    return new.outputs[0]


def _constant(graph: ir.Graph, array: np.ndarray, name: str) -> ir.Value:
    while name in graph.initializers:
        name += "_"
    value = ir.val(name, const_value=ir.tensor(array, name=name))
    graph.initializers[name] = value
    return value


def _stem(node: ir.Node) -> str:
    weights = node.inputs[2]
    name = str(node.name if weights is None else weights.name)
    return name.removesuffix(".R")
