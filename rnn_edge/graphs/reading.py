"""What a node reads."""

from __future__ import annotations

import onnx_ir as ir


def values_read(node: ir.Node) -> list[ir.Value]:
    """The inputs of ``node``, and what the graphs within it read and give, of theirs or around."""
    values = [value for value in node.inputs if value is not None]
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            body = attribute.as_graph()
            values += list(body.outputs)
            values += [v for inner in body.all_nodes() for v in inner.inputs if v is not None]
    return values
