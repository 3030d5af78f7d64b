"""What an app has -> the padded rows that a model reads, with their lengths, inside a graph.

Where a model takes lengths, an app gives no padding: texts as strings, anything else with its rows
one after the other and the size of each. The graph fills rows up to the longest, and to the
shortest that the model reads; a batch without rows becomes one row, which is left out of the
answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from rnn_edge.contract import ByteFrontEnd, CharacterFrontEnd, TensorSpec
from rnn_edge.graphs.pipelines.strings import (
    BEHIND,
    characters_of,
    ids_of_characters,
    ids_of_code_points,
)
from rnn_edge.graphs.writing import Writer


@dataclass(frozen=True)
class Rows:
    """``data`` is [batch, sequence, ...], one row or more, ``lengths`` int64[batch] what an app
    gave of each, ``sizes`` what the model is to read: the least it takes, or more.

    ``valid`` is bool[batch]: whether a row can be answered at all. ``given`` is int64[1], the
    number of rows that the app gave.
    """

    data: ir.Value
    lengths: ir.Value
    sizes: ir.Value
    valid: ir.Value
    given: ir.Value


def rows_of_texts(
    writer: Writer, texts: ir.Value, front_end: CharacterFrontEnd, least: int, filler: int | None
) -> Rows:
    """``texts`` string[batch]. An empty one reads as ``filler`` where that is an id."""
    ids = ids_of_characters(writer, characters_of(writer, texts), front_end)
    given = writer.op("Shape", texts)
    ends = [
        missing(writer, given, 1),
        missing(writer, writer.op("Shape", ids, start=1, end=2), least),
    ]
    amounts = writer.op("Concat", writer.constant([0, 0]), *ends, axis=0)
    ids = writer.op("Pad", ids, amounts, writer.constant(BEHIND))
    inside = writer.op("Greater", ids, writer.constant(BEHIND))
    counts = writer.op("Cast", inside, to=int(ir.DataType.INT64))
    lengths = writer.op("ReduceSum", counts, writer.constant([1]), keepdims=0)
    ids = writer.op("Where", inside, ids, writer.constant(front_end.padding))
    if filler is not None:
        ids = _fill_empty(writer, ids, lengths, filler)
    return _checked(writer, ids, lengths, given, least if filler is None else 0, least)


def rows_of_code_points(
    writer: Writer,
    points: ir.Value,
    lengths: ir.Value,
    front_end: CharacterFrontEnd,
    least: int,
    filler: int | None,
) -> Rows:
    """``points`` int32[characters] of all texts, ``lengths`` int64[batch] of each."""
    ids = ids_of_code_points(writer, points, front_end)
    padding = writer.constant([front_end.padding])
    data, lengths, given = _in_rows(writer, ids, lengths, padding, (), least)
    if filler is not None:
        data = _fill_empty(writer, data, lengths, filler)
    return _checked(writer, data, lengths, given, least if filler is None else 0, least)


def rows_of_bytes(
    writer: Writer,
    given: ir.Value,
    lengths: ir.Value,
    front_end: ByteFrontEnd,
    least: int,
    filler: int | None,
) -> Rows:
    """``given`` uint8[bytes] of all texts in UTF-8, ``lengths`` int64[batch] of each."""
    ids = writer.op("Cast", given, to=int(ir.DataType.INT64))
    ids = writer.op("Add", ids, writer.constant(front_end.offset))
    padding = writer.constant([front_end.padding])
    data, lengths, rows = _in_rows(writer, ids, lengths, padding, (), least)
    if filler is not None:
        data = _fill_empty(writer, data, lengths, filler)
    return _checked(writer, data, lengths, rows, least if filler is None else 0, least)


def rows_of_numbers(
    writer: Writer, numbers: ir.Value, lengths: ir.Value, spec: TensorSpec, least: int
) -> Rows:
    """``numbers`` [steps, ...] of all rows, ``lengths`` int64[batch] of each; ``spec`` says what
    the model reads, [batch, sequence, ...]. Zeros fill up; a row with NaN or infinity has no
    answer.
    """
    sizes = tuple(int(dim) for dim in spec.dims[2:])
    padding = writer.constant(np.zeros((1, *sizes)), np.dtype(spec.dtype))
    data, lengths, given = _in_rows(writer, numbers, lengths, padding, sizes, least)
    rows = _checked(writer, data, lengths, given, least, least)
    return Rows(data, rows.lengths, rows.sizes, _and_finite(writer, rows.valid, data, spec), given)


def whole_rows(writer: Writer, data: ir.Value, spec: TensorSpec, least: int) -> Rows:
    """``data`` [batch, ...] as the model reads it; a row with NaN or infinity has no answer.

    Where axis 1 has no fixed size, nothing shorter than ``least`` has an answer.
    """
    given = writer.op("Shape", data, start=0, end=1)
    width = writer.op("Shape", data, start=1, end=2)
    rank = len(spec.dims)
    ends = [missing(writer, given, 1), missing(writer, width, least)]
    zeros = writer.constant([0] * rank)
    rest = [writer.constant([0] * (rank - 2))] if rank > 2 else []
    amounts = writer.op("Concat", zeros, *ends, *rest, axis=0)
    data = writer.op("Pad", data, amounts)
    rows = writer.op("Shape", data, start=0, end=1)
    lengths = writer.op("Expand", width, rows)
    found = _checked(writer, data, lengths, given, least, least)
    valid = _and_finite(writer, found.valid, data, spec)
    return Rows(data, found.lengths, found.sizes, valid, given)


def _in_rows(
    writer: Writer,
    flat: ir.Value,
    lengths: ir.Value,
    padding: ir.Value,
    sizes: tuple[int, ...],
    least: int,
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """[steps, ...] as [batch, longest, ...], one row or more; lengths; the number of rows."""
    one = writer.constant([1])
    given = writer.op("Shape", lengths)
    amounts = writer.op("Concat", writer.constant([0]), missing(writer, given, 1), axis=0)
    lengths = writer.op("Pad", lengths, amounts, writer.constant(0))
    # Lengths that do not add up to the steps are an error here.
    total = writer.op("ReduceSum", lengths, keepdims=1)
    shape = writer.op("Concat", total, writer.constant(sizes), axis=0) if sizes else total
    flat = writer.op("Reshape", flat, shape, allowzero=1)
    longest = writer.op("ReduceMax", lengths, keepdims=0)
    longest = writer.op("Max", longest, writer.constant(least))
    steps = writer.op("Range", writer.constant(0), longest, writer.constant(1))
    starts = writer.op("CumSum", lengths, writer.constant(0), exclusive=1)
    inside = writer.op("Less", steps, writer.op("Unsqueeze", lengths, one))
    places = writer.op("Add", steps, writer.op("Unsqueeze", starts, one))
    # The padding stands behind the last step.
    places = writer.op("Where", inside, places, total)
    data = writer.op("Gather", writer.op("Concat", flat, padding, axis=0), places, axis=0)
    return data, lengths, given


def _fill_empty(writer: Writer, ids: ir.Value, lengths: ir.Value, filler: int) -> ir.Value:
    """``ids`` with ``filler`` in the rows that hold nothing."""
    empty = writer.op("Equal", lengths, writer.constant(0))
    return writer.op(
        "Where", writer.op("Unsqueeze", empty, writer.constant([1])), writer.constant(filler), ids
    )


def _checked(
    writer: Writer, data: ir.Value, lengths: ir.Value, given: ir.Value, needed: int, least: int
) -> Rows:
    sizes = writer.op("Max", lengths, writer.constant(least))
    valid = writer.op("GreaterOrEqual", lengths, writer.constant(needed))
    return Rows(data, lengths, sizes, valid, given)


def _and_finite(writer: Writer, valid: ir.Value, data: ir.Value, spec: TensorSpec) -> ir.Value:
    if not spec.dtype.startswith("float"):
        return valid
    nothing = writer.op("Mul", data, writer.constant(0, np.dtype(spec.dtype)))
    axes = writer.constant(range(1, len(spec.dims)))
    bad = writer.op("IsNaN", writer.op("ReduceSum", nothing, axes, keepdims=0))
    return writer.op("And", valid, writer.op("Not", bad))


def missing(writer: Writer, size: ir.Value, least: int) -> ir.Value:
    """How much int64[1] ``size`` lacks of ``least``."""
    lacks = writer.op("Sub", writer.constant([least]), size)
    return writer.op("Max", lacks, writer.constant([0]))
