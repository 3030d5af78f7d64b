"""What a person has -> the sequence that a graph reads: text, rows of numbers, images,
sound.

A sequence is one sample without its batch axis: int64[time] for characters, float32[time, columns]
for numbers, float32[height, width] for an image, float32[samples] for sound. Padding and batching
come later.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np

from rnn_edge.contract import (
    AudioFrontEnd,
    ByteFrontEnd,
    CharacterFrontEnd,
    ImageFrontEnd,
    SeriesFrontEnd,
)
from rnn_edge.errors import InputError
from rnn_edge.runtime.png import png_size, read_png
from rnn_edge.runtime.wav_file import decode_wav, resample

# ITU-R BT.601: the weights of red, green and blue in the brightness of a pixel.
_LUMA = np.array([0.299, 0.587, 0.114])
_LARGEST = float(np.finfo(np.float32).max)


def text_ids(front_end: CharacterFrontEnd | ByteFrontEnd, text: str, source: str) -> np.ndarray:
    """The ids of ``text``: int64[characters], or int64[bytes]."""
    if isinstance(front_end, CharacterFrontEnd):
        return characters(front_end, text, source)
    if not text:
        raise InputError(f"{source} must hold at least one byte, got none. Give a text.")
    return np.frombuffer(text.encode(), np.uint8).astype(np.int64) + front_end.offset


def characters(front_end: CharacterFrontEnd, text: str, source: str) -> np.ndarray:
    """The ids of ``text``: int64[characters].

    A character not in the vocabulary is ``unknown``.
    """
    if not text:
        raise InputError(f"{source} must hold at least one character, got none. Give a text.")
    ids = {entry: place for place, entry in enumerate(front_end.vocabulary)}
    return np.array([ids.get(character, front_end.unknown) for character in text], np.int64)


def numbers(front_end: SeriesFrontEnd, text: str, source: str) -> np.ndarray:
    """One sequence of a single column, written in a line: ``"1 2 3"`` or ``"1, 2, 3"``."""
    if len(front_end.columns) != 1:
        raise InputError(
            f"{source} must be a CSV file with the columns {', '.join(front_end.columns)}, "
            "got one line of numbers. Give a file with one row for each step."
        )
    fields = text.replace(",", " ").replace(";", " ").split()
    if not fields:
        raise InputError(f"{source} must hold numbers, got none. Give some.")
    return np.array([[_number(field, source)] for field in fields], np.float32)


def table(front_end: SeriesFrontEnd, text: str, source: str) -> np.ndarray:
    """A CSV text: float32[rows, columns], the columns in the front end's order.

    With a header line the front end's columns are picked by name, and there may be others; without
    one, or when both have a single column, the columns must be exactly those. Raises InputError
    naming the line for ragged rows and for fields that are not finite numbers.
    """
    records = _records(text, source)
    width = len(records[0][1])
    for line, fields in records:
        if len(fields) != width:
            raise InputError(
                f"rows of {source} must have {width} fields like the first, "
                f"got {len(fields)} in line {line}. Correct the line."
            )
    header = None if all(map(_is_number, records[0][1])) else records.pop(0)[1]
    if not records:
        raise InputError(f"{source} must hold rows under its header, it has none. Add data.")
    places = _column_places(front_end.columns, header, width, source)
    rows = [
        [_number(fields[place], f"{source}, line {line}, field {place + 1},") for place in places]
        for line, fields in records
    ]
    return np.array(rows, np.float32)


def image(
    front_end: ImageFrontEnd, content: bytes, source: str, invert: bool = False
) -> np.ndarray:
    """A PNG file: float32[height, width], brightness from 0 (black) to ``front_end.maximum``.

    Colours become their brightness, transparent parts black. ``invert`` is for dark strokes on
    light ground; nothing guesses that.
    """
    height, width = png_size(content, source)
    if (height, width) != (front_end.height, front_end.width):
        raise InputError(
            f"{source} must be {front_end.width} x {front_end.height} pixels, "
            f"got {width} x {height}. Crop or resize it."
        )
    pixels = read_png(content, source)
    grey = pixels[..., :3] @ _LUMA * pixels[..., 3]
    if invert:
        grey = 1 - grey
    return np.asarray(grey * front_end.maximum, np.float32)


def audio(front_end: AudioFrontEnd, content: bytes, source: str) -> tuple[np.ndarray, int]:
    """A WAV file: float32[samples] at the front end's rate, and how many channels it had.

    Several channels are mixed down to one, and other rates are resampled.
    """
    samples, rate = decode_wav(content, source)
    mixed = np.ascontiguousarray(samples.mean(axis=1, dtype=np.float32))
    sound = resample(mixed, rate, front_end.rate)
    if not len(sound):
        raise InputError(f"{source} must hold samples, it holds none. Give another file.")
    return sound, samples.shape[1]


def _records(text: str, source: str) -> list[tuple[int, list[str]]]:
    """The rows of a CSV text with their line numbers; blank lines are skipped."""
    first = text.lstrip("\n").partition("\n")[0]
    delimiter = next((mark for mark in "\t;" if mark in first), ",")
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        records = [(reader.line_num, [field.strip() for field in row]) for row in reader if row]
    except csv.Error as error:
        raise InputError(
            f"{source} must be a CSV table, got in line {reader.line_num}: {error}. "
            "Correct the line."
        ) from None
    if not records:
        raise InputError(f"{source} must hold numbers, it is blank. Give another file.")
    return records


def _column_places(
    columns: Sequence[str], header: list[str] | None, width: int, source: str
) -> list[int]:
    if header is None:
        if width != len(columns):
            raise InputError(
                f"{source} must have {len(columns)} columns ({', '.join(columns)}), got {width}. "
                "Add a header line that names them, or remove the others."
            )
        return list(range(width))
    missing = [column for column in columns if column not in header]
    if not missing:
        return [header.index(column) for column in columns]
    if width == len(columns) == 1:
        return [0]
    raise InputError(
        f"columns of {source} must include {', '.join(columns)}, got {', '.join(header)}. "
        "Rename the columns."
    )


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _number(field: str, where: str) -> float:
    if not _is_number(field):
        found = repr(field) if field else "nothing"
        raise InputError(f"{where} must be a number, got {found}. Correct it.")
    value = float(field)
    if not abs(value) <= _LARGEST:
        raise InputError(
            f"{where} must be a finite number of at most 3.4e+38, got {field}. "
            "Remove or fill the gap."
        )
    return value
