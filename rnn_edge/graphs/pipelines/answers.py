"""A model's first output -> what a person reads, inside a graph.

A row that cannot be answered gives empty strings and NaN. Without ``sizes`` an output has one
answer a row; with them, one a step, and steps behind a row's size give the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from rnn_edge.contract import (
    CtcDecoder,
    LabelDecoder,
    TagDecoder,
    TensorSpec,
    TextDecoder,
    ValueDecoder,
)
from rnn_edge.graphs.pipelines.strings import joined, texts_of
from rnn_edge.graphs.writing import Writer

# What stands for no label.
_NONE = -1
Answers = list[tuple[TensorSpec, ir.Value]]


@dataclass(frozen=True)
class Found:
    """The output ``value`` of shape ``spec.dims``, [batch, ...]; bool[batch] ``valid``.

    ``inside`` is bool[batch, sequence], the steps of each row; None where there is no such axis.
    ``chances`` are float32 log-probabilities of the places of a text, where these are known.
    """

    spec: TensorSpec
    value: ir.Value
    valid: ir.Value
    inside: ir.Value | None
    chances: ir.Value | None = None


def label_answers(writer: Writer, found: Found, decoder: LabelDecoder) -> Answers:
    """The likeliest label, its probability, and those of all."""
    dims = found.spec.dims[:-1]
    probabilities = _or_nan(writer, writer.op("Softmax", _float(writer, found), axis=-1), found)
    best = writer.op("ArgMax", found.value, axis=-1, keepdims=0)
    labels = texts_of(writer, _or(writer, best, found, len(dims), _NONE), decoder.labels)
    highest = writer.op("ReduceMax", probabilities, writer.constant([-1]), keepdims=0)
    every = ", ".join(decoder.labels)
    return [
        (TensorSpec("label", "string", dims, "the likeliest label"), labels),
        (TensorSpec("probability", "float32", dims, "of that label"), highest),
        (
            TensorSpec("probabilities", "float32", found.spec.dims, f"of {every}"),
            probabilities,
        ),
    ]


def value_answers(writer: Writer, found: Found, decoder: ValueDecoder) -> Answers:
    """The numbers as they are; NaN for a row without an answer."""
    spec = found.spec
    meaning = f"in the units of {', '.join(decoder.columns)}"
    told = TensorSpec(spec.name, "float32", spec.dims, meaning)
    return [(told, _or_nan(writer, _float(writer, found), found))]


def tag_answers(writer: Writer, found: Found, decoder: TagDecoder) -> Answers:
    """One label a step, empty strings behind a row's end."""
    tags = writer.op("Cast", found.value, to=int(ir.DataType.INT64))
    tags = _or(writer, tags, found, 2, _NONE)
    told = TensorSpec("tags", "string", found.spec.dims, "of each character, then empty ones")
    return [(told, texts_of(writer, tags, decoder.labels))]


def text_answers(writer: Writer, found: Found, decoder: TextDecoder) -> Answers:
    """The characters before the end, as one string a row, and its log-probability if known."""
    ids = writer.op("Cast", found.value, to=int(ir.DataType.INT64))
    ends = writer.op("Equal", ids, writer.constant(decoder.end))
    ended = writer.op("CumSum", _numbers(writer, ends), writer.constant(1))
    ids = writer.op("Where", writer.op("Greater", ended, writer.constant(0)), _none(writer), ids)
    texts = joined(writer, texts_of(writer, _or(writer, ids, found, 2, _NONE), decoder.vocabulary))
    rows_dims = found.spec.dims[:1]
    answers = [(TensorSpec("written", "string", rows_dims, "the answer"), texts)]
    if found.chances is not None:
        # The end has one too.
        past = writer.op("Greater", ended, _numbers(writer, ends))
        nothing = writer.constant(0, np.float32)
        chances = writer.op("Where", past, nothing, found.chances)
        told = TensorSpec("log_probability", "float32", rows_dims, "of the answer and its end")
        answers.append((told, _total(writer, chances, found)))
    return answers


def transcript_answers(writer: Writer, found: Found, decoder: CtcDecoder) -> Answers:
    """The likeliest label of each frame, repeats and blanks left out, as one string a row."""
    scores = _float(writer, found)
    best = writer.op("ArgMax", scores, axis=2, keepdims=0)
    best = _or(writer, best, found, 2, decoder.blank)
    last = writer.op("Slice", best, *map(writer.constant, ([0], [-1], [1])))
    rows = writer.op("Shape", best, start=0, end=1)
    shape = writer.op("Concat", rows, writer.constant([1]), axis=0)
    first = writer.op("ConstantOfShape", shape, value=ir.tensor(np.array([decoder.blank])))
    before = writer.op("Concat", first, last, axis=1)
    said = writer.op(
        "And",
        writer.op("Not", writer.op("Equal", best, before)),
        writer.op("Not", writer.op("Equal", best, writer.constant(decoder.blank))),
    )
    labels = texts_of(writer, writer.op("Where", said, best, _none(writer)), decoder.labels)
    chances = writer.op("ReduceMax", scores, writer.constant([2]), keepdims=0)
    rows_dims = found.spec.dims[:1]
    return [
        (TensorSpec("text", "string", rows_dims, "what was said"), joined(writer, labels)),
        (
            TensorSpec("labels", "string", found.spec.dims[:2], "what begins at each frame"),
            labels,
        ),
        (
            TensorSpec("log_probability", "float32", rows_dims, "of the likeliest path"),
            _total(writer, chances, found),
        ),
    ]


ANSWERS: dict[type[Any], Callable[[Writer, Found, Any], Answers]] = {
    LabelDecoder: label_answers,
    ValueDecoder: value_answers,
    TagDecoder: tag_answers,
    TextDecoder: text_answers,
    CtcDecoder: transcript_answers,
}


def _float(writer: Writer, found: Found) -> ir.Value:
    if found.spec.dtype == "float32":
        return found.value
    return writer.op("Cast", found.value, to=int(ir.DataType.FLOAT))


def _total(writer: Writer, chances: ir.Value, found: Found) -> ir.Value:
    """``chances`` [batch, sequence] of each row added up; NaN for a row without an answer."""
    if found.inside is not None:
        nothing = writer.constant(0, np.float32)
        chances = writer.op("Where", found.inside, chances, nothing)
    total = writer.op("ReduceSum", chances, writer.constant([1]), keepdims=0)
    nan = writer.constant(np.nan, np.float32)
    return writer.op("Where", found.valid, total, nan)


def _or_nan(writer: Writer, numbers: ir.Value, found: Found) -> ir.Value:
    nan = writer.constant(np.nan, np.float32)
    return _or(writer, numbers, found, len(found.spec.dims), nan)


def _or(
    writer: Writer, numbers: ir.Value, found: Found, rank: int, other: ir.Value | int
) -> ir.Value:
    """``numbers``, of as many axes, where there is an answer, else ``other``."""
    instead = writer.constant(other) if isinstance(other, int) else other
    there = _wide(writer, found.valid, 1, rank)
    if found.inside is not None:
        there = writer.op("And", there, _wide(writer, found.inside, 2, rank))
    return writer.op("Where", there, numbers, instead)


def _wide(writer: Writer, flags: ir.Value, rank: int, wanted: int) -> ir.Value:
    axes: Sequence[int] = range(rank, wanted)
    return writer.op("Unsqueeze", flags, writer.constant(axes)) if axes else flags


def _numbers(writer: Writer, flags: ir.Value) -> ir.Value:
    return writer.op("Cast", flags, to=int(ir.DataType.INT64))


def _none(writer: Writer) -> ir.Value:
    return writer.constant(_NONE)
