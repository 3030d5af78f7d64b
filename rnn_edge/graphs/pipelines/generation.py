"""A graph that continues ids becomes one that continues texts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from rnn_edge.contract import (
    AxisLimits,
    CharacterFrontEnd,
    GraphContract,
    NextCharacterDecoder,
    TensorSpec,
)
from rnn_edge.errors import ExportError
from rnn_edge.graphs.pipelines.rows import Rows, missing, rows_of_code_points, rows_of_texts
from rnn_edge.graphs.pipelines.strings import ids_of_code_points, joined, texts_of
from rnn_edge.graphs.streaming.stream import Stream
from rnn_edge.graphs.writing import Writer

_MEANING = "code point of the character that ends a row; -1: none"
_END = TensorSpec("end", "int64", (), _MEANING, -1, None, default=-1)
TEXT = TensorSpec("text", "string", ("batch",), "what follows each prompt, the end included")
_UNKNOWN = "\N{REPLACEMENT CHARACTER}"


def line_start(front_end: CharacterFrontEnd, decoder: NextCharacterDecoder) -> int:
    """The id that an empty prompt reads as: a line break, or else the first that may be written."""
    if "\n" in front_end.vocabulary:
        return front_end.vocabulary.index("\n")
    return next(n for n in range(len(front_end.vocabulary)) if n not in decoder.never)


def generator_inputs(generator: GraphContract, portable: bool) -> list[TensorSpec]:
    """Those of the graph that continues ids, with texts in the place of ids."""
    tokens = generator.inputs[0]
    if portable:
        points = "code points of all prompts, one prompt after the other"
        sizes = "characters of each prompt; they add up to all; 0 starts a line"
        prompts = [
            TensorSpec("code_points", "int32", ("characters",), points),
            TensorSpec("lengths", "int64", ("batch",), sizes, 0, splits="characters"),
        ]
    else:
        meaning = "texts to go on from, of any lengths; an empty one starts a line"
        prompts = [TensorSpec("prompt", "string", ("batch",), meaning)]
    others = [spec for spec in generator.inputs if spec.name not in (tokens.name, "lengths")]
    return prompts + [_END if spec.name == _END.name else spec for spec in others]


def write_generator(
    writer: Writer,
    generator: Stream,
    values: Mapping[str, ir.Value],
    front_end: CharacterFrontEnd,
    start: int,
) -> tuple[list[tuple[TensorSpec, ir.Value]], Rows]:
    """The outputs of ``generator`` after the prompts in ``values``, their text first."""
    contract = generator.contract
    _require_characters(front_end, contract)
    if "code_points" in values:
        points, lengths = values["code_points"], values["lengths"]
        rows = rows_of_code_points(writer, points, lengths, front_end, 1, start)
    else:
        rows = rows_of_texts(writer, values["prompt"], front_end, 1, start)
    lacks = missing(writer, rows.given, 1)
    feed = {contract.inputs[0].name: rows.data, "lengths": rows.sizes}
    for spec in contract.inputs[2:]:
        given = values[spec.name]
        feed[spec.name] = _with_row(writer, given, spec, lacks) if "batch" in spec.dims else given
    end = ids_of_code_points(writer, values["end"], front_end)
    none = writer.op("Less", values["end"], writer.constant(0))
    feed["end"] = writer.op("Where", none, writer.constant(-1), end)
    found = writer.call(generator, feed)
    entries = list(front_end.vocabulary)
    entries[front_end.padding], entries[front_end.unknown] = "", _UNKNOWN
    steps = writer.op("Shape", found["generated"], start=1, end=2)
    places = writer.op("Range", writer.constant(0), writer.op("Squeeze", steps), writer.constant(1))
    counts = writer.op("Unsqueeze", found["generated_lengths"], writer.constant([1]))
    inside = writer.op("Less", places, counts)
    ids = writer.op("Where", inside, found["generated"], writer.constant(-1))
    text = joined(writer, texts_of(writer, ids, entries))
    return [(TEXT, text), *((spec, found[spec.name]) for spec in contract.outputs)], rows


def _require_characters(front_end: CharacterFrontEnd, contract: GraphContract) -> None:
    maximum = contract.inputs[0].maximum
    size = len(front_end.vocabulary)
    if maximum is not None and maximum >= size:
        raise ExportError(
            f"a vocabulary must name all {int(maximum) + 1} ids of a language model, it has {size} "
            "entries. Give the one that it was trained with."
        )


def _with_row(writer: Writer, value: ir.Value, spec: TensorSpec, lacks: ir.Value) -> ir.Value:
    """``value`` with as many rows more as int64[1] ``lacks``."""
    axis = spec.dims.index("batch")
    before = writer.constant([0] * (len(spec.dims) + axis))
    after = len(spec.dims) - axis - 1
    parts = [before, lacks, *([writer.constant([0] * after)] if after else [])]
    kind = np.dtype(spec.dtype)
    amounts = writer.op("Concat", *parts, axis=0)
    return writer.op("Pad", value, amounts, writer.constant(0, kind))


def batch_limits(contract: GraphContract) -> dict[str, AxisLimits]:
    """Those of the batch; a prompt may have any length."""
    return {axis: limits for axis, limits in contract.axes.items() if axis == "batch"}
