"""Strings inside a graph: ids from characters, characters from ids, one string from many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from rnn_edge.contract import CharacterFrontEnd
from rnn_edge.graphs.writing import Writer, variable

# Operators of ONNX whose domain is not the empty one, and ONNX Runtime's own.
ML, ORT = "ai.onnx.ml", "com.microsoft"
ML_OPSET, ORT_OPSET = 2, 1
# Stands behind the end of a row of characters, and is longer than any of them.
_FILLING = "<filling>"
# What LabelEncoder gives for it.
BEHIND = -1


def characters_of(writer: Writer, texts: ir.Value) -> ir.Value:
    """string[batch] -> string[batch, characters], shorter rows filled up; one without rows too."""
    found = writer.op(
        "Tokenizer", texts, domain=ORT,
        mark=0, mincharnum=1, pad_value=_FILLING, separators=[""],
    )  # fmt: skip
    # Without rows there is no axis of characters either.
    rows = writer.op("Shape", texts)
    columns = writer.op(
        "Div", writer.op("Size", found), writer.op("Max", rows, writer.constant([1]))
    )
    return writer.op("Reshape", found, writer.op("Concat", rows, columns, axis=0), allowzero=1)


def ids_of_characters(writer: Writer, found: ir.Value, front_end: CharacterFrontEnd) -> ir.Value:
    """string[...] -> int64[...], BEHIND for what fills rows up."""
    places = _places(front_end)
    return writer.op(
        "LabelEncoder", found, domain=ML,
        keys_strings=[*places, _FILLING], values_int64s=[*places.values(), BEHIND],
        default_int64=front_end.unknown,
    )  # fmt: skip


def ids_of_code_points(writer: Writer, found: ir.Value, front_end: CharacterFrontEnd) -> ir.Value:
    """int32[...] Unicode code points -> int64[...]."""
    places = _places(front_end)
    return writer.op(
        "LabelEncoder", writer.op("Cast", found, to=int(ir.DataType.INT64)), domain=ML,
        keys_int64s=[ord(character) for character in places],
        values_int64s=list(places.values()), default_int64=front_end.unknown,
    )  # fmt: skip


def texts_of(writer: Writer, ids: ir.Value, entries: Sequence[str]) -> ir.Value:
    """int64[...] places among ``entries`` -> string[...]; any other number is an empty string."""
    return writer.op(
        "LabelEncoder", ids, domain=ML,
        keys_int64s=list(range(len(entries))), values_strings=list(entries), default_string="",
    )  # fmt: skip


def joined(writer: Writer, parts: ir.Value) -> ir.Value:
    """string[batch, parts] -> string[batch], each row's parts in order.

    Neighbours are joined, and what that gives again, until one is left: so many joins as the number
    of parts has binary digits, where one after the other would copy a long text each time.
    """
    one, two = writer.constant([1]), writer.constant([2])
    empty = writer.text("", 2)
    parts = _widened(writer, parts, empty)
    number = variable("number", ir.DataType.INT64, [])
    goes_on = variable("goes_on", ir.DataType.BOOL, [])
    before = variable("parts", ir.DataType.STRING, [None, None])
    inner = Writer(writer.weights)
    width = inner.op("Shape", before, start=1, end=2)
    wider = _widened(inner, before, empty)
    left = inner.op("Slice", wider, inner.constant([0]), width, one, two)
    right = inner.op("Slice", wider, one, inner.op("Add", width, one), one, two)
    after = inner.op("StringConcat", left, right)
    again = inner.op("Squeeze", inner.op("Greater", width, two))
    body = ir.Graph(
        [number, goes_on, before], [again, after], nodes=inner.nodes, name="join_neighbours"
    )
    found = writer.repeat(None, writer.constant(True, np.bool_), [parts], body)[0]
    return writer.op("Squeeze", found, one)


def _widened(writer: Writer, parts: ir.Value, empty: ir.Value) -> ir.Value:
    """``parts`` and a column of empty strings."""
    rows = writer.op("Shape", parts, start=0, end=1)
    shape = writer.op("Concat", rows, writer.constant([1]), axis=0)
    return writer.op("Concat", parts, writer.op("Expand", empty, shape), axis=1)


def _places(front_end: CharacterFrontEnd) -> dict[str, int]:
    """Place of each entry that a text may hold: longer ones stand for no character."""
    found: dict[str, int] = {}
    for place, entry in enumerate(front_end.vocabulary):
        if len(entry) == 1:
            # As the front end in Python has it, the last of equal entries.
            found[entry] = place
    return found
