"""What is the same in every turn of a Loop is computed once, before it."""

from __future__ import annotations

import onnx_ir as ir


def hoist_invariants(graph: ir.Graph) -> None:
    """Move nodes out of the bodies of Loops, in ``graph`` and in all graphs within it."""
    for node in list(graph):
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                hoist_invariants(attribute.as_graph())
        if node.op_type == "Loop" and node.domain == "":
            _hoist(graph, node, node.attributes["body"].as_graph())


def _hoist(graph: ir.Graph, loop: ir.Node, body: ir.Graph) -> None:
    inside = set(body.inputs)
    ends = set(body.outputs)
    for node in list(body):
        # A body gives what its own nodes have made.
        fixed = not ends.isdisjoint(node.outputs) or any(
            attribute.type == ir.AttributeType.GRAPH for attribute in node.attributes.values()
        )
        if fixed or any(value in inside for value in node.inputs):
            inside.update(node.outputs)
            continue
        body.remove(node)
        graph.insert_before(loop, node)
