"""`rnn-edge run --stream`: standard input to standard output, chunk by chunk."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rnn_edge.contract import CharacterFrontEnd
from rnn_edge.errors import InputError

if TYPE_CHECKING:
    from rnn_edge.runtime.stream_writer import Writer

RAW = "f32le"


def run_stream(
    source: Path, provider: str, chunk: int | None, frames: str | None, as_json: bool
) -> None:
    """Push what comes on standard input and write what comes out, flushing after every chunk."""
    from rnn_edge.runtime import StreamSession
    from rnn_edge.runtime.stream_reader import ChunkShape, read_lines, read_raw, read_text
    from rnn_edge.runtime.stream_writer import write_json, writer_of_lines, writer_of_raw

    stream = StreamSession(source, provider)
    front_end = stream.about.front_end if stream.about else None
    decoder = stream.about.decoder if stream.about else None
    shape = ChunkShape(stream.contract)
    pipe = sys.stdin.buffer
    if frames == RAW:
        chunks = read_raw(pipe, shape, chunk or 1)
    elif isinstance(front_end, CharacterFrontEnd):
        chunks = read_text(pipe, shape, front_end, chunk)
    else:
        chunks = read_lines(pipe, shape, front_end, chunk or 1)
    write: Writer = write_json
    if frames == RAW:
        write = writer_of_raw(stream.contract)
    elif not as_json:
        write = writer_of_lines(stream.contract, front_end, decoder)
    for number, array in enumerate(chunks, 1):
        try:
            outputs = stream.push_named(array)
        except InputError as error:
            raise InputError(f"chunk {number} of standard input: {error}") from None
        sys.stdout.buffer.write(write(outputs))
        sys.stdout.buffer.flush()
