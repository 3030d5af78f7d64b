"""`rnn-edge run --stream`: standard input to standard output, chunk by chunk."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rnn_edge.cli.output import say
from rnn_edge.contract import AudioFrontEnd, ByteFrontEnd, CharacterFrontEnd
from rnn_edge.errors import InputError

if TYPE_CHECKING:
    from rnn_edge.runtime.stream_writer import Writer
    from rnn_edge.runtime.wav_file import WavFile

RAW = "f32le"


@dataclass(frozen=True)
class StreamInput:
    """What is streamed: standard input, or a WAV file as fast as it goes or as it would sound.

    ``frame_rate`` is what the file must have in the place of the contract's; ``engine`` as for
    StreamSession.
    """

    wav: str | None
    chunk: int | None
    frames: str | None
    real_time: bool
    frame_rate: float | None
    engine: str | None


def run_stream(source: Path, provider: str, given: StreamInput, as_json: bool) -> None:
    """Push what comes in and write what comes out, flushing after every chunk."""
    from rnn_edge.runtime import StreamSession
    from rnn_edge.runtime.stream_reader import (
        SOURCE,
        ChunkShape,
        read_lines,
        read_raw,
        read_sound,
        read_text,
        read_wav,
    )
    from rnn_edge.runtime.stream_writer import write_json, writer_of_lines, writer_of_raw

    stream = StreamSession(source, provider, engine=given.engine)
    front_end = stream.about.front_end if stream.about else None
    decoder = stream.about.decoder if stream.about else None
    shape = ChunkShape(stream.contract)
    pipe = sys.stdin.buffer
    frames, chunk = given.frames, given.chunk
    if given.wav is not None:
        file = _open_wav(given.wav, shape.width)
        rate = given.frame_rate or shape.frame_rate
        if isinstance(front_end, AudioFrontEnd) and given.frame_rate is None:
            chunks = read_sound(file, shape, chunk, given.real_time, front_end.rate)
        else:
            chunks = read_wav(file, shape, chunk, given.real_time, rate)
    elif frames == RAW:
        chunks = read_raw(pipe, shape, chunk or 1)
    elif isinstance(front_end, CharacterFrontEnd | ByteFrontEnd):
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
            raise InputError(f"chunk {number} of {given.wav or SOURCE}: {error}") from None
        sys.stdout.buffer.write(write(outputs))
        sys.stdout.buffer.flush()


def _open_wav(path: str, width: int) -> WavFile:
    from rnn_edge.runtime.wav_file import WavFile

    file = WavFile.open(path)
    mixed = f", {file.channels} channels mixed down to one" if width == 1 < file.channels else ""
    say(f"{path}: {file.frames} samples at {file.rate} Hz{mixed}")
    return file
