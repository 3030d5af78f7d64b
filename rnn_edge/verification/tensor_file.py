"""Read one ONNX TensorProto file (``input_0.pb``) with numpy alone.

A device that has only onnxruntime must be able to replay golden data, and the onnx package is not
small. Only what `rnn-edge export` writes is read: dims, data_type, name, raw_data and
string_data.
Format: the protobuf wire format, and TensorProto in onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rnn_edge.errors import BundleError

# TensorProto.DataType
_DTYPES = {
    1: "<f4", 2: "u1", 3: "i1", 4: "<u2", 5: "<i2", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2",
    11: "<f8", 12: "<u4", 13: "<u8",
}  # fmt: skip
_STRING = 8
_DIMS, _DATA_TYPE, _STRINGS, _NAME, _RAW_DATA = 1, 2, 6, 8, 9
_VARINT, _BYTES = 0, 2


def read_tensor_file(path: Path) -> tuple[str, np.ndarray]:
    """(name, array) of a tensor file. Raises BundleError."""
    try:
        return _read_tensor(path.read_bytes())
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise BundleError(
            f"{path} must be an ONNX tensor file with raw data, it cannot be read "
            f"({type(error).__name__}). Copy or export the bundle again."
        ) from None


def _read_tensor(data: bytes) -> tuple[str, np.ndarray]:
    dims: list[int] = []
    data_type, name, raw = 0, "", b""
    texts: list[str] = []
    for field, value in _read_fields(data):
        if field == _DIMS:
            dims.extend(_read_varints(value) if isinstance(value, bytes) else [value])
        elif field == _DATA_TYPE and isinstance(value, int):
            data_type = value
        elif field == _NAME and isinstance(value, bytes):
            name = value.decode()
        elif field == _STRINGS and isinstance(value, bytes):
            texts.append(value.decode())
        elif field == _RAW_DATA and isinstance(value, bytes):
            raw = value
    if data_type == _STRING:
        return name, np.array(texts, object).reshape(dims)
    return name, np.frombuffer(raw, _DTYPES[data_type]).reshape(dims)


def _read_fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    position = 0
    while position < len(data):
        key, position = _read_varint(data, position)
        field, wire_type = key >> 3, key & 7
        if wire_type == _VARINT:
            number, position = _read_varint(data, position)
            yield field, number
        elif wire_type == _BYTES:
            length, position = _read_varint(data, position)
            if position + length > len(data):
                raise ValueError("truncated")
            yield field, data[position : position + length]
            position += length
        else:
            raise ValueError(f"wire type {wire_type}")


def _read_varints(data: bytes) -> list[int]:
    numbers, position = [], 0
    while position < len(data):
        number, position = _read_varint(data, position)
        numbers.append(number)
    return numbers


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
        shift += 7
