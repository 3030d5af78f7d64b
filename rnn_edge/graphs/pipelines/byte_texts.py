"""Bytes to texts inside a graph: UTF-8, of which a run may end amid a character."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from rnn_edge.contract import StatePair, TensorSpec
from rnn_edge.graphs.pipelines.strings import BEHIND, joined
from rnn_edge.graphs.writing import Writer

# Bytes that a character may lack its last one of.
MOST_UNFINISHED = 3
_BYTES = 256
# Behind the bytes in the table of texts: nothing, and what stands for bytes that are no UTF-8.
_NOTHING, _REPLACEMENT = _BYTES, _BYTES + 1
_MEANING = "bytes of an unfinished character, the last ones last; -1: none"
UNFINISHED = (
    TensorSpec("unfinished_0", "int64", ("batch", MOST_UNFINISHED), _MEANING, -1, _BYTES - 1),
    TensorSpec("unfinished_n", "int64", ("batch", MOST_UNFINISHED), _MEANING),
)
UNFINISHED_STATE = StatePair(UNFINISHED[0].name, UNFINISHED[1].name, 0, -1.0)


def text_of_bytes(
    writer: Writer, values: ir.Value, counts: ir.Value, before: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """(string[batch], unfinished int64[batch, 3]) of ``values`` int64[batch, steps].

    Of a row, so many bytes as ``counts`` int64[batch] says follow those ``before``, which a text
    has left unfinished; its own unfinished bytes are no part of it. What is no UTF-8 becomes U+FFFD
    as decoders have it, one for the longest beginning of a character, or for a byte; what is no
    byte becomes nothing.
    """
    one, width = writer.constant([1]), writer.op("Shape", values, start=1, end=2)
    steps = writer.op("Range", writer.constant(0), writer.op("Squeeze", width), writer.constant(1))
    inside = writer.op("Less", steps, writer.op("Unsqueeze", counts, one))
    inside = writer.op("And", inside, writer.op("Less", values, writer.constant(_BYTES)))
    inside = writer.op("And", inside, _more(writer, values, BEHIND))
    values = writer.op("Where", inside, values, writer.constant(BEHIND))
    values = writer.op("Concat", before, values, axis=1)
    width = writer.op("Add", width, writer.constant([MOST_UNFINISHED]))
    ends = writer.op("Add", counts, writer.constant(MOST_UNFINISHED))
    steps = writer.op("Range", writer.constant(0), writer.op("Squeeze", width), writer.constant(1))
    # How many bytes stand behind each in its row.
    left = writer.op("Sub", writer.op("Unsqueeze", writer.op("Sub", ends, one), one), steps)
    needs, followers = _read_characters(writer, values, width)
    whole = writer.op("GreaterOrEqual", followers, writer.op("Sub", needs, writer.constant(1)))
    whole = writer.op("And", whole, writer.op("Greater", needs, writer.constant(0)))
    begun = writer.op("And", _is_not(writer, whole), _more(writer, needs, 1))
    unfinished = writer.op("And", begun, writer.op("Equal", followers, left))
    begun = writer.op("And", begun, _is_not(writer, unfinished))
    lasting = writer.op("Add", followers, writer.constant(1))
    plain = _covered(writer, whole, needs, width, 0)
    open_end = _covered(writer, unfinished, lasting, width, 0)
    silent = writer.op("Or", open_end, _covered(writer, begun, lasting, width, 1))
    silent = writer.op("Or", silent, writer.op("Less", values, writer.constant(0)))
    places = writer.op("Where", silent, writer.constant(_NOTHING), writer.constant(_REPLACEMENT))
    places = writer.op("Where", plain, values, places)
    text = joined(writer, writer.op("Gather", _texts(writer), places, axis=0))
    rest = writer.op("Where", open_end, values, writer.constant(BEHIND))
    last = writer.op("Add", writer.op("Unsqueeze", counts, one), writer.constant([[0, 1, 2]]))
    return text, writer.op("GatherElements", rest, last, axis=1)


def _read_characters(
    writer: Writer, values: ir.Value, width: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """For each byte: of how many a character is that it begins, 0 for none; how many of the others
    follow, in their order."""
    needs, low, high = (
        writer.op("Gather", writer.constant(table), values, axis=0) for table in _tables()
    )
    following = [_shifted(writer, values, width, by, BEHIND) for by in (1, 2, 3)]
    bounds: Sequence[tuple[ir.Value, ir.Value]] = [(low, high)]
    bounds = [*bounds, *[(writer.constant(0x80), writer.constant(0xBF))] * 2]
    right, followers = None, writer.constant(0)
    for value, (least, most) in zip(following, bounds, strict=True):
        fits = writer.op(
            "And", writer.op("GreaterOrEqual", value, least),
            writer.op("LessOrEqual", value, most),
        )  # fmt: skip
        right = fits if right is None else writer.op("And", right, fits)
        more = writer.op("Cast", right, to=int(ir.DataType.INT64))
        followers = writer.op("Add", followers, more)
    others = writer.op("Max", writer.op("Sub", needs, writer.constant(1)), writer.constant(0))
    return needs, writer.op("Min", followers, others)


def _tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By the first byte: bytes of the character, least and most of the second one. The last entry
    is for no byte."""
    needs, low, high = (np.full(_BYTES + 1, value) for value in (0, 0x80, 0xBF))
    needs[:0x80], needs[0xC2:0xE0], needs[0xE0:0xF0], needs[0xF0:0xF5] = 1, 2, 3, 4
    # No longer forms than needed, no surrogates, nothing above U+10FFFF.
    low[0xE0], low[0xF0], high[0xED], high[0xF4] = 0xA0, 0x90, 0x9F, 0x8F
    return needs, low, high


def _texts(writer: Writer) -> ir.Value:
    """string[258]: each byte alone, which is UTF-8 only where it is joined to its neighbours."""
    entries = [
        *(bytes([byte]) for byte in range(_BYTES)),
        b"",
        "\N{REPLACEMENT CHARACTER}".encode(),
    ]
    return writer.weights.share(
        ir.StringTensor(entries, shape=ir.Shape([len(entries)])), "constant_bytes"
    )


def _covered(
    writer: Writer, starts: ir.Value, sizes: ir.Value, width: ir.Value, first: int
) -> ir.Value:
    """Whether a step is one of those, from ``first`` on, that a start so many steps long covers."""
    sizes = writer.op("Where", starts, sizes, writer.constant(0))
    parts = [
        _more(writer, _shifted(writer, sizes, width, -by, 0) if by else sizes, by)
        for by in range(first, MOST_UNFINISHED + 1)
    ]
    found = parts[0]
    for part in parts[1:]:
        found = writer.op("Or", found, part)
    return found


def _shifted(writer: Writer, values: ir.Value, width: ir.Value, by: int, filler: int) -> ir.Value:
    """``values`` [batch, steps], each that which stands ``by`` steps behind it."""
    most = MOST_UNFINISHED
    wide = writer.op("Pad", values, writer.constant([0, most, 0, most]), writer.constant(filler))
    start = writer.constant([most + by])
    return writer.op("Slice", wide, start, writer.op("Add", start, width), writer.constant([1]))


def _more(writer: Writer, values: ir.Value, than: int) -> ir.Value:
    return writer.op("Greater", values, writer.constant(than))


def _is_not(writer: Writer, value: ir.Value) -> ir.Value:
    return writer.op("Not", value)
