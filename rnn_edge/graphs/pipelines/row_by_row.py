"""A model that takes no lengths, of rows of any: each is read alone, so that none is filled up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from rnn_edge.contract import TensorSpec
from rnn_edge.errors import ExportError
from rnn_edge.graphs.pipelines.rows import Rows
from rnn_edge.graphs.streaming.stream import Stream
from rnn_edge.graphs.writing import Writer, variable
from rnn_edge.runtime.batches import Layout


@dataclass(frozen=True)
class RowByRow:
    """``outputs`` [batch, ...] by name, and how many steps each row has in them, int64[batch].

    Zeros stand behind a row's end. ``counts`` is None where no output has an axis of steps.
    """

    outputs: dict[str, ir.Value]
    counts: ir.Value | None


def call_row_by_row(
    writer: Writer, model: Stream, layout: Layout, rows: Rows, wanted: Sequence[TensorSpec]
) -> RowByRow:
    """The ``wanted`` outputs of ``model``, [batch, ...], in steps [batch, steps, ...].

    Steps may be those of the input, or others that the model makes of them, frames of sound say.
    Raises ExportError for an output whose other axes have no fixed size.
    """
    number = variable("row", ir.DataType.INT64, [])
    goes_on = variable("more_rows", ir.DataType.BOOL, [])
    growing = [spec for spec in wanted if any(isinstance(dim, str) for dim in spec.dims[1:])]
    carried = [_carried(spec) for spec in growing]
    inner = Writer(writer.weights)
    outputs = inner.call(model, {layout.data.name: _row(inner, rows, number, layout.data)})
    grown = [
        _appended(inner, before, outputs[spec.name], len(spec.dims))
        for spec, before in zip(growing, carried, strict=True)
    ]
    whole = [spec for spec in wanted if spec not in growing]
    found = [inner.op("Squeeze", outputs[spec.name], inner.constant([0])) for spec in whole]
    if growing:
        width = inner.op("Shape", outputs[growing[0].name], start=1, end=2)
        found.append(inner.op("Squeeze", width))
    again = inner.op("Identity", goes_on)
    body = ir.Graph(
        [number, goes_on, *carried], [again, *grown, *found], nodes=inner.nodes, name="read_a_row"
    )
    count = writer.op("Squeeze", writer.op("Shape", rows.sizes))
    starts = [_nothing(writer, spec) for spec in growing]
    joined = writer.repeat(count, writer.constant(True, np.bool_), starts, body)
    named = {spec.name: value for spec, value in zip([*growing, *whole], joined, strict=False)}
    return RowByRow(named, joined[-1] if growing else None)


def _row(inner: Writer, rows: Rows, number: ir.Value, spec: TensorSpec) -> ir.Value:
    """Row ``number`` alone, [1, its steps, ...], as ``spec`` has it."""
    place = inner.op("Unsqueeze", number, inner.constant([0]))
    size = inner.op("Gather", rows.sizes, place, axis=0)
    row = inner.op("Gather", rows.data, place, axis=0)
    row = inner.op("Slice", row, inner.constant([0]), size, inner.constant([1]))
    if not spec.dtype.startswith(("int", "uint")) or spec.dtype == "int64":
        return row
    return inner.op("Cast", row, to=int(ir.DataType.from_numpy(np.dtype(spec.dtype))))


def _carried(spec: TensorSpec) -> ir.Value:
    """What the rows before have given, filled up to the longest."""
    if not all(isinstance(dim, int) for dim in spec.dims[2:]):
        raise ExportError(
            f"answers of a pipeline must be [batch, sequence, ...], the model gives {spec}. "
            "Call the model itself."
        )
    dims = [None, None, *spec.dims[2:]]
    return variable(f"{spec.name}_so_far", ir.DataType.from_numpy(np.dtype(spec.dtype)), dims)


def _nothing(writer: Writer, spec: TensorSpec) -> ir.Value:
    sizes = [int(dim) for dim in spec.dims[2:]]
    return writer.constant(np.zeros((0, 0, *sizes)), np.dtype(spec.dtype))


def _appended(inner: Writer, before: ir.Value, value: ir.Value, rank: int) -> ir.Value:
    """``value`` [1, steps, ...] behind the rows ``before``, the shorter of both filled up."""
    widths = [inner.op("Shape", each, start=1, end=2) for each in (before, value)]
    most = inner.op("Max", *widths)
    parts = [
        _widened(inner, each, inner.op("Sub", most, width), rank)
        for each, width in zip((before, value), widths, strict=True)
    ]
    return inner.op("Concat", *parts, axis=0)


def _widened(writer: Writer, value: ir.Value, lacks: ir.Value, rank: int) -> ir.Value:
    """``value`` with int64[1] ``lacks`` steps more."""
    parts = [writer.constant([0] * (rank + 1)), lacks]
    if rank > 2:
        parts.append(writer.constant([0] * (rank - 2)))
    return writer.op("Pad", value, writer.op("Concat", *parts, axis=0))
