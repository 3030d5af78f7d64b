"""A model that takes no lengths, of rows of any: each is read alone, so that none is filled up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from rnn_edge.contract import TensorSpec
from rnn_edge.graphs.pipelines.rows import Rows
from rnn_edge.graphs.streaming.stream import Stream
from rnn_edge.graphs.writing import Writer, variable
from rnn_edge.runtime.batches import Layout


def call_row_by_row(
    writer: Writer, model: Stream, layout: Layout, rows: Rows, wanted: Sequence[TensorSpec]
) -> dict[str, ir.Value]:
    """The ``wanted`` outputs of ``model``, [batch, ...], by name.

    Zeros stand behind a row's end where an output has the axis of time.
    """
    number = variable("row", ir.DataType.INT64, [])
    goes_on = variable("more_rows", ir.DataType.BOOL, [])
    inner = Writer(writer.weights)
    place = inner.op("Unsqueeze", number, inner.constant([0]))
    size = inner.op("Gather", rows.sizes, place, axis=0)
    row = inner.op("Gather", rows.data, place, axis=0)
    row = inner.op("Slice", row, inner.constant([0]), size, inner.constant([1]))
    if layout.data.dtype != "int64":
        kind = ir.DataType.from_numpy(np.dtype(layout.data.dtype))
        row = inner.op("Cast", row, to=int(kind))
    outputs = inner.call(model, {layout.data.name: row})
    width = inner.op("Shape", rows.data, start=1, end=2)
    lacks = inner.op("Sub", width, size)
    found = [
        inner.op("Squeeze", _widened(inner, outputs[spec.name], spec, layout, lacks), zero)
        for spec in wanted
        for zero in [inner.constant([0])]
    ]
    again = inner.op("Identity", goes_on)
    body = ir.Graph([number, goes_on], [again, *found], nodes=inner.nodes, name="read_a_row")
    count = writer.op("Squeeze", writer.op("Shape", rows.sizes))
    joined = writer.repeat(count, writer.constant(True, np.bool_), [], body)
    return {spec.name: value for spec, value in zip(wanted, joined, strict=True)}


def _widened(
    writer: Writer, value: ir.Value, spec: TensorSpec, layout: Layout, lacks: ir.Value
) -> ir.Value:
    """``value`` with int64[1] ``lacks`` steps more, if it has any."""
    if layout.sequence not in spec.dims:
        return value
    axis, rank = spec.dims.index(layout.sequence), len(spec.dims)
    parts = [writer.constant([0] * (rank + axis)), lacks]
    if axis + 1 < rank:
        parts.append(writer.constant([0] * (rank - axis - 1)))
    return writer.op("Pad", value, writer.op("Concat", *parts, axis=0))
