"""A model of one row, or whose rows share a state such as a count of steps: one row at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from rnn_edge.contract import GraphContract, StatePair, TensorSpec
from rnn_edge.graphs.generation.form import BATCH
from rnn_edge.graphs.generation.model import LENGTHS, WRITTEN, Model
from rnn_edge.graphs.writing import Writer, variable

Generate = Callable[[Writer, Mapping[str, ir.Value]], dict[str, ir.Value]]


def describe_rows(model: Model) -> GraphContract:
    """The contract of a graph that writes several rows with ``model``, each with its own states."""
    contract = model.describe()
    pairs = tuple(replace(pair, batch_axis=pair.batch_axis or 0) for pair in contract.states)
    given = {pair.input: pair for pair in contract.states}
    told = {pair.output: pair for pair in contract.states}
    inputs = tuple(_of_rows(spec, given.get(spec.name)) for spec in contract.inputs)
    outputs = tuple(_of_rows(spec, told.get(spec.name)) for spec in contract.outputs)
    return replace(contract, inputs=inputs, outputs=outputs, states=pairs)


def _of_rows(spec: TensorSpec, pair: StatePair | None) -> TensorSpec:
    """A state of one row, or of all rows, as one of several."""
    if pair is None or BATCH in spec.dims:
        return spec
    if pair.batch_axis is None:
        return replace(spec, dims=(BATCH, *spec.dims))
    dims = list(spec.dims)
    dims[pair.batch_axis] = BATCH
    return replace(spec, dims=tuple(dims))


def call_rows(
    writer: Writer, model: Model, inputs: Mapping[str, ir.Value], generate: Generate
) -> dict[str, ir.Value]:
    """What ``generate`` gives for each row of ``inputs``, by name, filled up to the longest."""
    alone = model.describe()
    states = {pair.output: pair for pair in alone.states}
    written, likely, lengths = (spec.name for spec in (WRITTEN[0], WRITTEN[2], WRITTEN[1]))
    number, goes_on = variable("row", ir.DataType.INT64, []), variable("more", ir.DataType.BOOL, [])
    kinds = ((written, ir.DataType.INT64), (likely, ir.DataType.FLOAT))
    before = [variable(f"{name}.before", kind, ["rows", "so_far"]) for name, kind in kinds]
    inner = Writer(writer.weights)
    place = inner.op("Unsqueeze", number, inner.constant([0]))
    row = {spec.name: _row(inner, inputs[spec.name], spec, model, place) for spec in alone.inputs}
    tokens = model.tokens.name
    size = row[LENGTHS.name]
    row[tokens] = inner.op("Slice", row[tokens], inner.constant([0]), size, inner.constant([1]))
    found = generate(inner, row)
    fills = (inputs["end"], inner.constant(0.0, np.float32))
    joined = [
        _joined(inner, rows, found[name], fill)
        for rows, (name, _), fill in zip(before, kinds, fills, strict=True)
    ]
    others = [lengths, *states]
    ends = [inner.op("Identity", found[name]) for name in others]
    body = ir.Graph(
        [number, goes_on, *before], [inner.op("Identity", goes_on), *joined, *ends],
        nodes=inner.nodes, name="write_a_row",
    )  # fmt: skip
    empty = [
        writer.op("ConstantOfShape", writer.constant([0, 0]), value=ir.tensor(np.zeros(1, kind)))
        for kind in (np.int64, np.float32)
    ]
    count = writer.op("Squeeze", writer.op("Shape", inputs[LENGTHS.name]))
    results = writer.repeat(count, writer.constant(True, np.bool_), empty, body)
    answers = dict(zip([written, likely, *others], results, strict=True))
    answers[lengths] = writer.op("Squeeze", answers[lengths], writer.constant([1]))
    for name, pair in states.items():
        answers[name] = _stacked(writer, answers[name], alone.output(name), pair)
    return answers


def _row(
    writer: Writer, value: ir.Value, spec: TensorSpec, model: Model, place: ir.Value
) -> ir.Value:
    """The row at int64[1] ``place`` of an input, as one row gives it."""
    pair = next((pair for pair in model.describe().states if pair.input == spec.name), None)
    if pair is None and BATCH not in spec.dims:
        return value
    if pair is not None and pair.batch_axis is None:
        return writer.op("Squeeze", writer.op("Gather", value, place, axis=0), writer.constant([0]))
    axis = spec.dims.index(BATCH) if pair is None else pair.batch_axis
    return writer.op("Gather", value, place, axis=axis)


def _joined(writer: Writer, rows: ir.Value, row: ir.Value, fill: ir.Value) -> ir.Value:
    """``rows`` with ``row`` [1, ...] below, both filled up to the longer."""
    widths = [writer.op("Shape", each, start=1, end=2) for each in (rows, row)]
    most = writer.op("Max", *widths)
    parts = []
    for each, width in zip((rows, row), widths, strict=True):
        height = writer.op("Shape", each, start=0, end=1)
        shape = writer.op("Concat", height, writer.op("Sub", most, width), axis=0)
        parts.append(writer.op("Concat", each, writer.op("Expand", fill, shape), axis=1))
    return writer.op("Concat", *parts, axis=0)


def _stacked(writer: Writer, states: ir.Value, spec: TensorSpec, pair: StatePair) -> ir.Value:
    """[rows, ...] of a state, where it has its rows at an axis of its own."""
    if pair.batch_axis is None:
        return states
    states = writer.op("Squeeze", states, writer.constant([pair.batch_axis + 1]))
    if pair.batch_axis == 0:
        return states
    order = [*range(1, pair.batch_axis + 1), 0, *range(pair.batch_axis + 1, len(spec.dims))]
    return writer.op("Transpose", states, perm=order)
