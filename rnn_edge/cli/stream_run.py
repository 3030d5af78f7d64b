"""`rnn-edge run --stream`: standard input to standard output, chunk by chunk."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from rnn_edge.contract import (
    CharacterFrontEnd,
    Decoder,
    FrontEnd,
    LabelDecoder,
    NextCharacterDecoder,
)
from rnn_edge.errors import InputError

if TYPE_CHECKING:
    from rnn_edge.runtime import StreamSession

RAW = "f32le"


def run_stream(
    source: Path, provider: str, chunk: int | None, frames: str | None, as_json: bool
) -> None:
    """Push what comes on standard input and write what comes out, flushing after every chunk."""
    from rnn_edge.bundle import Bundle
    from rnn_edge.runtime import StreamSession

    bundle = Bundle.load(source) if source.is_dir() else None
    stream = StreamSession(bundle or source, provider)
    front_end = bundle.contract.front_end if bundle else None
    decoder = bundle.contract.decoder if bundle else None
    chunks = _chunks(stream, front_end, sys.stdin.buffer, chunk, frames)
    write = _writer(stream, front_end, decoder, frames, as_json)
    for number, array in enumerate(chunks, 1):
        try:
            outputs = stream.push_named({chunk_name(stream): array})
        except InputError as error:
            raise InputError(f"chunk {number} of standard input: {error}") from None
        for piece in write(outputs):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


def chunk_name(stream: StreamSession) -> str:
    """The input that chunks go to."""
    rule = stream.contract.stream
    assert rule is not None
    states = stream.contract.state_inputs
    return next(
        spec.name
        for spec in stream.contract.inputs
        if rule.axis in spec.dims and spec.name not in states
    )


def _chunks(
    stream: StreamSession,
    front_end: FrontEnd | None,
    pipe: BinaryIO,
    size: int | None,
    frames: str | None,
) -> Iterable[np.ndarray]:
    from rnn_edge.runtime.stream_reader import ChunkShape, read_lines, read_raw, read_text

    shape = ChunkShape(stream.contract)
    if frames == RAW:
        return read_raw(pipe, shape, size or 1)
    if isinstance(front_end, CharacterFrontEnd):
        return read_text(pipe, shape, front_end, size)
    return read_lines(pipe, shape, front_end, size or 1)


def _writer(
    stream: StreamSession,
    front_end: FrontEnd | None,
    decoder: Decoder | None,
    frames: str | None,
    as_json: bool,
) -> Any:
    """What turns the outputs of a chunk into bytes: the first output, or all of them as JSON."""
    if as_json:
        return _as_json
    spec = next(s for s in stream.contract.outputs if s.name in _answers(stream))
    rule = stream.contract.stream
    assert rule is not None
    place = next(
        (n for n, d in enumerate(spec.dims) if d in (rule.axis, f"{spec.name}.frames")), None
    )

    def rows(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
        array = outputs[spec.name]
        array = array[np.newaxis] if place is None else np.moveaxis(array, place, 0)
        # Not -1: there may be no frames yet.
        return array.reshape(len(array), math.prod(array.shape[1:]))

    if frames == RAW:
        return lambda outputs: [rows(outputs).astype("<f4").tobytes()]
    names = _labels(front_end, decoder)
    return lambda outputs: [_line(row, names, decoder) for row in rows(outputs)]


def _answers(stream: StreamSession) -> set[str]:
    states = {pair.output for pair in stream.contract.states}
    names = [spec.name for spec in stream.contract.outputs]
    found = {name for name in names if name not in states}
    if not found:
        raise InputError("the model must give more than its states to be run, it does not.")
    return found


def _labels(front_end: FrontEnd | None, decoder: Decoder | None) -> tuple[str, ...] | None:
    if isinstance(decoder, LabelDecoder):
        return decoder.labels
    if isinstance(decoder, NextCharacterDecoder) and isinstance(front_end, CharacterFrontEnd):
        return front_end.vocabulary
    return None


def _line(row: np.ndarray, labels: tuple[str, ...] | None, decoder: Decoder | None) -> bytes:
    """The numbers of a row with commas between; of logits, the likeliest label as JSON."""
    if labels is None or len(labels) != len(row):
        # str() of a numpy number is the shortest that reads back as the same number.
        return (",".join(map(str, row)) + "\n").encode()
    from rnn_edge.runtime.decoders import softmax

    logits = row.astype(np.float64)
    if isinstance(decoder, NextCharacterDecoder):
        logits[list(decoder.never)] = -np.inf
    best = int(logits.argmax())
    label = json.dumps(labels[best], ensure_ascii=False)
    return f"{label},{softmax(logits)[best]:.6g}\n".encode()


def _as_json(outputs: Mapping[str, np.ndarray]) -> Iterator[bytes]:
    found = {name: array.tolist() for name, array in outputs.items()}
    yield (json.dumps(found, ensure_ascii=False) + "\n").encode()
