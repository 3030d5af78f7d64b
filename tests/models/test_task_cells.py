"""The cells of this package against their equations in float64, the plain RNN against torch."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import rnn_edge
from rnn_edge.models.cells import Cell, LayerNormGRUCell, LayerNormLSTMCell, PeepholeLSTMCell
from rnn_edge.models.plain_rnn import ConcatenatedRNN, PlainRNN

INPUT, HIDDEN = 3, 4


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def normal(x: np.ndarray) -> np.ndarray:
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5)


def peephole(cell: Cell, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> list[np.ndarray]:
    """Gers, Schraudolph and Schmidhuber 2002, one unit after the other."""
    w, u, b, p = (
        parameter.detach().double().numpy()
        for parameter in (cell.weight_ih, cell.weight_hh, cell.bias, cell.peephole)
    )
    new_h, new_c = np.zeros(HIDDEN), np.zeros(HIDDEN)
    for unit in range(HIDDEN):
        i, f, g, o = (w[row] @ x + u[row] @ h + b[row] for row in range(unit, 4 * HIDDEN, HIDDEN))
        i, f = sigmoid(i + p[0, unit] * c[unit]), sigmoid(f + p[1, unit] * c[unit])
        new_c[unit] = f * c[unit] + i * np.tanh(g)
        new_h[unit] = sigmoid(o + p[2, unit] * new_c[unit]) * np.tanh(new_c[unit])
    return [new_h, new_c]


def layer_norm_lstm(cell: Cell, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> list[np.ndarray]:
    """Ba, Kiros and Hinton 2016, equations 20 to 22, with gains 1 and biases 0."""
    w, u, b = (p.detach().double().numpy() for p in (cell.weight_ih, cell.weight_hh, cell.bias))
    i, f, g, o = np.split(normal(w @ x) + normal(u @ h) + b, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return [sigmoid(o) * np.tanh(normal(c)), c]


def layer_norm_gru(cell: Cell, x: np.ndarray, h: np.ndarray) -> list[np.ndarray]:
    w, u, b = (p.detach().double().numpy() for p in (cell.weight_ih, cell.weight_hh, cell.bias))
    (r, z, n), (hr, hz, hn) = np.split(normal(w @ x) + b, 3), np.split(normal(u @ h), 3)
    n = np.tanh(n + sigmoid(r + hr) * hn)
    z = sigmoid(z + hz)
    return [(1 - z) * n + z * h]


@pytest.mark.parametrize(
    ("kind", "equations"),
    [
        (PeepholeLSTMCell, peephole),
        (LayerNormLSTMCell, layer_norm_lstm),
        (LayerNormGRUCell, layer_norm_gru),
    ],
)
def test_cell_follows_its_equations(kind: type[Cell], equations: object) -> None:
    torch.manual_seed(0)
    cell = kind(INPUT, HIDDEN).double()
    x = torch.randn(2, 5, INPUT, dtype=torch.float64)
    start = [torch.randn(2, HIDDEN, dtype=torch.float64) for _ in range(cell.state_count)]
    with torch.no_grad():
        state, gates = tuple(start), cell.project(x)
        for step in range(5):
            state = cell(gates[:, step], state)
    for row in range(2):
        expected = [part[row].numpy() for part in start]
        for step in range(5):
            expected = equations(cell, x[row, step].numpy(), *expected)  # type: ignore[operator]
        for part, value in zip(state, expected, strict=True):
            np.testing.assert_allclose(part[row].numpy(), value, rtol=1e-10, atol=1e-12)


def plain_pair() -> tuple[PlainRNN, nn.RNN]:
    torch.manual_seed(0)
    plain, layer = PlainRNN(INPUT, HIDDEN), nn.RNN(INPUT, HIDDEN, batch_first=True)
    with torch.no_grad():
        plain.b_h.uniform_()
        layer.weight_ih_l0.copy_(plain.W_xh.T)
        layer.weight_hh_l0.copy_(plain.W_hh.T)
        layer.bias_ih_l0.copy_(plain.b_h)
        layer.bias_hh_l0.zero_()
    return plain, layer


def concatenated(plain: PlainRNN) -> ConcatenatedRNN:
    other = ConcatenatedRNN(INPUT, HIDDEN)
    with torch.no_grad():
        other.W.copy_(torch.cat([plain.W_xh, plain.W_hh]))
        other.b_h.copy_(plain.b_h)
    return other


def test_the_plain_rnn_and_its_one_product_equal_torch() -> None:
    plain, layer = plain_pair()
    x, h = torch.randn(3, 7, INPUT), torch.randn(3, HIDDEN)
    states, last = layer(x, h.unsqueeze(0))
    for module in (plain, concatenated(plain)):
        own_states, own_last = module(x, h)
        torch.testing.assert_close(own_states, states)
        torch.testing.assert_close(own_last, last[0])


def test_both_plain_rnns_export_as_one_rnn_node(tmp_path: Path) -> None:
    plain, _ = plain_pair()
    for number, module in enumerate((plain, concatenated(plain))):
        bundle = rnn_edge.export(
            module,
            (torch.randn(2, 5, INPUT), torch.zeros(2, HIDDEN)),
            tmp_path / str(number),
            axes=[("batch", "sequence", None), ("batch", None)],
            output_names=["states", "h_n"],
            states={"h": "h_n"},
        )
        nodes = onnx.load(bundle.path / "model.onnx").graph.node
        assert Counter(node.op_type for node in nodes)["RNN"] == 1
        assert not any(node.op_type in ("Scan", "Loop") for node in nodes)
