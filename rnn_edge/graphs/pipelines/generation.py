"""A graph that continues ids becomes one that continues texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from rnn_edge.contract import (
    AxisLimits,
    ByteFrontEnd,
    CharacterFrontEnd,
    GraphContract,
    NextCharacterDecoder,
    StatePair,
    TensorSpec,
)
from rnn_edge.errors import ExportError
from rnn_edge.graphs.pipelines.byte_texts import UNFINISHED, UNFINISHED_STATE, text_of_bytes
from rnn_edge.graphs.pipelines.rows import (
    Rows,
    missing,
    rows_of_bytes,
    rows_of_code_points,
    rows_of_texts,
)
from rnn_edge.graphs.pipelines.strings import ids_of_code_points, joined, texts_of
from rnn_edge.graphs.streaming.stream import Stream
from rnn_edge.graphs.writing import Writer

_MEANING = "code point of the character that ends a row; -1: none"
_END = TensorSpec("end", "int64", (), _MEANING, -1, None, default=-1)
TEXT = TensorSpec("text", "string", ("batch",), "what follows each prompt, the end included")
_END_BYTE = "byte that ends a row; -1: none"
_BYTE_TEXT = replace(
    TEXT, meaning="what follows each prompt, less the bytes of an unfinished character at its end"
)
_UNKNOWN = "\N{REPLACEMENT CHARACTER}"


def line_start(front_end: CharacterFrontEnd | ByteFrontEnd, decoder: NextCharacterDecoder) -> int:
    """The id that an empty prompt reads as: a line break, or else the first that may be written."""
    if isinstance(front_end, ByteFrontEnd):
        return front_end.offset + ord("\n")
    if "\n" in front_end.vocabulary:
        return front_end.vocabulary.index("\n")
    return next(n for n in range(len(front_end.vocabulary)) if n not in decoder.never)


def generator_inputs(
    generator: GraphContract, front_end: CharacterFrontEnd | ByteFrontEnd, portable: bool
) -> list[TensorSpec]:
    """Those of the graph that continues ids, with texts in the place of ids."""
    tokens = generator.inputs[0]
    end = _END
    if isinstance(front_end, ByteFrontEnd):
        prompts = _flat("bytes", "uint8", "UTF-8", "bytes")
        end = replace(_END, meaning=_END_BYTE, maximum=255)
        prompts.append(UNFINISHED[0])
    elif portable:
        prompts = _flat("code_points", "int32", "code points", "characters")
    else:
        meaning = "texts to go on from, of any lengths; an empty one starts a line"
        prompts = [TensorSpec("prompt", "string", ("batch",), meaning)]
    others = [spec for spec in generator.inputs if spec.name not in (tokens.name, "lengths")]
    return prompts + [end if spec.name == end.name else spec for spec in others]


def _flat(name: str, dtype: str, what: str, axis: str) -> list[TensorSpec]:
    meaning = f"{what} of all prompts, one prompt after the other"
    sizes = f"{axis} of each prompt; they add up to all; 0 starts a line"
    return [
        TensorSpec(name, dtype, (axis,), meaning),
        TensorSpec("lengths", "int64", ("batch",), sizes, 0, splits=axis),
    ]


def text_states(
    generator: GraphContract, front_end: CharacterFrontEnd | ByteFrontEnd
) -> tuple[StatePair, ...]:
    """Those of the generator; of bytes, what a text has left unfinished too."""
    own = (UNFINISHED_STATE,) if isinstance(front_end, ByteFrontEnd) else ()
    return (*own, *generator.states)


def write_generator(
    writer: Writer,
    generator: Stream,
    values: Mapping[str, ir.Value],
    front_end: CharacterFrontEnd | ByteFrontEnd,
    start: int,
) -> tuple[list[tuple[TensorSpec, ir.Value]], Rows]:
    """The outputs of ``generator`` after the prompts in ``values``, their text first."""
    contract = generator.contract
    _require_characters(front_end, contract)
    rows = _read_prompts(writer, values, front_end, start)
    lacks = missing(writer, rows.given, 1)
    feed = {contract.inputs[0].name: rows.data, "lengths": rows.sizes}
    for spec in contract.inputs[2:]:
        given = values[spec.name]
        feed[spec.name] = _with_row(writer, given, spec, lacks) if "batch" in spec.dims else given
    if isinstance(front_end, ByteFrontEnd):
        end = writer.op("Add", values["end"], writer.constant(front_end.offset))
    else:
        end = ids_of_code_points(writer, values["end"], front_end)
    none = writer.op("Less", values["end"], writer.constant(0))
    feed["end"] = writer.op("Where", none, writer.constant(-1), end)
    found = writer.call(generator, feed)
    ids, counts = found["generated"], found["generated_lengths"]
    if isinstance(front_end, ByteFrontEnd):
        content = writer.op("Sub", ids, writer.constant(front_end.offset))
        before = _with_row(writer, values[UNFINISHED[0].name], UNFINISHED[0], lacks)
        text, rest = text_of_bytes(writer, content, counts, before)
        first = [(_BYTE_TEXT, text), (UNFINISHED[1], rest)]
    else:
        first = [(TEXT, _written(writer, ids, counts, front_end))]
    return [*first, *((spec, found[spec.name]) for spec in contract.outputs)], rows


def _read_prompts(
    writer: Writer,
    values: Mapping[str, ir.Value],
    front_end: CharacterFrontEnd | ByteFrontEnd,
    start: int,
) -> Rows:
    if isinstance(front_end, ByteFrontEnd):
        return rows_of_bytes(writer, values["bytes"], values["lengths"], front_end, 1, start)
    if "code_points" in values:
        points, lengths = values["code_points"], values["lengths"]
        return rows_of_code_points(writer, points, lengths, front_end, 1, start)
    return rows_of_texts(writer, values["prompt"], front_end, 1, start)


def _written(
    writer: Writer, ids: ir.Value, counts: ir.Value, front_end: CharacterFrontEnd
) -> ir.Value:
    """string[batch] of int64[batch, steps], of each row so many as ``counts`` says."""
    entries = list(front_end.vocabulary)
    # A character may fill up, or be what others are read as: it is written all the same.
    for place, shown in ((front_end.padding, ""), (front_end.unknown, _UNKNOWN)):
        if len(entries[place]) != 1:
            entries[place] = shown
    steps = writer.op("Shape", ids, start=1, end=2)
    places = writer.op("Range", writer.constant(0), writer.op("Squeeze", steps), writer.constant(1))
    inside = writer.op("Less", places, writer.op("Unsqueeze", counts, writer.constant([1])))
    ids = writer.op("Where", inside, ids, writer.constant(-1))
    return joined(writer, texts_of(writer, ids, entries))


def _require_characters(
    front_end: CharacterFrontEnd | ByteFrontEnd, contract: GraphContract
) -> None:
    maximum = contract.inputs[0].maximum
    if isinstance(front_end, ByteFrontEnd):
        last = front_end.offset + 255
        if maximum is not None and maximum < last:
            raise ExportError(
                f"a language model of bytes must read ids up to {last}, it reads up to "
                f"{int(maximum)}. Correct the offset, or the bound of its input."
            )
        return
    size = len(front_end.vocabulary)
    if maximum is not None and maximum >= size:
        raise ExportError(
            f"a vocabulary must name all {int(maximum) + 1} ids of a language model, it has {size} "
            "entries. Give the one that it was trained with."
        )
    if maximum is not None and maximum + 1 < size:
        raise ExportError(
            f"a language model must read all {size} entries of its vocabulary, it reads "
            f"{int(maximum) + 1}. Leave out the others, or correct the bound of its input."
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
    """Those of the batch, and of what stays the same; a prompt may have any length."""
    prompt = contract.inputs[0].dims[1]
    return {axis: limits for axis, limits in contract.axes.items() if axis != prompt}
