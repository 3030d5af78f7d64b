"""MNIST-style IDX files, gzipped or not: a folder of images and labels as arrays."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from rnn_edge.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"
UINT8 = 0x08
IMAGE_DIMS, LABEL_DIMS = 3, 1

Part = Literal["train", "test"]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class LabelledImages:
    """``images`` uint8[count, height, width] with ``labels`` uint8[count]."""

    images: Bytes
    labels: Bytes


def read_image_folder(folder: str | Path) -> dict[Part, LabelledImages]:
    """What a folder of IDX files holds: "train", and "test" if the names tell the two apart.

    Images and labels are told by the files' own headers; files of other kinds are passed over.
    Names that start with "train" or with "t10k" or "test" are the two parts. Raises DataError.
    """
    folder = Path(folder)
    found: dict[tuple[Part, int], tuple[Path, Bytes]] = {}
    for path in _files(folder):
        array = read_idx(path)
        if array is None or array.ndim not in (IMAGE_DIMS, LABEL_DIMS):
            continue
        key = (_part(path), array.ndim)
        if key in found and found[key][0].name.removesuffix(".gz") != path.name.removesuffix(".gz"):
            raise DataError(
                f"{folder} must hold one file of {_what(array.ndim)} for each of train and test, "
                f"got {found[key][0].name} and {path.name}. Remove one."
            )
        found[key] = (path, array)
    parts: tuple[Part, ...] = ("train", "test")
    present = [part for part in parts if any(key[0] == part for key in found)]
    if "train" not in present:
        raise DataError(
            f"{folder} must hold IDX files of images and labels to train on, it has none. "
            "Give a folder with MNIST's files, gzipped or not."
        )
    return {part: _pair(folder, part, found) for part in present}


def read_idx(path: Path) -> Bytes | None:
    """The uint8 array of an IDX file; None if the file is something else.

    Raises DataError for an IDX file that is cut short, too long or of other numbers than uint8.
    """
    try:
        content = path.read_bytes()
        if content.startswith(GZIP_MAGIC):
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path} must be a whole file that can be read, got: {error}. Copy it again."
        ) from None
    if len(content) < 4 or content[:2] != b"\0\0" or content[3] == 0:
        return None
    if content[2] != UINT8:
        raise DataError(
            f"{path} must hold uint8 numbers (type 0x08), got type 0x{content[2]:02x}. Convert it."
        )
    start = 4 + 4 * content[3]
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    expected = start + int(np.prod(shape, dtype=object))
    if len(content) != expected:
        raise DataError(
            f"{path} must have {expected} bytes for its shape {shape}, got {len(content)}. "
            "Copy it again."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _files(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise DataError(
            f"{folder} must be a folder that can be read, got: {error.strerror}. "
            "Give a folder with IDX files."
        ) from None


def _part(path: Path) -> Part:
    return "test" if path.name.lower().startswith(("t10k", "test")) else "train"


def _pair(
    folder: Path, part: Part, found: dict[tuple[Part, int], tuple[Path, Bytes]]
) -> LabelledImages:
    for dims in (IMAGE_DIMS, LABEL_DIMS):
        if (part, dims) not in found:
            raise DataError(
                f"{folder} must hold a file of {_what(dims)} for {part}, it has none. Add it."
            )
    images, labels = found[part, IMAGE_DIMS][1], found[part, LABEL_DIMS][1]
    if len(images) != len(labels):
        raise DataError(
            f"{folder} must hold as many labels as images for {part}, "
            f"got {len(labels)} and {len(images)}. Copy the files again."
        )
    if images.size == 0:
        raise DataError(f"{folder} must hold images for {part}, its file is empty. Add images.")
    return LabelledImages(images, labels)


def _what(dims: int) -> str:
    return "images" if dims == IMAGE_DIMS else "labels"
