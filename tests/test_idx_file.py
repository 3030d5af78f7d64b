"""MNIST-style IDX files: read as they are, refused when broken."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from rnn_edge.errors import DataError
from rnn_edge.idx_file import read_idx, read_image_folder


def idx(array: npt.NDArray[np.uint8]) -> bytes:
    """The format as its inventors wrote it: two zeros, type, rank, big-endian sizes, data."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def numbers(*shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 10, shape, dtype=np.uint8)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_pair_is_read_gzipped_or_not(tmp_path: Path, pack: type[bytes]) -> None:
    images, labels = numbers(5, 4, 3), numbers(5)
    write(tmp_path, {"a-images": pack(idx(images)), "b-labels": pack(idx(labels))})
    parts = read_image_folder(tmp_path)
    assert list(parts) == ["train"]
    assert np.array_equal(parts["train"].images, images)
    assert np.array_equal(parts["train"].labels, labels)


@pytest.mark.parametrize("prefix", ["t10k", "test"])
def test_test_files_are_told_by_their_name(tmp_path: Path, prefix: str) -> None:
    write(
        tmp_path,
        {
            "train-images-idx3-ubyte": idx(numbers(6, 4, 3)),
            "train-labels-idx1-ubyte": idx(numbers(6)),
            f"{prefix}-images-idx3-ubyte": idx(numbers(2, 4, 3)),
            f"{prefix}-labels-idx1-ubyte": idx(numbers(2)),
        },
    )
    parts = read_image_folder(tmp_path)
    assert (len(parts["train"].labels), len(parts["test"].labels)) == (6, 2)


def test_a_file_and_its_gzipped_copy_are_one(tmp_path: Path) -> None:
    images, labels = idx(numbers(5, 4, 3)), idx(numbers(5))
    write(tmp_path, {"i": images, "i.gz": gzip.compress(images), "l": labels})
    assert len(read_image_folder(tmp_path)["train"].images) == 5


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    files = {"i": idx(numbers(5, 4, 3)), "l": idx(numbers(5)), "README.md": b"# digits"}
    (tmp_path / "folder").mkdir()
    assert len(read_image_folder(write(tmp_path, files))["train"].images) == 5


IMAGES, LABELS = idx(numbers(5, 4, 3)), idx(numbers(5))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "must hold IDX files of images and labels"),
        ({"i": IMAGES}, "must hold a file of labels for train"),
        ({"l": LABELS}, "must hold a file of images for train"),
        ({"i": IMAGES, "l": idx(numbers(4))}, "as many labels as images for train, got 4 and 5"),
        ({"i": IMAGES, "j": IMAGES, "l": LABELS}, "one file of images.*got i and j"),
        ({"i": IMAGES[:-1], "l": LABELS}, r"must have 76 bytes for its shape \[5, 4, 3\], got 75"),
        ({"i": IMAGES + b"x", "l": LABELS}, "must have 76 bytes .* got 77"),
        ({"i": IMAGES[:9], "l": LABELS}, "must have"),
        ({"i": gzip.compress(IMAGES)[:-9], "l": LABELS}, "must be a whole file"),
        ({"i": b"\x1f\x8bgarbage", "l": LABELS}, "must be a whole file"),
        ({"i": b"\0\0\x0d" + IMAGES[3:], "l": LABELS}, r"must hold uint8 numbers .* got type 0x0d"),
        ({"i": b"\0\0\x08\x03" + b"\xff" * 12, "l": LABELS}, "must have .* bytes for its shape"),
        ({"i": idx(numbers(0, 4, 3)), "l": idx(numbers(0))}, "its file is empty"),
        (
            {"train-i": IMAGES, "train-l": LABELS, "t10k-i": IMAGES},
            "must hold a file of labels for test",
        ),
    ],
)
def test_broken_folders_are_refused_in_one_line(
    tmp_path: Path, files: dict[str, bytes], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_image_folder(write(tmp_path, files))
    assert "\n" not in str(caught.value)


def test_a_place_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must be a folder that can be read"):
        read_image_folder(tmp_path / "absent")


def test_a_file_that_only_starts_like_text_is_no_idx_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\0\0\x08\0")
    assert read_idx(tmp_path / "x") is None
