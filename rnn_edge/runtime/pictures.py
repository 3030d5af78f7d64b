"""Pictures in colour -> what a graph reads."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np

from rnn_edge.errors import InputError
from rnn_edge.extras import import_extra
from rnn_edge.kinds import PictureFrontEnd

# What Pillow raises for files that are cut off or damaged.
BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error)
WHITE = 255.0


def decode_picture(front_end: PictureFrontEnd, content: bytes, source: str) -> np.ndarray:
    """A PNG, JPEG, BMP or GIF, its first frame: float32[3, height, width], 0 to ``maximum``.

    What is transparent shows white; other sizes are scaled. ``source`` names the file in errors.
    Raises InputError for what is no whole picture.
    """
    image = import_extra("PIL.Image")
    size = (front_end.width, front_end.height)
    with open_picture(io.BytesIO(content), source) as picture:
        try:
            seen = picture.convert("RGBA")
        except BROKEN as error:
            raise InputError(
                f"{source} must be whole, it cannot be read: {error}. Repair it."
            ) from None
    flat = image.new("RGBA", seen.size, "white")
    flat.alpha_composite(seen)
    colours = flat.convert("RGB")
    if colours.size != size:
        colours = colours.resize(size, image.Resampling.BILINEAR)
    pixels = np.moveaxis(np.asarray(colours, np.float32), 2, 0)
    return np.ascontiguousarray(pixels * np.float32(front_end.maximum / WHITE))


def open_picture(file: io.BytesIO | Path, source: str) -> Any:
    """Pillow's picture, its pixels not read yet. Raises InputError for what is none."""
    try:
        return import_extra("PIL.Image").open(file)
    except BROKEN as error:
        reason = "it is none" if isinstance(file, io.BytesIO) else f"got: {error}"
        raise InputError(
            f"{source} must be a picture that can be read, {reason}. Give another file."
        ) from None
