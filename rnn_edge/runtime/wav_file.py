"""PCM samples of a WAV file, chunk by chunk: as fast as they are asked for, or as they sound."""

from __future__ import annotations

import io
import time
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from rnn_edge.errors import InputError
from rnn_edge.extras import import_extra

# Samples that are read at once where nobody says: a hundredth of a second.
CHUNKS_A_SECOND = 100
_BITS = (8, 16, 24, 32)


@dataclass(frozen=True)
class WavFile:
    """What the header says; ``rate`` in frames a second, a frame has a sample of each channel."""

    path: Path
    rate: int
    channels: int
    frames: int

    @classmethod
    def open(cls, path: str | Path) -> WavFile:
        """Read the header. Raises InputError for what is not there or not PCM."""
        with _reading(str(path), str(path)) as file:
            return cls(Path(path), file.getframerate(), file.getnchannels(), file.getnframes())

    def chunks(self, size: int) -> Iterator[np.ndarray]:
        """float32[frames, channels] from -1 to 1, ``size`` frames each; the last may be fewer."""
        with _reading(str(self.path), str(self.path)) as file:
            width = file.getsampwidth()
            while content := file.readframes(size):
                whole = len(content) - len(content) % (width * self.channels)
                samples = _scaled(content[:whole], width).reshape(-1, self.channels)
                if len(samples):
                    yield samples

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

    ``source`` names it in errors. Raises InputError for what is not PCM.
    """
    with _reading(io.BytesIO(content), source) as file:
        width, channels = file.getsampwidth(), file.getnchannels()
        found = file.readframes(file.getnframes())
        whole = len(found) - len(found) % (width * channels)
        return _scaled(found[:whole], width).reshape(-1, channels), file.getframerate()


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


def _reading(file_or_path: str | BinaryIO, source: str) -> wave.Wave_read:
    try:
        file = wave.open(file_or_path, "rb")  # noqa: SIM115 (the caller closes it)
    except (wave.Error, EOFError) as error:
        found = str(error) or "its header is cut off"
        raise InputError(
            f"{source} must be a WAV file with PCM samples, got: {found}. Convert it to 16-bit PCM."
        ) from None
    except OSError as error:
        raise InputError(
            f"{source} must be a file that can be read, got: {error.strerror}. Give another file."
        ) from None
    if 8 * file.getsampwidth() not in _BITS or not file.getnframes():
        found = f"{8 * file.getsampwidth()} bits" if file.getnframes() else "none"
        file.close()
        raise InputError(
            f"{source} must hold samples of 8, 16, 24 or 32 bits, it holds {found}. Convert it."
        )
    return file


def _scaled(content: bytes, width: int) -> np.ndarray:
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
