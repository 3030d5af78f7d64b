"""LSTM nodes that compute with int8: ONNX Runtime's DynamicQuantizeLSTM."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from rnn_edge.graphs.quantization.layer_weights import graphs_in

DOMAIN = "com.microsoft"
_KEPT = ("direction", "hidden_size", "clip", "activations", "activation_alpha", "activation_beta",
         "input_forget")  # fmt: skip
_LENGTHS, _PEEPHOLES = 4, 7


class QuantizeLstms(ir.passes.InPlacePass):
    """Replace LSTM nodes with at least ``from_hidden`` units, those in bodies too; ``changed``
    counts them.

    - Weights are symmetric int8 with one scale for each row of a gate.
    - Left as they are: peepholes, which the kernel mistakes; weights that are no constants.
    - Rows of different lengths get zeros for padding: the scale of an input is that of its largest
      number, and garbage in the padding would coarsen the answers of every row.
    """

    def __init__(self, from_hidden: int) -> None:
        super().__init__()
        self._from_hidden = from_hidden
        self.changed = 0

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        before = self.changed
        for graph, _ in list(graphs_in(model.graph)):
            for node in list(graph):
                if node.op_type == "LSTM" and node.domain == "" and self._fits(node):
                    _replace(model.graph, graph, node)
                    self.changed += 1
        if self.changed > before:
            model.graph.opset_imports[DOMAIN] = 1
            model.opset_imports[DOMAIN] = 1
        return ir.passes.PassResult(model, self.changed > before)

    def _fits(self, node: ir.Node) -> bool:
        peephole = node.inputs[_PEEPHOLES] if len(node.inputs) > _PEEPHOLES else None
        layout = node.attributes.get("layout")
        weights = node.inputs[1:3]
        return (
            node.attributes["hidden_size"].as_int() >= self._from_hidden
            and peephole is None
            and (layout is None or layout.as_int() == 0)
            and all(w is not None and w.const_value is not None for w in weights)
            and all(str(w.dtype) == "FLOAT" for w in weights if w is not None)
        )


def _replace(main: ir.Graph, graph: ir.Graph, node: ir.Node) -> None:
    """``node`` of ``graph``, whose constants stand in ``main``."""
    given = [*node.inputs, *[None] * (_PEEPHOLES + 1 - len(node.inputs))]
    frames, lengths = given[0], given[_LENGTHS]
    if frames is not None and lengths is not None:
        given[0] = _zero_padding(main, graph, node, frames, lengths)
    scales: list[ir.Value] = []
    for place in (1, 2):
        weights = given[place]
        assert weights is not None
        assert weights.const_value is not None
        stem = str(weights.name)
        parts = _quantize(weights.const_value.numpy())
        values = [
            _constant(main, f"{stem}.{part}", array)
            for part, array in zip(("int8", "scale", "zero_point"), parts, strict=True)
        ]
        given[place] = values[0]
        scales += values[1:]
    attributes = [node.attributes[name] for name in _KEPT if name in node.attributes]
    new = ir.Node(
        DOMAIN,
        "DynamicQuantizeLSTM",
        [*given, *scales],
        [ir.AttrInt64(a.name, a.as_int()) if a.type == ir.AttributeType.INT else a
         for a in attributes],
        num_outputs=len(node.outputs),
        name=node.name,
    )  # fmt: skip
    outputs = list(node.outputs)
    floats = [value for value in node.inputs[1:3] if value is not None]
    ir.convenience.replace_nodes_and_values(graph, node, [node], [new], outputs, new.outputs)
    for value in floats:
        if not value.uses():
            del main.initializers[str(value.name)]


def _zero_padding(
    main: ir.Graph, graph: ir.Graph, node: ir.Node, frames: ir.Value, lengths: ir.Value
) -> ir.Value:
    """``frames`` [time, batch, features] with zeros from each row's length on."""
    stem = f"{node.outputs[-1].name}.padding"
    zero = _constant(main, f"{stem}.zero", np.array(0, np.int64))
    one = _constant(main, f"{stem}.one", np.array(1, np.int64))
    zeros = _constant(main, f"{stem}.zeros", np.array(0, np.float32))
    axes = [
        _constant(main, f"{stem}.axis_{axis}", np.array([axis], np.int64)) for axis in (1, 0, 2)
    ]
    nodes: list[ir.Node] = []

    def emit(op_type: str, *inputs: ir.Value, **attributes: int) -> ir.Value:
        made = ir.node(op_type, list(inputs), attributes)
        made.outputs[0].name = f"{stem}.{len(nodes)}"
        nodes.append(made)
        return made.outputs[0]

    steps = emit("Gather", emit("Shape", frames), zero)
    numbers = emit("Unsqueeze", emit("Range", zero, steps, one), axes[0])
    rows = emit("Unsqueeze", emit("Cast", lengths, to=int(ir.DataType.INT64)), axes[1])
    valid = emit("Unsqueeze", emit("Less", numbers, rows), axes[2])
    clean = emit("Where", valid, frames, zeros)
    graph.insert_before(node, nodes)
    return clean


def _quantize(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[directions, rows, columns] -> transposed int8, scales and zero points by row."""
    largest = np.abs(weights).max(axis=2)
    scale = (np.where(largest > 0, largest, 1) / 127).astype(np.float32)
    whole = np.clip(np.rint(weights / scale[:, :, None]), -127, 127).astype(np.int8)
    return whole.transpose(0, 2, 1).copy(), scale, np.zeros(scale.shape, np.int8)


def _constant(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    if name in graph.initializers:
        return graph.initializers[name]
    value = ir.val(name, const_value=ir.tensor(array, name=name))
    graph.initializers[name] = value
    return value
