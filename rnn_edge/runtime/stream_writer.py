"""What a stream gives for a chunk, as bytes for a pipe: lines, raw float32, JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping

import numpy as np

from rnn_edge.contract import (
    CharacterFrontEnd,
    CtcDecoder,
    Decoder,
    FrontEnd,
    GraphContract,
    LabelDecoder,
    NextCharacterDecoder,
    TagDecoder,
)
from rnn_edge.errors import InputError
from rnn_edge.runtime.decoders import softmax
from rnn_edge.runtime.stream_form import StreamForm

Outputs = Mapping[str, np.ndarray]
Writer = Callable[[Outputs], bytes]


def write_json(outputs: Outputs) -> bytes:
    """All outputs of a chunk in a line."""
    found = {name: array.tolist() for name, array in outputs.items()}
    return (json.dumps(found, ensure_ascii=False) + "\n").encode()


def writer_of_raw(contract: GraphContract) -> Writer:
    """Little-endian float32 numbers of the first output."""
    rows = _rows_of(contract)
    return lambda outputs: rows(outputs).astype("<f4").tobytes()


def writer_of_lines(
    contract: GraphContract, front_end: FrontEnd | None, decoder: Decoder | None
) -> Writer:
    """A line for each frame of the first output, or for each chunk where it has no frames.

    Numbers with commas between; of logits the likeliest label as JSON, and its probability. Of
    labels that are said over several frames, a line when one begins.
    """
    rows = _rows_of(contract)
    if isinstance(decoder, CtcDecoder):
        return _writer_of_said(rows, decoder)
    labels = _labels(front_end, decoder)
    return lambda outputs: "".join(_line(row, labels, decoder) for row in rows(outputs)).encode()


def _writer_of_said(rows: Callable[[Outputs], np.ndarray], decoder: CtcDecoder) -> Writer:
    before = decoder.blank

    def write(outputs: Outputs) -> bytes:
        nonlocal before
        lines = ""
        for row in rows(outputs):
            label = int(row.argmax())
            if label not in (before, decoder.blank):
                lines += json.dumps(decoder.labels[label], ensure_ascii=False) + "\n"
            before = label
        return lines.encode()

    return write


def _rows_of(contract: GraphContract) -> Callable[[Outputs], np.ndarray]:
    """The numbers of the first output that is no state: [frames, numbers]."""
    form = StreamForm.of(contract)
    if not form.outputs:
        raise InputError(
            f"{contract.file} must give more than its states to be run from a pipe, it does not. "
            "Use rnn_edge.StreamSession."
        )
    spec = form.outputs[0]
    timed = (form.rule.axis, f"{spec.name}.frames")
    place = next((n for n, dim in enumerate(spec.dims) if dim in timed), None)

    def rows(outputs: Outputs) -> np.ndarray:
        array = outputs[spec.name]
        array = array[np.newaxis] if place is None else np.moveaxis(array, place, 0)
        # Not -1: there may be no frames yet.
        return array.reshape(len(array), math.prod(array.shape[1:]))

    return rows


def _labels(front_end: FrontEnd | None, decoder: Decoder | None) -> tuple[str, ...] | None:
    if isinstance(decoder, LabelDecoder):
        return decoder.labels
    if isinstance(decoder, NextCharacterDecoder) and isinstance(front_end, CharacterFrontEnd):
        return front_end.vocabulary
    return None


def _line(row: np.ndarray, labels: tuple[str, ...] | None, decoder: Decoder | None) -> str:
    if isinstance(decoder, TagDecoder):
        return json.dumps(decoder.labels[int(row[0])], ensure_ascii=False) + "\n"
    if labels is None or len(labels) != len(row):
        # str() of a numpy number is the shortest that reads back as the same number.
        return ",".join(map(str, row)) + "\n"
    logits = row.astype(np.float64)
    if isinstance(decoder, NextCharacterDecoder):
        logits[list(decoder.never)] = -np.inf
    best = int(logits.argmax())
    label = json.dumps(labels[best], ensure_ascii=False)
    return f"{label},{softmax(logits)[best]:.6g}\n"
