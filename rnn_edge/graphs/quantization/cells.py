"""One step of RNN, GRU and LSTM as nodes, its products by int8 weights.

Frames and states are [..., features] and [..., hidden].
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from rnn_edge.graphs.quantization.block_products import blocks_end_at, write_product
from rnn_edge.graphs.quantization.layer_weights import LayerWeights
from rnn_edge.graphs.writing import Writer

# Fewer features than this would lose more by a scale than their products take in float32.
_FEW_FEATURES = 32


def write_step(
    writer: Writer, layer: LayerWeights, frame: ir.Value, states: list[ir.Value]
) -> list[ir.Value]:
    """The states after ``frame``: h, and for an LSTM c."""
    if layer.kind == "LSTM":
        return _write_lstm(writer, layer, frame, *states)
    write = _write_gru if layer.kind == "GRU" else _write_rnn
    return [write(writer, layer, frame, states[0])]


def _write_rnn(writer: Writer, layer: LayerWeights, frame: ir.Value, state: ir.Value) -> ir.Value:
    return writer.op("Tanh", _sum_gates(writer, layer, frame, state))


def _write_lstm(
    writer: Writer, layer: LayerWeights, frame: ir.Value, state: ir.Value, cell: ir.Value
) -> list[ir.Value]:
    hidden = layer.hidden
    sums = _sum_gates(writer, layer, frame, state)
    gates, candidate = _split(writer, sums, [3 * hidden, hidden])
    i, o, f = _split(writer, writer.op("Sigmoid", gates), [hidden] * 3)
    new = writer.op("Mul", i, writer.op("Tanh", candidate))
    after = writer.op("Add", writer.op("Mul", f, cell), new)
    return [writer.op("Mul", o, writer.op("Tanh", after)), after]


def _write_gru(writer: Writer, layer: LayerWeights, frame: ir.Value, state: ir.Value) -> ir.Value:
    hidden = layer.hidden
    parts = _Parts(layer)
    given = _given(writer, layer, frame)
    if given is None:
        joined = writer.op("Concat", frame, state, axis=-1)
        gates = write_product(writer, joined, parts.joined_gates, parts.gates_bias)
    else:
        own_gates, own = _split(writer, given, [2 * hidden, hidden])
    if not layer.resets_behind:
        if given is not None:
            product = write_product(writer, state, parts.recurrent_gates, parts.gates_bias)
            gates = writer.op("Add", own_gates, product)
        z, r = _split(writer, writer.op("Sigmoid", gates), [hidden, hidden])
        reset = writer.op("Mul", r, state)
        bias = parts.input_bias + parts.recurrent_bias
        if given is None:
            joined = writer.op("Concat", frame, reset, axis=-1)
            sums = write_product(writer, joined, parts.joined, bias)
        else:
            sums = writer.op("Add", own, write_product(writer, reset, parts.recurrent, bias))
        return _blend(writer, z, writer.op("Tanh", sums), state)
    if given is None:
        own = write_product(writer, frame, parts.input, parts.input_bias)
        other = write_product(writer, state, parts.recurrent, parts.recurrent_bias)
    else:
        bias = np.concatenate([parts.gates_bias, parts.recurrent_bias])
        both = write_product(writer, state, layer.recurrent, bias)
        gates, other = _split(writer, both, [2 * hidden, hidden])
        gates = writer.op("Add", own_gates, gates)
        if parts.input_bias.any():
            own = writer.op("Add", own, writer.constant(parts.input_bias, np.float32))
    z, r = _split(writer, writer.op("Sigmoid", gates), [hidden, hidden])
    sums = writer.op("Add", own, writer.op("Mul", r, other))
    return _blend(writer, z, writer.op("Tanh", sums), state)


def _blend(writer: Writer, z: ir.Value, new: ir.Value, state: ir.Value) -> ir.Value:
    """z * state + (1 - z) * new."""
    kept = writer.op("Mul", z, writer.op("Sub", state, new))
    return writer.op("Add", new, kept)


class _Parts:
    """A GRU's weights: those of both gates, and those of what is new, which has no suffix."""

    def __init__(self, layer: LayerWeights) -> None:
        gates = 2 * layer.hidden
        self.recurrent_gates, self.recurrent = np.split(layer.recurrent, [gates])
        self.gates_bias = layer.input_bias[:gates] + layer.recurrent_bias[:gates]
        self.input_bias, self.recurrent_bias = (
            layer.input_bias[gates:], layer.recurrent_bias[gates:]
        )  # fmt: skip
        if layer.input is not None:
            own_gates, self.input = np.split(layer.input, [gates])
            self.joined_gates = np.concatenate([own_gates, self.recurrent_gates], 1)
            self.joined = np.concatenate([self.input, self.recurrent], 1)


def _sum_gates(writer: Writer, layer: LayerWeights, frame: ir.Value, state: ir.Value) -> ir.Value:
    """Both products and biases, where nothing but a sum is between them."""
    bias = layer.input_bias + layer.recurrent_bias
    given = _given(writer, layer, frame)
    if given is not None:
        return writer.op("Add", write_product(writer, state, layer.recurrent, bias), given)
    assert layer.input is not None
    weights = np.concatenate([layer.input, layer.recurrent], 1)
    return write_product(writer, writer.op("Concat", frame, state, axis=-1), weights, bias)


def _given(writer: Writer, layer: LayerWeights, frame: ir.Value) -> ir.Value | None:
    """What the input adds, without its bias; None where one product takes frame and state."""
    if layer.input is None:
        gates = np.zeros((1, len(layer.recurrent)), np.float32)
        return writer.constant(gates, np.float32) if layer.row is None else layer.row
    features = layer.input.shape[1]
    if layer.row is None and blocks_end_at(features):
        return None
    if features < _FEW_FEATURES:
        given = writer.op("MatMul", frame, writer.constant(layer.input.T, np.float32))
    else:
        given = write_product(writer, frame, layer.input)
    return given if layer.row is None else writer.op("Add", given, layer.row)


def _split(writer: Writer, value: ir.Value, sizes: list[int]) -> list[ir.Value]:
    parts = writer.ops("Split", [value, writer.constant(sizes)], len(sizes), {"axis": -1})
    return list(parts)
