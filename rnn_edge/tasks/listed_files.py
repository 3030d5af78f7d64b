"""What tasks have in common whose data are files, and a TSV file of what they show or say."""

from __future__ import annotations

from pathlib import Path

from rnn_edge.errors import DataError
from rnn_edge.text_file import read_text


def listed_files(path: Path, folder: Path) -> list[tuple[Path, str]]:
    """The files and texts of a TSV file; paths start at ``folder``. Raises DataError."""
    found = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        name, tab, text = line.partition("\t")
        if not tab or not text.strip():
            raise DataError(
                f"{path} must hold a file, a tab and a text in every line, got {line!r} in line "
                f"{number}. Correct it."
            )
        file = folder / name.strip()
        if not file.is_file():
            raise DataError(
                f"{path} must name files that are there, {file} of line {number} is not. "
                "Correct the name."
            )
        found.append((file, text.strip()))
    if not found:
        raise DataError(f"{path} must name files, it names none. Fill it.")
    return found


def content_of(path: Path) -> bytes:
    """The bytes of a file of a data set. Raises DataError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} must be a file that can be read, got: {error.strerror}. Correct it."
        ) from None
