"""A node's place taken by the float64 nodes that compute the same."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.tape import Tape


def take_the_place(node: ir.Node, tape: Tape, found: ir.Value) -> None:
    """Put the nodes of ``tape``, of which ``found`` is the answer, where ``node`` is."""
    output, graph = node.outputs[0], node.graph
    assert graph is not None
    for made in tape.nodes:
        for value in made.outputs:
            value.dtype = value.dtype or ir.DataType.DOUBLE
            value.name = None
    found.type, found.shape = output.type, output.shape
    ir.convenience.replace_nodes_and_values(
        graph, node, [node], list(tape.nodes), [output], [found]
    )
