"""Constants as C tables: written once each, weights packed for the kernels that read them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnn_edge.c99.memory import c_type

# Output units that one pass over the inputs works on, and inputs of one round; see the kernels.
TILE = 64
ROUND = 4
# Rows of bytes that one vector holds four inputs of.
_ROWS, _QUAD = 16, 4
_A_LINE = 96


@dataclass(frozen=True)
class Table:
    name: str
    kind: str
    size: int
    text: str


class Tables:
    """The tables of one model, by content."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._names: dict[tuple[str, bytes], str] = {}
        self.tables: list[Table] = []
        self.bytes = 0

    def add(self, array: np.ndarray) -> str:
        """The name of the table with this content; C has none without elements."""
        if not array.size:
            return "NULL"
        array = np.ascontiguousarray(array)
        key = (array.dtype.name, array.tobytes())
        if key not in self._names:
            name = f"{self._prefix}_table_{len(self.tables)}"
            text = _lines([literal(value, array.dtype) for value in array.reshape(-1).tolist()])
            self.tables.append(Table(name, c_type(array.dtype), array.size, text))
            self.bytes += array.nbytes
            self._names[key] = name
        return self._names[key]


def packed(weight: np.ndarray) -> np.ndarray:
    """weight[outputs, inputs] as the product reads it: a tile of outputs, its inputs in order."""
    outputs = weight.shape[0]
    tiles = [weight[start : start + TILE].T.reshape(-1) for start in range(0, outputs, TILE)]
    return np.concatenate(tiles) if tiles else weight.reshape(-1)


def quantised(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(int8 rows, float32 scale of each row): the row is about its scale times its integers."""
    largest = np.abs(weight).max(axis=1)
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    rows = np.rint(weight / scale[:, None]).clip(-127, 127).astype(np.int8)
    return rows, scale


def tiles_of_bytes(rows: np.ndarray, scale: np.ndarray) -> list[np.ndarray]:
    """(tiles, scales, sums) of int8 ``rows``: 16 rows a tile, 4 inputs of each after the other.

    Rows and inputs are filled up with zeros; the sums are those of each row's weights.
    """
    outputs, inputs = rows.shape
    whole = np.zeros((-(-outputs // _ROWS) * _ROWS, -(-inputs // _QUAD) * _QUAD), np.int8)
    whole[:outputs, :inputs] = rows
    tiles = whole.reshape(-1, _ROWS, whole.shape[1] // _QUAD, _QUAD).transpose(0, 2, 1, 3)
    scales = np.zeros(len(whole), np.float32)
    scales[:outputs] = scale
    return [np.ascontiguousarray(tiles), scales, whole.sum(1, dtype=np.int32)]


def literal(value: float | int | bool, dtype: np.dtype) -> str:
    """A number as C writes it, exactly."""
    if dtype.kind == "f":
        return _float_literal(float(value), dtype)
    if dtype.kind == "b":
        return "true" if value else "false"
    if dtype == np.int64:
        if value == np.iinfo(np.int64).min:
            return "INT64_MIN"
        return f"INT64_C({value})" if abs(int(value)) >= 2**31 else str(value)
    return str(value)


def _float_literal(value: float, dtype: np.dtype) -> str:
    if value != value:
        return "NAN"
    if value in (float("inf"), float("-inf")):
        return "INFINITY" if value > 0 else "-INFINITY"
    single = dtype.itemsize < 8
    text = f"{value:.9g}" if single else repr(value)
    if not any(mark in text for mark in ".e"):
        text += ".0"
    return text + "f" if single else text


def _lines(items: list[str]) -> str:
    """Items with commas between them, in lines of a readable length."""
    lines: list[str] = []
    line: list[str] = []
    length = 0
    for item in items:
        if length + len(item) > _A_LINE:
            lines.append(", ".join(line))
            line, length = [], 0
        line.append(item)
        length += len(item) + 2
    lines.append(", ".join(line))
    return ",\n    ".join(lines)
