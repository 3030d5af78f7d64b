"""Recurrent nodes become int8 products and the nodes of a step: alone, or as the body of a Scan."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from rnn_edge.graphs.quantization.block_products import import_products
from rnn_edge.graphs.quantization.cells import write_step
from rnn_edge.graphs.quantization.known_sizes import known_sizes
from rnn_edge.graphs.quantization.layer_weights import (
    CELL,
    DEEPEST,
    GATES,
    LENGTHS,
    STATE,
    LayerWeights,
    graphs_in,
    node_input,
    read_layer,
)
from rnn_edge.graphs.writing import Weights, Writer, name_apart, variable


class ComposeLayers(ir.passes.InPlacePass):
    """Write large layers as nodes that compute with int8; ``changed`` counts them.

    - ``from_step`` and ``from_sequence`` hold the least number of weights by kind: where a node
      sees one step (an LSTM: of one row, too), and where it becomes a Scan.
    - Activations are the usual ones, weights constants of float32.
    - Left as they are: layers that run backwards over rows of different lengths, and in bodies
      within bodies.
    """

    def __init__(self, from_step: Mapping[str, int], from_sequence: Mapping[str, int]) -> None:
        super().__init__()
        self._from_step, self._from_sequence = from_step, from_sequence
        self.changed = 0

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        before = self.changed
        weights = Weights(model.graph)
        # All of them before the first is gone, through which the next one's sizes are followed.
        found = [
            (graph, node, depth, _is_step(node))
            for graph, depth in graphs_in(model.graph)
            for node in graph
            if node.op_type in GATES
        ]
        for graph, node, depth, is_step in found:
            self.changed += self._compose(graph, node, depth, is_step, weights)
        if self.changed > before:
            import_products(model)
            common.RemoveUnusedNodesPass()(model)
            name_apart(model)
        return ir.passes.PassResult(model, self.changed > before)

    def _compose(
        self, graph: ir.Graph, node: ir.Node, depth: int, is_step: bool, weights: Weights
    ) -> bool:
        layers = read_layer(node)
        if not layers:
            return False
        count, writer = layers[0].count, Writer(weights)

        def large(least: Mapping[str, int]) -> bool:
            return count >= least.get(node.op_type, count + 1)

        if is_step and depth <= DEEPEST and large(self._from_step):
            outputs = _write_one_step(writer, node, layers[0])
        elif depth < DEEPEST and large(self._from_sequence) and _may_scan(node):
            outputs = _write_scan(writer, node, layers)
        else:
            return False
        old = [value for value in node.outputs if value.uses() or value.is_graph_output()]
        new = [outputs[node.outputs.index(value)] for value in old]
        ir.convenience.replace_nodes_and_values(graph, node, [node], writer.nodes, old, new)
        return True


def _direction(node: ir.Node) -> str:
    direction = node.attributes.get("direction")
    return "forward" if direction is None else direction.as_string()


def _is_step(node: ir.Node) -> bool:
    sizes = known_sizes(node.inputs[0])
    if sizes is None or node_input(node, LENGTHS) is not None:
        return False
    # At several rows ONNX Runtime's own int8 LSTM is faster.
    least = 2 if node.op_type == "LSTM" else 1
    return _direction(node) == "forward" and all(size == 1 for size in sizes[:least])


def _may_scan(node: ir.Node) -> bool:
    return node.op_type != "LSTM" and (
        node_input(node, LENGTHS) is None or _direction(node) == "forward"
    )


def _write_one_step(writer: Writer, node: ir.Node, layer: LayerWeights) -> list[ir.Value]:
    """What the node gives: all steps [1, 1, batch, hidden], h and c [1, batch, hidden]."""
    frame = node.inputs[0]
    assert frame is not None
    places = (STATE, CELL) if layer.kind == "LSTM" else (STATE,)
    states = [
        node_input(node, place) or _zeros(writer, frame, layer.hidden, directions=1)
        for place in places
    ]
    after = write_step(writer, layer, frame, states)
    return [writer.op("Unsqueeze", after[0], writer.constant([0])), *after]


def _write_scan(writer: Writer, node: ir.Node, layers: list[LayerWeights]) -> list[ir.Value]:
    """What the node gives: all steps [time, directions, batch, hidden], h [directions, ...]."""
    frames, lengths, start = (node_input(node, place) for place in (0, LENGTHS, STATE))
    assert frames is not None
    hidden = layers[0].hidden
    if start is None:
        start = _zeros(writer, frames, hidden, len(layers))
    starts = writer.ops(
        "Split", [start, writer.constant([1] * len(layers))], len(layers), {"axis": 0}
    )
    ways = {"forward": (0,), "reverse": (1,), "bidirectional": (0, 1)}[_direction(node)]
    steps, finals = [], []
    for way, layer, before in zip(ways, layers, starts, strict=True):
        before = writer.op("Squeeze", before, writer.constant([0]))
        final, found = _scan(writer, layer, frames, before, way)
        if lengths is not None:
            final, found = _cut(writer, frames, found, lengths)
        steps.append(writer.op("Unsqueeze", found, writer.constant([1])))
        finals.append(writer.op("Unsqueeze", final, writer.constant([0])))
    if len(layers) == 1:
        return [steps[0], finals[0]]
    return [writer.op("Concat", *steps, axis=1), writer.op("Concat", *finals, axis=0)]


def _scan(
    writer: Writer, layer: LayerWeights, frames: ir.Value, before: ir.Value, way: int
) -> tuple[ir.Value, ir.Value]:
    """The last state and all of them, [batch, hidden] and [time, batch, hidden]."""
    state = variable("state", ir.DataType.FLOAT, [None, layer.hidden])
    frame = variable("frame", ir.DataType.FLOAT, [None, None])
    inner = Writer(writer.weights)
    after = write_step(inner, layer, frame, [state])[0]
    told = inner.op("Identity", after)
    for value in (after, told):
        value.type = ir.TensorType(ir.DataType.FLOAT)
    body = ir.Graph([state, frame], [after, told], nodes=inner.nodes, name="step")
    attributes = {
        "body": body, "num_scan_inputs": 1,
        "scan_input_directions": [way], "scan_output_directions": [way],
    }  # fmt: skip
    final, steps = writer.ops("Scan", [before, frames], 2, attributes)
    return final, steps


def _cut(
    writer: Writer, frames: ir.Value, steps: ir.Value, lengths: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """The state at each row's length, and zeros behind it; a row without frames has zeros."""
    lengths = writer.op("Cast", lengths, to=int(ir.DataType.INT64))
    time = writer.op("Squeeze", writer.op("Shape", frames, start=0, end=1))
    numbers = writer.op("Range", writer.constant(0), time, writer.constant(1))
    inside = writer.op("Less", writer.op("Unsqueeze", numbers, writer.constant([1])), lengths)
    inside = writer.op("Unsqueeze", inside, writer.constant([2]))
    kept = writer.op("Where", inside, steps, writer.constant(0.0, np.float32))
    last = writer.op("Max", writer.op("Sub", lengths, writer.constant(1)), writer.constant(0))
    shape = writer.op("Shape", steps, start=1)
    places = writer.op("Expand", writer.op("Unsqueeze", last, writer.constant([1])), shape)
    places = writer.op("Unsqueeze", places, writer.constant([0]))
    found = writer.op("GatherElements", kept, places, axis=0)
    return writer.op("Squeeze", found, writer.constant([0])), kept


def _zeros(writer: Writer, frames: ir.Value, hidden: int, directions: int) -> ir.Value:
    rows = writer.op("Shape", frames, start=1, end=2)
    shape = writer.op(
        "Concat", writer.constant([directions]), rows, writer.constant([hidden]), axis=0
    )
    return writer.op("ConstantOfShape", shape)
