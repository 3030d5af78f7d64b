"""Write nodes one after another, whole models among them whose weights stand in the graph once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from rnn_edge.graphs.streaming.stream import Stream


class Weights:
    """The initializers of a graph; equal ones are one."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._known: dict[tuple[str, tuple[int, ...], object], ir.Value] = {}

    def share(self, tensor: Any, name: str) -> ir.Value:
        """The graph's value that holds ``tensor``, named ``name`` if that is free."""
        strings = tensor.dtype == ir.DataType.STRING
        content = tuple(tensor.string_data()) if strings else tensor.tobytes()
        key = (str(tensor.dtype), tuple(tensor.shape), content)
        if key not in self._known:
            free = name
            while free in self._graph.initializers:
                free += "_"
            value = ir.val(free, const_value=tensor)
            value.type = ir.TensorType(tensor.dtype)
            value.shape = ir.Shape(tuple(tensor.shape))
            tensor.name = free
            self._graph.initializers[free] = value
            self._known[key] = value
        return self._known[key]


class Writer:
    """Nodes of one graph, or of one body of a Loop, in the order in which they run."""

    def __init__(self, weights: Weights) -> None:
        self.nodes: list[ir.Node] = []
        self.weights = weights

    def constant(self, value: Any, dtype: Any = np.int64) -> ir.Value:
        array = np.asarray(value, dtype)
        return self.weights.share(ir.tensor(array), f"constant_{array.dtype}")

    def text(self, value: str, rank: int) -> ir.Value:
        """One string, in as many axes."""
        tensor = ir.StringTensor([value.encode()], shape=ir.Shape([1] * rank))
        return self.weights.share(tensor, "constant_string")

    def op(
        self, kind: str, *inputs: ir.Value | None, domain: str = "", **attributes: Any
    ) -> ir.Value:
        return self.ops(kind, inputs, 1, attributes, domain)[0]

    def ops(
        self,
        kind: str,
        inputs: Sequence[ir.Value | None],
        outputs: int,
        attributes: Mapping[str, Any] | None = None,
        domain: str = "",
    ) -> Sequence[ir.Value]:
        node = ir.node(kind, inputs, attributes or {}, domain=domain, num_outputs=outputs)
        self.nodes.append(node)
        return node.outputs

    def call(self, stream: Stream, inputs: Mapping[str, ir.Value]) -> dict[str, ir.Value]:
        """Write the nodes of ``stream``, which reads ``inputs``; its outputs by name."""
        graph = stream.model.clone().graph
        for value in graph.inputs:
            value.replace_all_uses_with(inputs[str(value.name)], replace_graph_outputs=True)
        names = [spec.name for spec in stream.contract.outputs]
        outputs = dict(zip(names, graph.outputs, strict=True))
        for initializer in list(graph.initializers.values()):
            shared = self.weights.share(initializer.const_value, str(initializer.name))
            initializer.replace_all_uses_with(shared, replace_graph_outputs=True)
        graph.outputs.clear()
        nodes = list(graph)
        graph.remove(nodes)
        self.nodes += nodes
        return outputs

    def repeat(
        self,
        count: ir.Value | None,
        start: ir.Value | None,
        carried: Sequence[ir.Value],
        body: ir.Graph,
    ) -> Sequence[ir.Value]:
        """A Loop: what it carries at the end, then what it has collected; ``count`` turns at most.

        ``body`` takes the iteration's number, whether it goes on, and ``carried``.
        """
        collected = len(body.outputs) - 1
        return self.ops("Loop", [count, start, *carried], collected, {"body": body})


def variable(name: str, dtype: ir.DataType, dims: Sequence[int | str | None]) -> ir.Value:
    return ir.val(name, type=ir.TensorType(dtype), shape=ir.Shape(list(dims)))


def name_apart(model: ir.Model) -> None:
    """No two values or nodes have one name, not even in bodies: runtimes refuse that."""
    fixed = {*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()}
    taken = {str(value.name) for value in fixed}
    bodies = {node.graph for node in model.graph.all_nodes()} - {model.graph}
    values = [value for body in bodies if isinstance(body, ir.Graph) for value in body.inputs]
    values += [output for node in model.graph.all_nodes() for output in node.outputs]
    for number, value in enumerate(value for value in values if value not in fixed):
        name = str(value.name or "value")
        while name in taken:
            name = f"{value.name or 'value'}.{number}"
            number += 1
        value.name = name
        taken.add(name)
    names: set[str] = set()
    for number, node in enumerate(model.graph.all_nodes()):
        if node.name in names:
            node.name = f"{node.name}.{number}"
        names.add(str(node.name))
