"""Products with large constant weights outside of recurrent layers: heads and projections."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from rnn_edge.graphs.quantization.block_products import import_products, write_product
from rnn_edge.graphs.quantization.layer_weights import DEEPEST, graphs_in
from rnn_edge.graphs.writing import Weights, Writer, name_apart

# Below, a product takes no longer in float32.
_LEAST, _LEAST_COLUMNS = 1 << 14, 64


class ComposeHeads(ir.passes.InPlacePass):
    """Write MatMul (with the Add behind it) and Gemm as products by int8; ``changed`` counts them.

    Weights are float32 constants of two axes; what is multiplied has the rows first. Bodies within
    bodies stay as they are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.changed = 0

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        before = self.changed
        weights = Weights(model.graph)
        for graph, depth in list(graphs_in(model.graph)):
            for node in list(graph) if depth <= DEEPEST else ():
                if node.domain == "" and _replace(graph, node, weights):
                    self.changed += 1
        if self.changed > before:
            import_products(model)
            common.RemoveUnusedNodesPass()(model)
            name_apart(model)
        return ir.passes.PassResult(model, self.changed > before)


def _replace(graph: ir.Graph, node: ir.Node, weights: Weights) -> bool:
    matrix = _weights(node)
    if matrix is None or matrix.size < _LEAST or matrix.shape[1] < _LEAST_COLUMNS:
        return False
    frames = node.inputs[0]
    assert frames is not None
    writer, last = Writer(weights), node
    bias = _constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if node.op_type == "MatMul":
        last, bias = _added(graph, node, len(matrix))
    nodes = [node] if last is node else [node, last]
    product = write_product(writer, frames, matrix, bias)
    ir.convenience.replace_nodes_and_values(
        graph, node, nodes, writer.nodes, [last.outputs[0]], [product]
    )
    return True


def _weights(node: ir.Node) -> np.ndarray | None:
    """[rows, columns] of float32; None where the node is no such product."""
    if node.op_type not in ("MatMul", "Gemm") or len(node.inputs) < 2:
        return None
    matrix = _constant(node.inputs[1])
    if matrix is None or matrix.ndim != 2 or matrix.dtype != np.float32:
        return None
    if node.op_type == "MatMul":
        return matrix.T
    attributes = node.attributes
    if "transA" in attributes and attributes["transA"].as_int():
        return None
    if any(n in attributes and attributes[n].as_float() != 1 for n in ("alpha", "beta")):
        return None
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        bias = _constant(node.inputs[2])
        if bias is None or bias.ndim != 1:
            return None
    turned = "transB" in attributes and bool(attributes["transB"].as_int())
    return matrix if turned else matrix.T


def _added(graph: ir.Graph, node: ir.Node, rows: int) -> tuple[ir.Node, np.ndarray | None]:
    """The node behind which the sum is done, and what it adds."""
    product = node.outputs[0]
    uses = list(product.uses())
    if len(uses) != 1 or product.is_graph_output():
        return node, None
    after = uses[0].node
    if after.op_type != "Add" or after.domain != "" or after.graph is not graph:
        return node, None
    bias = _constant(after.inputs[1 - uses[0].idx])
    if bias is None or bias.shape != (rows,) or bias.dtype != np.float32:
        return node, None
    return after, bias


def _constant(value: ir.Value | None) -> np.ndarray | None:
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()
