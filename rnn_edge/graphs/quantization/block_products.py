"""Products with int8 weights in blocks of one scale each: ONNX Runtime's MatMulNBits."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from rnn_edge.graphs.writing import Writer

DOMAIN = "com.microsoft"

#: What the kernel takes, and how long a product takes with blocks of that size.
_BLOCKS = {256: 1.0, 128: 1.04, 64: 1.22, 32: 1.42}
#: Largest blocks that are worth it to be shared by one kind of numbers.
_LEAST_BLOCK = 64
# The weights are stored with 128 added; the sums of products are of int8 by int8.
_ZERO, _LARGEST = 128, 127
_INT8_ACTIVATIONS = 4


def write_product(
    writer: Writer, frames: ir.Value, weights: np.ndarray, bias: np.ndarray | None = None
) -> ir.Value:
    """``frames`` [..., columns] times float32 ``weights`` [rows, columns], transposed.

    A row of ``frames`` gets int8 and a scale for each block of its own: no other row changes its
    answer, and whatever runs the file computes so, without an option of the session.
    """
    rows, columns = weights.shape
    block = _choose_block(columns)
    whole, scales = _quantize(weights, block)
    inputs: list[ir.Value | None] = [
        frames, writer.constant(whole, np.uint8), writer.constant(scales, np.float32),
    ]  # fmt: skip
    if bias is not None and bias.any():
        inputs += [None, None, writer.constant(bias, np.float32)]
    attributes = {
        "K": columns, "N": rows, "bits": 8, "block_size": block,
        "accuracy_level": _INT8_ACTIVATIONS,
    }  # fmt: skip
    return writer.ops("MatMulNBits", inputs, 1, attributes, DOMAIN)[0]


def blocks_end_at(columns: int) -> bool:
    """Whether blocks can end there, so that no scale is shared by what stands on both sides."""
    return columns % _LEAST_BLOCK == 0


def import_products(model: ir.Model) -> None:
    """Say that ``model`` uses the kernel."""
    model.graph.opset_imports[DOMAIN] = model.opset_imports[DOMAIN] = 1


def _choose_block(columns: int) -> int:
    return min(_BLOCKS, key=lambda size: math.ceil(columns / size) * size * _BLOCKS[size])


def _quantize(weights: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8[rows, blocks, block] with 0 at 128, and a scale a block."""
    rows, columns = weights.shape
    blocks = math.ceil(columns / block)
    padded = np.zeros((rows, blocks * block), np.float32)
    padded[:, :columns] = weights
    parts = padded.reshape(rows, blocks, block)
    largest = np.abs(parts).max(axis=2)
    scales = (np.where(largest > 0, largest, 1) / _LARGEST).astype(np.float32)
    whole = np.clip(np.rint(parts / scales[:, :, None]), -_LARGEST, _LARGEST)
    return (whole + _ZERO).astype(np.uint8), scales
