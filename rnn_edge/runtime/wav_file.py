"""Samples of a WAV file, chunk by chunk: as fast as they are asked for, or as they sound."""

from __future__ import annotations

import io
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from rnn_edge.errors import InputError
from rnn_edge.extras import import_extra

# Samples that are read at once where nobody says: a hundredth of a second.
CHUNKS_A_SECOND = 100
_INTEGERS, _FLOATS, _EXTENSIBLE = 1, 3, 0xFFFE
_BITS = {_INTEGERS: (8, 16, 24, 32), _FLOATS: (32, 64)}
# What follows the format in the identifier that an extensible header has in its place.
_KNOWN = bytes.fromhex("000000001000800000aa00389b71")


@dataclass(frozen=True)
class WavHead:
    """What the samples are, ``width`` bytes each, and where those of all channels stand."""

    rate: int
    channels: int
    width: int
    is_float: bool
    start: int = 0
    frames: int = 0

    def read(self, file: BinaryIO, first: int, count: int, source: str) -> np.ndarray:
        """float32[frames, channels] from -1 to 1, ``count`` frames at most from ``first`` on."""
        each = self.width * self.channels
        file.seek(self.start + first * each)
        content = file.read(min(count, self.frames - first) * each)
        samples = _scaled(content, self.width, self.is_float).reshape(-1, self.channels)
        if self.is_float and not np.isfinite(samples).all():
            step = first + int(np.argwhere(~np.isfinite(samples))[0, 0])
            raise InputError(
                f"{source} must hold finite samples, sample {step} is not. Give another file."
            )
        return samples


@dataclass(frozen=True)
class WavFile:
    """What the header says; ``rate`` in frames a second, a frame has a sample of each channel."""

    path: Path
    head: WavHead

    @classmethod
    def open(cls, path: str | Path) -> WavFile:
        """Read the header. Raises InputError for what is not there or has no samples."""
        with _opened(path) as file:
            return cls(Path(path), _read_head(file, str(path)))

    @property
    def rate(self) -> int:
        return self.head.rate

    @property
    def channels(self) -> int:
        return self.head.channels

    @property
    def frames(self) -> int:
        return self.head.frames

    def chunks(self, size: int) -> Iterator[np.ndarray]:
        """float32[frames, channels] from -1 to 1, ``size`` frames each; the last may be fewer."""
        with _opened(self.path) as file:
            for first in range(0, self.head.frames, size):
                yield self.head.read(file, first, size, str(self.path))

    def paced(self, size: int) -> Iterator[np.ndarray]:
        """As ``chunks``, each when a microphone would have given its last sample."""
        start, heard = time.monotonic(), 0
        for chunk in self.chunks(size):
            heard += len(chunk)
            wait = start + heard / self.rate - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            yield chunk


def decode_wav(content: bytes, source: str) -> tuple[np.ndarray, int]:
    """All samples of a WAV file, float32[frames, channels] from -1 to 1, and their rate.

    ``source`` names it in errors. Raises InputError for what has no such samples.
    """
    file = io.BytesIO(content)
    head = _read_head(file, source)
    return head.read(file, 0, head.frames, source), head.rate


def resample(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """float32[frames] or [frames, channels] of ``rate`` at ``wanted`` samples a second."""
    if rate == wanted:
        return samples
    found: np.ndarray = import_extra("soxr").resample(samples, rate, wanted)
    return found


def resampled(chunks: Iterator[np.ndarray], rate: int, wanted: int) -> Iterator[np.ndarray]:
    """float32[frames, 1] as it comes, at ``wanted`` samples a second."""
    stream = import_extra("soxr").ResampleStream(rate, wanted, 1, dtype="float32")
    for chunk in chunks:
        yield stream.resample_chunk(np.ascontiguousarray(chunk, np.float32))
    yield stream.resample_chunk(np.zeros((0, 1), np.float32), last=True)


def _opened(path: str | Path) -> BinaryIO:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise InputError(
            f"{path} must be a file that can be read, got: {error.strerror}. Give another file."
        ) from None


def _read_head(file: BinaryIO, source: str) -> WavHead:
    """The header before the samples. Raises InputError for what is none, and for no samples."""
    head: WavHead | None = None
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    riff = file.read(12)
    if riff and not (riff.startswith(b"RIFF") and riff.endswith(b"WAVE")):
        raise _no_wav(source, "file does not start with RIFF and WAVE")
    while len(chunk := file.read(8)) == 8:
        name, length = struct.unpack("<4sI", chunk)
        place = file.tell()
        if name == b"fmt ":
            head = _read_format(file.read(min(length, 40)), source)
        if name == b"data" and head is not None:
            # Who wrote to a pipe could not know the length.
            frames = min(length, size - place) // (head.width * head.channels)
            if not frames:
                raise InputError(f"{source} must hold samples, it holds none. Give another file.")
            return WavHead(head.rate, head.channels, head.width, head.is_float, place, frames)
        file.seek(place + length + length % 2)
    raise _no_wav(source, "its header is cut off")


def _read_format(content: bytes, source: str) -> WavHead:
    """What "fmt " says of samples; their place is not known yet."""
    if len(content) < 16:
        raise _no_wav(source, "its header is cut off")
    kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", content[:16])
    if kind == _EXTENSIBLE and content[26:] == _KNOWN:
        kind = int.from_bytes(content[24:26], "little")
    if 8 * ((bits + 7) // 8) not in _BITS.get(kind, ()):
        raise _no_wav(source, f"format {kind} of {bits} bits")
    if not channels or not rate:
        raise _no_wav(source, f"{channels} channels of {rate} samples a second")
    return WavHead(rate, channels, (bits + 7) // 8, kind == _FLOATS)


def _no_wav(source: str, found: str) -> InputError:
    return InputError(
        f"{source} must be a WAV file with PCM samples, integers or floats, got: {found}. "
        "Convert it to 16-bit PCM."
    )


def _scaled(content: bytes, width: int, is_float: bool) -> np.ndarray:
    if is_float:
        with np.errstate(over="ignore"):
            return np.frombuffer(content, f"<f{width}").astype(np.float32)
    if width == 1:
        return (np.frombuffer(content, np.uint8).astype(np.float32) - 128) / 128
    if width == 3:
        parts = np.frombuffer(content, np.uint8).reshape(-1, 3)
        # The three bytes stand in the upper part of four, so that the sign is theirs.
        wide = np.zeros((len(parts), 4), np.uint8)
        wide[:, 1:] = parts
        return (wide.view("<i4")[:, 0] / 2**31).astype(np.float32)
    numbers = np.frombuffer(content, f"<i{width}")
    return (numbers / 2.0 ** (8 * width - 1)).astype(np.float32)
