"""Whether an exported program may hold a loop of fixed length, and how large it is."""

from __future__ import annotations

import operator
from collections import Counter

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from rnn_edge.capture.rolling.runs import FEWEST_FIXED

# Layers that are kept whole take their states apart by these; no iteration has them alone.
_PARTS = (operator.getitem, torch.ops.aten.narrow.default)


def may_repeat(exported: ExportedProgram) -> bool:
    """Whether one operator of one source line, with the same parameters, is there often enough."""
    parameters = exported.graph_signature.inputs_to_parameters
    seen = Counter(
        (str(node.target), node.stack_trace, tuple(_names(node, parameters)))
        for node in exported.graph.nodes
        if node.op == "call_function" and node.target not in _PARTS
    )
    return any(count >= FEWEST_FIXED for count in seen.values())


def _names(node: Node, parameters: dict[str, str]) -> list[str]:
    return [given.name for given in node.all_input_nodes if given.name in parameters]


# A cell is one operator here; outside of a layer the file has this many in its place.
_ATEN = torch.ops.aten
_WRITTEN_OUT = {
    _ATEN.lstm_cell.default: 16,
    _ATEN.gru_cell.default: 14,
    _ATEN.rnn_tanh_cell.default: 6,
    _ATEN.rnn_relu_cell.default: 6,
}


def count_nodes(exported: ExportedProgram) -> int:
    """The operators of ``exported``, those inside of its loops counted once."""
    graphs = [m for m in exported.graph_module.modules() if isinstance(m, GraphModule)]
    return sum(
        _WRITTEN_OUT.get(node.target, 1)
        for graph in graphs
        for node in graph.graph.nodes
        if node.op == "call_function"
    )
