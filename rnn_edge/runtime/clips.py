"""Moving pictures -> the frames that a graph reads: an animated file, or a folder of pictures."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rnn_edge.contract import ClipFrontEnd
from rnn_edge.errors import InputError
from rnn_edge.extras import import_extra
from rnn_edge.runtime.pictures import BROKEN, WHITE, open_picture

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")


def decode_clip(front_end: ClipFrontEnd, content: bytes, source: str) -> np.ndarray:
    """An animated GIF, PNG or WebP: float32[frames, height, width], 0 to ``maximum``.

    Colours become their brightness, and frames are scaled to the front end's size. ``source`` names
    the file in errors. Raises InputError for what is no picture.
    """
    with open_picture(io.BytesIO(content), source) as picture:
        frames = import_extra("PIL.ImageSequence").Iterator(picture)
        return _stacked(front_end, frames, source)


def read_frames(front_end: ClipFrontEnd, folder: Path) -> np.ndarray:
    """The pictures of ``folder`` in the order of their names, as ``decode_clip`` gives frames."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    if not paths:
        raise InputError(
            f"{folder} must hold pictures ({', '.join(PICTURES)}), it holds none. Give another."
        )

    def opened() -> Iterator[Any]:
        for path in paths:
            with open_picture(path, str(path)) as picture:
                yield picture

    return _stacked(front_end, opened(), str(folder))


def _stacked(front_end: ClipFrontEnd, pictures: Iterable[Any], source: str) -> np.ndarray:
    image = import_extra("PIL.Image")
    size = (front_end.width, front_end.height)
    frames = []
    try:
        for picture in pictures:
            grey = picture.convert("L")
            if grey.size != size:
                grey = grey.resize(size, image.Resampling.BILINEAR)
            frames.append(np.asarray(grey, np.float32))
    except BROKEN as error:
        raise InputError(
            f"{source} must be whole, frame {len(frames) + 1} cannot be read: {error}. Repair it."
        ) from None
    return np.stack(frames) * np.float32(front_end.maximum / WHITE)
