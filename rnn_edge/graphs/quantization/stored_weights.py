"""Float32 weights stored with fewer bits; the runtime makes them float32 again when it loads."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

# Fewer numbers than this save less than the nodes that restore them cost.
_LEAST = 1024
_RECURRENT = ("RNN", "GRU", "LSTM")


class StoreWeights(ir.passes.InPlacePass):
    """Store every float32 constant of two axes or more as int8 with scales, or as float16.

    ``changed`` counts them. ONNX Runtime folds Cast and Mul of constants when it loads the file: a
    call then costs what it costs in float32.
    """

    def __init__(self, form: str) -> None:
        super().__init__()
        self._form = form
        self.changed = 0

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        before = self.changed
        graph = model.graph
        for value in list(graph.initializers.values()):
            tensor = value.const_value
            if tensor is None or str(tensor.dtype) != "FLOAT" or tensor.size < _LEAST:
                continue
            if len(tensor.shape) < 2 or value.is_graph_output() or not _are_weights(value):
                continue
            nodes = self._restoring(graph, value, tensor.numpy())
            if nodes:
                restored = nodes[-1].outputs[0]
                value.replace_all_uses_with(restored)
                graph.insert_before(graph[0], nodes)
                del graph.initializers[str(value.name)]
                self.changed += 1
        return ir.passes.PassResult(model, self.changed > before)

    def _restoring(self, graph: ir.Graph, value: ir.Value, array: np.ndarray) -> list[ir.Node]:
        """The nodes that give ``array`` back; none where it does not fit."""
        stem = str(value.name)
        to_float = {"to": int(ir.DataType.FLOAT)}
        if self._form == "float16":
            if np.abs(array).max() > np.finfo(np.float16).max:
                return []
            stored = _constant(graph, f"{stem}.float16", array.astype(np.float16))
            return [_named(ir.node("Cast", [stored], to_float), f"{stem}.float32")]
        axis = _summed_axis(value)
        largest = np.abs(array).max(axis=axis, keepdims=True)
        scale = (np.where(largest > 0, largest, 1) / 127).astype(np.float32)
        whole = np.clip(np.rint(array / scale), -127, 127).astype(np.int8)
        stored = _constant(graph, f"{stem}.int8", whole)
        scales = _constant(graph, f"{stem}.scale", scale)
        cast = _named(ir.node("Cast", [stored], to_float), f"{stem}.cast")
        return [cast, _named(ir.node("Mul", [cast.outputs[0], scales]), f"{stem}.float32")]


def _are_weights(value: ir.Value) -> bool:
    """Biases and initial states lose much and save little; scales are what restores others."""
    uses = list(value.uses())
    return bool(uses) and all(
        use.node.domain == "" and (use.node.op_type not in _RECURRENT or use.idx in (1, 2))
        for use in uses
    )


def _summed_axis(value: ir.Value) -> int:
    """The axis that a product sums over: one scale for each number that comes out."""
    for use in value.uses():
        if use.node.op_type == "MatMul" and use.idx == 1:
            return -2
        if use.node.op_type == "Gemm" and use.idx == 1:
            transposed = use.node.attributes.get("transB")
            return -1 if transposed is not None and transposed.as_int() else -2
    return -1


def _named(node: ir.Node, name: str) -> ir.Node:
    node.outputs[0].name = name
    return node


def _constant(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    # A layer that computes with int8 may have its own form of weights that a loop's body shares.
    while name in graph.initializers:
        name += "_"
    value = ir.val(name, const_value=ir.tensor(array, name=name))
    graph.initializers[name] = value
    return value
