"""What depends on inputs alone that stay the same while a row is written: an encoder, mostly."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import onnx_ir as ir
from onnx_ir.passes import common

from rnn_edge.contract import TensorSpec
from rnn_edge.errors import ExportError
from rnn_edge.graphs.reading import values_read
from rnn_edge.graphs.streaming.shapes import infer_shapes
from rnn_edge.graphs.streaming.stream import Stream, forget_shapes


def split_held(stream: Stream, held: Collection[str]) -> tuple[Stream, Stream]:
    """The part of ``stream`` that follows from the inputs ``held``, and the rest, which reads what
    the first gives. ``stream`` stays as it is.

    The tensors between both have the names that they have in the graph. Raises ExportError where
    the axes of one are not known.
    """
    model = stream.model.clone()
    infer_shapes(model)
    inside, values = _follow(model.graph, held)
    between = _boundary(model.graph, inside, values)
    specs = tuple(_describe(value) for value in between)
    own = {str(value.name) for value in model.graph.inputs}
    made = [spec for spec in specs if spec.name not in own]
    first, rest = _keep_held(model, made), _keep_rest(model, made)
    left = {str(value.name) for value in rest.graph.inputs}
    contract = stream.contract
    return (
        Stream(first, replace(
            contract, inputs=tuple(spec for spec in contract.inputs if spec.name in held),
            outputs=tuple(made), states=(), stream=None,
        )),
        Stream(rest, replace(
            contract, inputs=tuple(
                spec for spec in (*contract.inputs, *made)
                if spec.name in left
            ),
        )),
    )  # fmt: skip


def _follow(graph: ir.Graph, held: Collection[str]) -> tuple[set[ir.Node], set[ir.Value]]:
    """The nodes that read nothing but held values and constants, and all held values."""
    values = {value for value in graph.inputs if value.name in held}
    constants = set(graph.initializers.values())
    inside = set()
    for node in graph:
        read = {value for value in values_read(node) if not _is_of_body(value, graph)} - constants
        if not read:
            constants.update(node.outputs)
        elif read <= values:
            inside.add(node)
            values.update(node.outputs)
    return inside, values


def _is_of_body(value: ir.Value, graph: ir.Graph) -> bool:
    """Whether ``value`` belongs to a graph within a node."""
    producer = value.producer()
    if producer is not None:
        return producer.graph is not graph
    return value not in graph.inputs and value not in graph.initializers.values()


def _boundary(graph: ir.Graph, inside: set[ir.Node], values: set[ir.Value]) -> list[ir.Value]:
    """The held values that other nodes read, or that are answers, in their order."""
    found = {output: None for output in graph.outputs if output in values}
    for node in graph:
        if node not in inside:
            found |= dict.fromkeys(value for value in values_read(node) if value in values)
    return list(found)


def _describe(value: ir.Value) -> TensorSpec:
    name = str(value.name)
    if value.shape is None or value.dtype is None:
        raise ExportError(
            f"axes of {name}, which the inputs that stay the same give, must be known, they are "
            "not. Generate in the app."
        )
    dims = tuple(
        dim if isinstance(dim, int) else str(dim.value or f"{name}.{place}")
        for place, dim in enumerate(value.shape)
    )
    return TensorSpec(name, str(value.dtype.numpy()), dims)


def _keep_held(model: ir.Model, made: list[TensorSpec]) -> ir.Model:
    first = model.clone()
    graph = first.graph
    by_name = {str(output.name): output for node in graph for output in node.outputs}
    graph.outputs.clear()
    graph.outputs.extend(by_name[spec.name] for spec in made)
    return _without_idle_inputs(first)


def _keep_rest(model: ir.Model, made: list[TensorSpec]) -> ir.Model:
    rest = model.clone()
    graph = rest.graph
    by_name = {str(output.name): output for node in graph for output in node.outputs}
    for spec in made:
        old = by_name[spec.name]
        given = ir.val(spec.name, type=old.type, shape=ir.Shape(list(spec.dims)))
        old.replace_all_uses_with(given, replace_graph_outputs=True)
        old.name = f"{spec.name}.held"
        graph.inputs.append(given)
    return _without_idle_inputs(rest)


def _without_idle_inputs(model: ir.Model) -> ir.Model:
    count = None
    # A node with a body that is gone uses values still: a clone knows nothing of it.
    while count != (count := len(model.graph)):
        common.RemoveUnusedNodesPass()(model)
        model = model.clone()
    graph = model.graph
    answers = set(graph.outputs)
    for value in list(graph.inputs):
        if not value.uses() and value not in answers:
            graph.inputs.remove(value)
    forget_shapes(model)
    return model
