"""A PNG reader on zlib and numpy: every bit depth and colour type that is not interlaced."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from rnn_edge.errors import InputError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Unfiltering is a Python loop: larger images are refused rather than read for minutes.
MOST_PIXELS = 1 << 22

_Predictor = Callable[[int, int, int], int]

_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6
_SAMPLES = {_GREY: 1, _RGB: 3, _PALETTE: 1, _GREY_ALPHA: 2, _RGBA: 4}
_DEPTHS = {
    _GREY: (1, 2, 4, 8, 16),
    _RGB: (8, 16),
    _PALETTE: (1, 2, 4, 8),
    _GREY_ALPHA: (8, 16),
    _RGBA: (8, 16),
}


@dataclass(frozen=True)
class _Header:
    width: int
    height: int
    depth: int
    colour: int

    @property
    def samples(self) -> int:
        return _SAMPLES[self.colour]

    @property
    def row_bytes(self) -> int:
        return (self.width * self.samples * self.depth + 7) // 8


def png_size(content: bytes, source: str) -> tuple[int, int]:
    """Height and width of a PNG image in pixels, read from its header alone."""
    header = _header(_chunk_map(content, source), source)
    return header.height, header.width


def read_png(content: bytes, source: str) -> np.ndarray:
    """The pixels of a PNG file: float64[height, width, 4], red, green, blue, alpha from 0 to 1.

    Raises InputError, naming ``source``, for a file that is truncated, corrupt, interlaced, of
    more than MOST_PIXELS pixels, or no PNG at all.
    """
    chunks = _chunk_map(content, source)
    header = _header(chunks, source)
    raw = _inflate(chunks.get(b"IDAT", b""), header.height * (header.row_bytes + 1), source)
    rows = raw.reshape(header.height, header.row_bytes + 1)
    step = max(1, header.samples * header.depth // 8)
    samples = _unpack(_unfilter(rows, step, source), header)
    return _to_rgba(samples, header, chunks, source)


def _chunk_map(content: bytes, source: str) -> dict[bytes, bytes]:
    """Chunk type -> data; IDAT chunks joined. Checks the CRC of every one."""
    if not content.startswith(SIGNATURE):
        raise InputError(f"{source} must be a PNG image, it is not. Convert it to PNG.")
    chunks: dict[bytes, bytes] = {}
    for kind, data in _chunks(content, source):
        chunks[kind] = chunks.get(kind, b"") + data if kind == b"IDAT" else data
    return chunks


def _chunks(content: bytes, source: str) -> Iterator[tuple[bytes, bytes]]:
    place = len(SIGNATURE)
    while True:
        if place + 12 > len(content):
            raise _damaged(source, "it ends too early")
        size, kind = struct.unpack_from(">I4s", content, place)
        end = place + 8 + size
        if end + 4 > len(content):
            raise _damaged(source, "it ends too early")
        (crc,) = struct.unpack_from(">I", content, end)
        if crc != zlib.crc32(content[place + 4 : end]):
            raise _damaged(source, f"the checksum of its {kind.decode('latin-1')!a} chunk differs")
        yield kind, content[place + 8 : end]
        if kind == b"IEND":
            return
        place = end + 4


def _header(chunks: dict[bytes, bytes], source: str) -> _Header:
    data = chunks.get(b"IHDR", b"")
    if len(data) != 13:
        raise _damaged(source, "it has no header")
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", data)
    if depth not in _DEPTHS.get(colour, ()):
        raise _damaged(source, f"its colour type is {colour} with {depth} bits")
    if interlace:
        raise InputError(
            f"{source} must not be interlaced, it is. Save it again without interlacing."
        )
    if not 0 < width * height <= MOST_PIXELS:
        raise InputError(
            f"{source} must have 1 to {MOST_PIXELS} pixels, got {width} x {height}. Resize it."
        )
    return _Header(width, height, depth, colour)


def _inflate(data: bytes, size: int, source: str) -> np.ndarray:
    try:
        raw = zlib.decompressobj().decompress(data, size)
    except zlib.error as error:
        raise _damaged(source, str(error)) from None
    if len(raw) != size:
        raise _damaged(source, f"it holds {len(raw)} of {size} bytes of pixels")
    return np.frombuffer(raw, np.uint8)


def _unfilter(rows: np.ndarray, step: int, source: str) -> np.ndarray:
    """Undo the filter that the first byte of each row names; ``step`` is the bytes of a pixel."""
    result = np.zeros((len(rows), rows.shape[1] - 1), np.uint8)
    above = np.zeros(rows.shape[1] - 1, np.uint8)
    for place, row in enumerate(rows):
        kind, data = int(row[0]), row[1:]
        if kind == 0:
            above = data
        elif kind == 1:
            above = _unfilter_sub(data, step)
        elif kind == 2:
            above = data + above
        elif kind in (3, 4):
            above = _unfilter_predicted(data, above, step, _average if kind == 3 else _paeth)
        else:
            raise _damaged(source, f"row {place} names filter {kind}")
        result[place] = above
    return result


def _unfilter_sub(data: np.ndarray, step: int) -> np.ndarray:
    padded = np.zeros(-(-len(data) // step) * step, np.uint8)
    padded[: len(data)] = data
    sums = np.cumsum(padded.reshape(-1, step), axis=0, dtype=np.uint64)
    return sums.astype(np.uint8).ravel()[: len(data)]


def _unfilter_predicted(
    data: np.ndarray, above: np.ndarray, step: int, predict: _Predictor
) -> np.ndarray:
    up = [0] * step + above.tolist()
    out = [0] * step
    for place, value in enumerate(data.tolist()):
        left, over, corner = out[place], up[place + step], up[place]
        out.append((value + predict(left, over, corner)) & 0xFF)
    return np.array(out[step:], np.uint8)


def _average(left: int, over: int, corner: int) -> int:
    return (left + over) // 2


def _paeth(left: int, over: int, corner: int) -> int:
    guess = left + over - corner
    to_left, to_over, to_corner = abs(guess - left), abs(guess - over), abs(guess - corner)
    if to_left <= to_over and to_left <= to_corner:
        return left
    return over if to_over <= to_corner else corner


def _unpack(rows: np.ndarray, header: _Header) -> np.ndarray:
    """Bytes -> samples: integers [height, width, samples]."""
    count = header.width * header.samples
    if header.depth == 16:
        samples = rows.view(">u2").astype(np.uint16)
    elif header.depth == 8:
        samples = rows
    else:
        bits = np.unpackbits(rows, axis=1).reshape(header.height, -1, header.depth)
        samples = bits @ (1 << np.arange(header.depth)[::-1])
    return samples[:, :count].reshape(header.height, header.width, header.samples)


def _to_rgba(
    samples: np.ndarray, header: _Header, chunks: dict[bytes, bytes], source: str
) -> np.ndarray:
    transparent = chunks.get(b"tRNS")
    if header.colour == _PALETTE:
        return _from_palette(samples[..., 0], chunks.get(b"PLTE", b""), transparent or b"", source)
    alpha = np.ones((header.height, header.width, 1))
    values = samples / (2**header.depth - 1)
    if header.colour in (_GREY_ALPHA, _RGBA):
        values, alpha = values[..., :-1], values[..., -1:]
    elif transparent is not None:
        if len(transparent) != 2 * header.samples:
            raise _damaged(source, "its transparent colour is malformed")
        key = np.frombuffer(transparent, ">u2")
        alpha = np.any(samples != key, axis=2, keepdims=True).astype(np.float64)
    return np.concatenate([np.broadcast_to(values, (*alpha.shape[:2], 3)), alpha], axis=2)


def _from_palette(
    indices: np.ndarray, palette: bytes, transparent: bytes, source: str
) -> np.ndarray:
    count = len(palette) // 3
    if count == 0 or len(palette) % 3 or int(indices.max()) >= count or len(transparent) > count:
        raise _damaged(source, f"its pixels name colours beyond its palette of {count}")
    table = np.ones((count, 4))
    table[:, :3] = np.frombuffer(palette, np.uint8).reshape(count, 3) / 255
    table[: len(transparent), 3] = np.frombuffer(transparent, np.uint8) / 255
    return table[indices]


def _damaged(source: str, found: str) -> InputError:
    return InputError(f"{source} must be a whole PNG image, {found}. Save or copy it again.")
