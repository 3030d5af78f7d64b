"""A graph that reads or gives scaled numbers becomes one of numbers as they are measured."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from rnn_edge.contract import GraphContract, TensorSpec
from rnn_edge.errors import ExportError
from rnn_edge.graphs.streaming.stream import Stream
from rnn_edge.graphs.writing import Weights, Writer, name_apart, variable
from rnn_edge.runtime.batches import Layout
from rnn_edge.scales import Scales


def put_scales(
    model: ir.Model, contract: GraphContract, before: Scales | None, behind: Scales | None
) -> Stream:
    """``model``, which stays as it is, behind and before scales of its input and first output.

    Raises ExportError where these have no axis of so many columns, or are no floats.
    """
    before = None if before is None or before.plain else before
    behind = None if behind is None or behind.plain else behind
    if before is None and behind is None:
        return Stream(model, contract)
    model = model.clone()
    graph, writer = model.graph, Writer(Weights(model.graph))
    if before is not None:
        spec = Layout.of(contract).data
        mean, std = (_along(writer, spec, before, each) for each in (before.mean, before.std))
        place = next(n for n, value in enumerate(graph.inputs) if value.name == spec.name)
        old = graph.inputs[place]
        kind = old.dtype or ir.DataType.FLOAT
        given = variable(spec.name, kind, spec.dims)
        old.name = f"{spec.name}.scaled"
        graph.inputs[place] = given
        scaled = writer.op("Div", writer.op("Sub", given, mean), std)
        old.replace_all_uses_with(scaled, replace_graph_outputs=True)
        nodes, writer.nodes = writer.nodes, []
        first = next(iter(graph), None)
        if first is None:
            graph.extend(nodes)
        else:
            graph.insert_before(first, nodes)
    if behind is not None:
        spec = contract.outputs[0]
        mean, std = (_along(writer, spec, behind, each) for each in (behind.mean, behind.std))
        (value,) = [each for each in graph.outputs if each.name == spec.name]
        value.name = f"{spec.name}.scaled"
        told = writer.op("Add", writer.op("Mul", value, std), mean)
        told.name, told.type, told.shape = spec.name, value.type, ir.Shape(list(spec.dims))
        graph.outputs[list(graph.outputs).index(value)] = told
        graph.extend(writer.nodes)
    name_apart(model)
    return Stream(model, contract)


def _along(
    writer: Writer, spec: TensorSpec, scales: Scales, numbers: tuple[float, ...]
) -> ir.Value:
    """``numbers`` in the shape of the one axis of columns; one column needs no axis."""
    size, dims = len(scales.columns), spec.dims
    places = [place for place, dim in enumerate(dims) if dim == size and place > 0]
    if not spec.dtype.startswith("float") or (size > 1 and len(places) != 1):
        raise ExportError(
            f"scaled numbers must be floats with one axis of {size} columns, got {spec}. "
            "Correct the columns."
        )
    shape = [1] * len(dims)
    if places:
        shape[places[-1]] = size
    return writer.constant(np.reshape(numbers, shape), np.dtype(spec.dtype))
