import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from rnn_edge.errors import InputError
from rnn_edge.runtime.png import SIGNATURE, png_size, read_png

COLOURS = {"grey": (0, 1), "rgb": (2, 3), "palette": (3, 1), "grey-alpha": (4, 2), "rgba": (6, 4)}
FORMATS = [
    (name, depth)
    for name, depths in {
        "grey": (1, 2, 4, 8, 16),
        "rgb": (8, 16),
        "palette": (1, 2, 4, 8),
        "grey-alpha": (8, 16),
        "rgba": (8, 16),
    }.items()
    for depth in depths
]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width: int, height: int, depth: int, colour: int, interlace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


def encode(kind: str, depth: int, rows: np.ndarray, extra: bytes = b"") -> bytes:
    """A PNG of packed rows uint8[height, row_bytes], all five filters in turn."""
    colour, samples = COLOURS[kind]
    width = rows.shape[1] * 8 // (samples * depth)
    step = max(1, samples * depth // 8)
    raw = b"".join(
        bytes([place % 5]) + filtered(place % 5, row, rows[place - 1] if place else 0 * row, step)
        for place, row in enumerate(rows)
    )
    body = zlib.compress(raw)
    parts = chunk(b"IDAT", body[:7]) + chunk(b"IDAT", body[7:])
    return SIGNATURE + header(width, len(rows), depth, colour) + extra + parts + chunk(b"IEND", b"")


def filtered(kind: int, row: np.ndarray, above: np.ndarray, step: int) -> bytes:
    """The PNG specification's filters, byte by byte."""
    out = bytearray()
    for place, value in enumerate(row.tolist()):
        a = int(row[place - step]) if place >= step else 0
        b = int(above[place])
        c = int(above[place - step]) if place >= step else 0
        p = a + b - c
        near = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
        out.append((value - (0, a, b, (a + b) // 2, near)[kind]) % 256)
    return bytes(out)


def with_pillow(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGBA")) / 255


def random_rows(kind: str, depth: int, height: int = 11, width: int = 16) -> np.ndarray:
    size = width * COLOURS[kind][1] * depth // 8
    return np.random.default_rng(depth).integers(0, 256, (height, size), np.uint8)


def palette(count: int, alphas: bytes = b"") -> bytes:
    colours = np.random.default_rng(1).integers(0, 256, 3 * count, np.uint8).tobytes()
    return chunk(b"PLTE", colours) + (chunk(b"tRNS", alphas) if alphas else b"")


@pytest.mark.parametrize(("kind", "depth"), FORMATS)
def test_every_format_with_every_filter_reads_as_pillow_reads_it(kind, depth):
    extra = palette(2**depth, b"\x00\x80") if kind == "palette" else b""
    content = encode(kind, depth, random_rows(kind, depth), extra)
    ours = read_png(content, "x")
    if depth == 16 and kind == "grey":
        # Pillow keeps 16-bit grey as it is, and clips it when it converts.
        theirs = np.asarray(Image.open(io.BytesIO(content))) / 65535
        np.testing.assert_allclose(ours[..., 0], theirs, atol=1e-9)
        return
    # Pillow cuts 16 bits to 8.
    np.testing.assert_allclose(ours, with_pillow(content), atol=1 / 255 if depth == 16 else 1e-9)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_files_that_pillow_writes_are_read(mode):
    pixels = np.random.default_rng(2).integers(0, 256, (9, 13, 4), np.uint8)
    image = Image.fromarray(pixels, "RGBA").convert(mode)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    np.testing.assert_allclose(read_png(stream.getvalue(), "x"), with_pillow(stream.getvalue()))


@pytest.mark.parametrize("width", [1, 3, 7, 9])
def test_a_width_that_does_not_fill_its_last_byte_is_read(width):
    pixels = np.random.default_rng(3).integers(0, 2, (5, width)).astype(bool)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    np.testing.assert_array_equal(read_png(stream.getvalue(), "x")[..., 0], pixels)


def test_a_transparent_colour_becomes_alpha_0():
    rows = np.array([[7, 8], [8, 9]], np.uint8)
    content = encode("grey", 8, rows, chunk(b"tRNS", struct.pack(">H", 8)))
    np.testing.assert_array_equal(read_png(content, "x")[..., 3], [[1, 0], [0, 1]])


def test_the_size_is_read_without_the_pixels():
    assert png_size(encode("grey", 8, random_rows("grey", 8, 11, 16)), "x") == (11, 16)


GOOD = encode("grey", 8, random_rows("grey", 8))


@pytest.mark.parametrize("cut", [0, 5, 20, 40, len(GOOD) // 2, len(GOOD) - 20, len(GOOD) - 1])
def test_a_truncated_file_is_refused(cut):
    with pytest.raises(InputError, match=r"must be a (whole )?PNG image"):
        read_png(GOOD[:cut], "x")


def test_every_changed_byte_is_noticed():
    for place in range(len(GOOD)):
        broken = bytearray(GOOD)
        broken[place] ^= 0x10
        with pytest.raises(InputError):
            read_png(bytes(broken), "x")


def build(head: bytes, raw: bytes, extra: bytes = b"") -> bytes:
    return SIGNATURE + head + extra + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xd8\xff\xe0 a JPEG", "x must be a PNG image, it is not"),
        (build(header(2, 1, 8, 0, interlace=1), b"\0\0\0"), "x must not be interlaced"),
        (build(header(1 << 20, 1 << 20, 8, 0), b""), "must have 1 to"),
        (build(header(0, 1, 8, 0), b""), "must have 1 to"),
        (build(header(2, 1, 3, 0), b"\0\0\0"), "its colour type is 0 with 3 bits"),
        (build(header(2, 1, 8, 5), b"\0\0\0"), "its colour type is 5 with 8 bits"),
        (build(header(2, 2, 8, 0), b"\0\0\0"), "it holds 3 of 6 bytes of pixels"),
        (build(header(2, 1, 8, 0), b"\x05\0\0"), "row 0 names filter 5"),
        (build(header(2, 1, 8, 3), b"\0\0\3", palette(2)), "beyond its palette of 2"),
        (build(header(2, 1, 8, 3), b"\0\0\0"), "beyond its palette of 0"),
        (SIGNATURE + chunk(b"IEND", b""), "it has no header"),
        (
            SIGNATURE + header(2, 1, 8, 0) + chunk(b"IDAT", b"no zlib") + chunk(b"IEND", b""),
            "Error",
        ),
    ],
)
def test_what_is_wrong_is_named(content, message):
    with pytest.raises(InputError, match=message):
        read_png(content, "x")
