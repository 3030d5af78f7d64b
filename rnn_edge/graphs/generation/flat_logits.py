"""The logits of one row and step without their axes of size 1."""

from __future__ import annotations

import onnx_ir as ir

from rnn_edge.graphs.writing import Writer


def flat_logits(writer: Writer, logits: ir.Value) -> ir.Value:
    """The last that ``writer`` has written, [1, 1, vocabulary], as [1, vocabulary].

    A product with a sum behind it becomes one node.
    """
    whole = writer.constant([1, -1])
    added = logits.producer()
    product = None if added is None or added.op_type != "Add" else _producer(added, "MatMul")
    if added is None or product is None or not _is_head(writer, added, product):
        return writer.op("Reshape", logits, whole)
    frames, weights = product.inputs
    bias = next(value for value in added.inputs if value is not product.outputs[0])
    for node in (added, product):
        writer.nodes.remove(node)
    return writer.op("Gemm", writer.op("Reshape", frames, whole), weights, bias)


def _is_head(writer: Writer, added: ir.Node, product: ir.Node) -> bool:
    """Whether nothing else reads what is in between, and both constants have plain shapes."""
    places = [value for value in added.inputs if value is not product.outputs[0]]
    ranks = [
        len(value.const_value.shape) if value is not None and value.const_value is not None else 0
        for value in (product.inputs[1], *places)
    ]
    alone = len(list(product.outputs[0].uses())) == 1 and not list(added.outputs[0].uses())
    return ranks == [2, 1] and alone and {added, product} <= set(writer.nodes)


def _producer(node: ir.Node, kind: str) -> ir.Node | None:
    made = [value.producer() for value in node.inputs if value is not None]
    return next((each for each in made if each is not None and each.op_type == kind), None)
