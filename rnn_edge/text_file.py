"""Text files and CSV tables as people have them, read strictly: a fault names its line.

A byte-order mark and CRLF line ends are fine and leave no trace.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rnn_edge.errors import DataError


@dataclass(frozen=True)
class Row:
    """One record of a CSV file; ``line`` is where it ends in the file, counted from 1."""

    line: int
    fields: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A CSV file with a header: every row has as many fields as there are ``columns``."""

    source: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def index(self, column: str, option: str) -> int:
        """The place of ``column``; ``option`` is the command-line flag that selects another."""
        if column not in self.columns:
            raise DataError(
                f"columns of {self.source} must include {column!r}, "
                f"got {', '.join(self.columns)}. Choose one of them with {option}."
            )
        return self.columns.index(column)


def read_text(path: str | Path) -> str:
    """The text of a UTF-8 file, line ends as ``\\n``, without byte-order mark.

    Raises DataError when the file cannot be read, is empty or is not UTF-8.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} must be a file that can be read, got: {error.strerror}. Give another file."
        ) from None
    return decode_text(content, str(path))


def decode_text(content: bytes, source: str) -> str:
    """As read_text, for bytes that are already there; ``source`` names them in errors."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # error.start counts within error.object, which lacks the byte-order mark.
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{source} must be UTF-8, got byte 0x{error.object[error.start]:02x} in line {line}. "
            "Convert the file to UTF-8."
        ) from None
    if not text:
        raise DataError(f"{source} must hold text, it is empty. Give another file.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def parse_table(text: str, source: str) -> Table:
    """Split CSV ``text`` into a header and rows; blank lines are skipped.

    Raises DataError for a header alone, ragged rows, and quotes that do not close.
    """
    records = _records(text, source)
    header = next(records, None)
    if header is None:
        raise DataError(f"{source} must hold a CSV table, it is blank. Give another file.")
    rows = tuple(records)
    if not rows:
        raise DataError(f"{source} must hold rows under its header, it has none. Add data.")
    for row in rows:
        if len(row.fields) != len(header.fields):
            raise DataError(
                f"rows of {source} must have {len(header.fields)} fields like the header, "
                f"got {len(row.fields)} in line {row.line}. "
                "Correct the line; text that holds a comma must stand in quotes."
            )
    return Table(source, tuple(name.strip() for name in header.fields), rows)


def _records(text: str, source: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for fields in reader:
            if fields:
                yield Row(reader.line_num, tuple(fields))
    except csv.Error as error:
        raise DataError(
            f"{source} must be a CSV table, got in line {reader.line_num}: {error}. "
            "Correct the line."
        ) from None
