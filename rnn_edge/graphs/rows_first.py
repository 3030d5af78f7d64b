"""Put the axis of rows first everywhere, as servers that batch by themselves want."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from rnn_edge.contract import GraphContract, StatePair, TensorSpec
from rnn_edge.errors import InputError
from rnn_edge.runtime.stream_form import StreamForm


def put_rows_first(model: ir.Model, contract: GraphContract) -> GraphContract:
    """Change ``model``, a stream graph, in place; gives the contract of what it is then.

    A state ``[layers, batch, hidden]`` becomes ``[batch, layers, hidden]`` by a Transpose at the
    graph's edge, and the flags of rows that start anew get an axis of size 1: ``[batch, 1]``.
    Raises InputError where rows share a state or an input.
    """
    form = StreamForm.of(contract)
    reset = form.rule.reset
    inputs = {spec.name: _row_axis(spec, form) for spec in contract.inputs}
    outputs = {spec.name: _row_axis(spec, form) for spec in contract.outputs}
    for value in list(model.graph.inputs):
        assert value.name is not None
        if value.name == reset:
            _flatten_flags(model.graph, value)
        elif inputs[value.name]:
            _turn_input(model.graph, value, inputs[value.name])
    for place, value in enumerate(list(model.graph.outputs)):
        assert value.name is not None
        if outputs[value.name]:
            _turn_output(model.graph, place, outputs[value.name])
    return replace(
        contract,
        inputs=tuple(
            replace(spec, dims=(*spec.dims, 1)) if spec.name == reset else _turned(spec, form)
            for spec in contract.inputs
        ),
        outputs=tuple(_turned(spec, form) for spec in contract.outputs),
        states=tuple(StatePair(p.input, p.output, 0, p.initial) for p in contract.states),
    )


def _row_axis(spec: TensorSpec, form: StreamForm) -> int:
    axis = form.row_axis(spec)
    if axis is None:
        raise InputError(
            f"every tensor must have an axis of rows to be batched by a server, {spec} has none. "
            "Serve this model one row at a time."
        )
    return axis


def _turned(spec: TensorSpec, form: StreamForm) -> TensorSpec:
    axis = _row_axis(spec, form)
    rest = (dim for place, dim in enumerate(spec.dims) if place != axis)
    return replace(spec, dims=(spec.dims[axis], *rest))


def _turn_input(graph: ir.Graph, value: ir.Value, axis: int) -> None:
    assert value.shape is not None
    rank = len(value.shape)
    # The rows go from the front back to where the graph has them.
    order = [*range(1, axis + 1), 0, *range(axis + 1, rank)]
    inner = _inner(value, f"{value.name}_inner")
    value.replace_all_uses_with(inner, replace_graph_outputs=False)
    dims = list(value.shape)
    value.shape = ir.Shape([dims[axis], *(dim for n, dim in enumerate(dims) if n != axis)])
    node = ir.node("Transpose", [value], {"perm": order}, outputs=[inner])
    graph.insert_before(graph[0], node)


def _turn_output(graph: ir.Graph, place: int, axis: int) -> None:
    value = graph.outputs[place]
    assert value.shape is not None
    rank, name, dims = len(value.shape), value.name, list(value.shape)
    value.name = f"{name}_inner"
    outer = ir.Value(name=name, type=value.type)
    rest = [n for n in range(rank) if n != axis]
    outer.shape = ir.Shape([dims[axis], *(dims[n] for n in rest)])
    graph.append(ir.node("Transpose", [value], {"perm": [axis, *rest]}, outputs=[outer]))
    graph.outputs[place] = outer


def _flatten_flags(graph: ir.Graph, value: ir.Value) -> None:
    assert value.shape is not None
    inner = _inner(value, f"{value.name}_inner")
    value.replace_all_uses_with(inner, replace_graph_outputs=False)
    value.shape = ir.Shape([*value.shape, 1])
    axes = ir.Value(name=f"{value.name}_axes", const_value=ir.tensor(np.array([1], np.int64)))
    graph.register_initializer(axes)
    graph.insert_before(graph[0], ir.node("Squeeze", [value, axes], outputs=[inner]))


def _inner(value: ir.Value, name: str) -> ir.Value:
    return ir.Value(name=name, type=value.type, shape=value.shape)
