"""Frames from a pipe (lines of numbers, raw float32, text) or a WAV file, and their chunks."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np

from rnn_edge.contract import (
    ByteFrontEnd,
    CharacterFrontEnd,
    FrontEnd,
    GraphContract,
    SeriesFrontEnd,
    TensorSpec,
)
from rnn_edge.errors import InputError
from rnn_edge.runtime.front_ends import text_ids
from rnn_edge.runtime.stream_form import StreamForm
from rnn_edge.runtime.wav_file import CHUNKS_A_SECOND, WavFile, resampled

SOURCE = "standard input"


class ChunkShape:
    """Where frames lie in the one input along time of a stream graph, for one row."""

    def __init__(self, contract: GraphContract) -> None:
        form = StreamForm.of(contract)
        if len(form.chunk) != 1 or form.context:
            names = ", ".join(spec.name for spec in form.given)
            raise InputError(
                f"{contract.file} must take one input to be fed from a pipe, it takes {names}. "
                "Use rnn_edge.StreamSession."
            )
        self.spec: TensorSpec = form.chunk[0]
        self._batch = form.batch
        self._axis = form.rule.axis
        #: Frames a second that the model takes, where that is known.
        self.frame_rate = form.rule.frame_rate
        kept = [dim for dim in self.spec.dims if dim not in (self._axis, self._batch)]
        if not all(isinstance(dim, int) for dim in kept):
            raise InputError(
                f"frames of {self.spec} must have one size to be fed from a pipe. "
                "Use rnn_edge.StreamSession."
            )
        self._frame = tuple(int(dim) for dim in kept)
        #: Numbers in one frame.
        self.width = math.prod(self._frame)
        self.dtype = np.dtype(self.spec.dtype)

    def chunk(self, frames: np.ndarray) -> np.ndarray:
        """``frames`` [n, width] in the shape that the graph takes."""
        array = frames.reshape(len(frames), *self._frame)
        place = self.spec.dims.index(self._axis)
        before = [dim for dim in self.spec.dims[:place] if dim != self._batch]
        array = np.moveaxis(array, 0, len(before))
        if self._batch in self.spec.dims:
            array = np.expand_dims(array, self.spec.dims.index(self._batch))
        return np.ascontiguousarray(array)


def read_lines(
    pipe: BinaryIO, shape: ChunkShape, front_end: FrontEnd | None, size: int
) -> Iterator[np.ndarray]:
    """Chunks of ``size`` lines, one frame a line; the last chunk may be shorter.

    Fields are apart by commas, semicolons, tabs or blanks. A first line that names the columns of
    the front end says their order, and there may be others. Raises InputError naming the line.
    """
    columns = front_end.columns if isinstance(front_end, SeriesFrontEnd) else ()
    places: list[int] | None = None
    rows: list[list[float]] = []
    for number, line in enumerate(iter(pipe.readline, b""), 1):
        fields = _fields(line, number)
        if not fields:
            continue
        if number == 1 and not any(map(_is_number, fields)):
            places = _places(fields, columns)
            continue
        rows.append(_row(fields, places, shape, number))
        if len(rows) == size:
            yield shape.chunk(_as_dtype(rows, shape))
            rows = []
    if rows:
        yield shape.chunk(_as_dtype(rows, shape))


def read_raw(pipe: BinaryIO, shape: ChunkShape, size: int) -> Iterator[np.ndarray]:
    """Chunks of ``size`` frames of raw little-endian float32; the last chunk may be shorter."""
    if shape.dtype.kind != "f":
        raise InputError(
            f"raw frames must go to an input of numbers, {shape.spec} is none. Leave --frames out."
        )
    frame = 4 * shape.width
    while content := pipe.read(frame * size):
        if len(content) % frame:
            raise InputError(
                f"{SOURCE} must end with a whole frame of {frame} bytes, "
                f"{len(content) % frame} are left over. Send whole frames."
            )
        frames = np.frombuffer(content, "<f4").reshape(-1, shape.width)
        yield shape.chunk(frames.astype(shape.dtype))


def read_wav(
    file: WavFile,
    shape: ChunkShape,
    size: int | None,
    real_time: bool,
    rate: float | None = None,
) -> Iterator[np.ndarray]:
    """Chunks of ``size`` frames of a WAV file; a model of one number a frame hears the mean.

    Without a size, a hundredth of a second. ``rate`` is the frames a second that the file must
    have. Raises InputError when it has others, or its channels do not fit.
    """
    if shape.dtype.kind != "f":
        raise InputError(f"samples must go to an input of numbers, {shape.spec} is none. Use text.")
    if shape.width not in (1, file.channels):
        raise InputError(
            f"{file.path} must have {shape.width} channels, one for each number of a frame of "
            f"{shape.spec}, got {file.channels}. Compute the features before."
        )
    if rate is not None and file.rate != rate:
        raise InputError(
            f"{file.path} must have {rate:g} frames a second, as the model takes them, it has "
            f"{file.rate}. Resample it, or say --frame-rate {file.rate} if it fits all the same."
        )
    for samples in _heard(file, shape, size, real_time):
        yield shape.chunk(samples.astype(shape.dtype))


def read_sound(
    file: WavFile, shape: ChunkShape, size: int | None, real_time: bool, rate: int
) -> Iterator[np.ndarray]:
    """As ``read_wav``, for a model that hears ``rate`` samples a second, of one channel.

    A file of another rate is resampled as it comes, and its chunks are not of one size.
    """
    heard = _heard(file, shape, size, real_time)
    for samples in heard if file.rate == rate else resampled(heard, file.rate, rate):
        if len(samples):
            yield shape.chunk(samples.astype(shape.dtype))


def _heard(
    file: WavFile, shape: ChunkShape, size: int | None, real_time: bool
) -> Iterator[np.ndarray]:
    """float32[frames, channels]; one channel, the mean, where the model takes one number."""
    size = size or max(1, file.rate // CHUNKS_A_SECOND)
    for samples in file.paced(size) if real_time else file.chunks(size):
        yield samples.mean(axis=1, keepdims=True) if shape.width == 1 else samples


def read_text(
    pipe: BinaryIO,
    shape: ChunkShape,
    front_end: CharacterFrontEnd | ByteFrontEnd,
    size: int | None,
) -> Iterator[np.ndarray]:
    """Chunks of ``size`` characters, or of a line each with its break; UTF-8."""
    text = io.TextIOWrapper(pipe, encoding="utf-8", newline=None)
    try:
        while piece := text.readline() if size is None else text.read(size):
            ids = text_ids(front_end, piece, SOURCE)
            yield shape.chunk(ids[:, np.newaxis].astype(shape.dtype))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{SOURCE} must be UTF-8, got the byte 0x{error.object[error.start]:02x}. Convert it."
        ) from None
    finally:
        text.detach()


def _fields(line: bytes, number: int) -> list[str]:
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(
            f"line {number} of {SOURCE} must be text, it is not UTF-8. Use --frames f32le for raw "
            "numbers."
        ) from None
    for mark in ",;\t":
        if mark in text:
            return [field.strip().strip('"') for field in text.split(mark)]
    return [field.strip('"') for field in text.split()]


def _places(fields: Sequence[str], columns: Sequence[str]) -> list[int] | None:
    missing = [column for column in columns if column not in fields]
    if columns and missing and not len(columns) == len(fields) == 1:
        raise InputError(
            f"columns of {SOURCE} must include {', '.join(columns)}, got {', '.join(fields)}. "
            "Rename the columns."
        )
    return None if missing or not columns else [fields.index(column) for column in columns]


def _row(
    fields: Sequence[str], places: Sequence[int] | None, shape: ChunkShape, number: int
) -> list[float]:
    wanted = shape.width
    if places is not None and len(fields) > max(places):
        fields = [fields[place] for place in places]
    if len(fields) != wanted:
        raise InputError(
            f"line {number} of {SOURCE} must hold {wanted} number{'s' * (wanted != 1)}, one frame, "
            f"got {len(fields)}. Correct the line."
        )
    for place, field in enumerate(fields, 1):
        if not _is_number(field):
            raise InputError(
                f"field {place} of line {number} of {SOURCE} must be a number, got {field!r}. "
                "Correct it."
            )
    return [float(field) for field in fields]


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _as_dtype(rows: list[list[float]], shape: ChunkShape) -> np.ndarray:
    array = np.array(rows)
    with np.errstate(over="ignore", invalid="ignore"):
        converted = array.astype(shape.dtype)
    if shape.dtype.kind in "iub" and not np.array_equal(converted, array):
        raise InputError(
            f"frames of {shape.spec.name} must be whole numbers that fit {shape.spec.dtype}, "
            f"got {rows}. Correct them."
        )
    return converted
