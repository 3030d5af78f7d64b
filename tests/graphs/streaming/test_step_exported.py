"""A bundle holds step.onnx where it makes single frames faster, and StreamSession uses it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

import rnn_edge
from rnn_edge.errors import VerificationError
from rnn_edge.graphs import streaming


class OwnCell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.into, self.again = nn.Linear(4, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        h, shown = x.new_zeros(x.size(0), 6), []
        for frame in x.unbind(1):
            h = 0.5 * h + torch.tanh(self.into(frame) + self.again(h))
            shown.append(h)
        return torch.stack(shown, 1)


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(4, 6, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0]


def export(module: nn.Module, place: Path) -> rnn_edge.Bundle:
    torch.manual_seed(0)
    axes = [("batch", "sequence", None)]
    return rnn_edge.export(module, (torch.randn(2, 5, 4),), place, axes=axes, stream=True)


@pytest.mark.slow
def test_cell_of_ones_own_has_a_step_graph(tmp_path: Path) -> None:
    module = OwnCell().eval()
    bundle = export(module, tmp_path / "own")
    assert set(bundle.contract.graphs) == {"model", "stream", "step"}
    x = np.random.default_rng(0).standard_normal((3, 9, 4)).astype(np.float32)
    with rnn_edge.StreamSession(bundle, batch=3) as session:
        parts = []
        for start, end in ((0, 1), (1, 2), (2, 6), (6, 7), (7, 9)):
            parts += session.push(x[:, start:end])
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(np.concatenate(parts, 1), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_plain_layer_has_one_for_one_row(tmp_path: Path) -> None:
    module = Plain().eval()
    bundle = export(module, tmp_path / "plain")
    assert bundle.graph("step").inputs[0].dims == (1, 1, 4)
    kept = [node.op_type for node in ir.load(bundle.graph_path("step")).graph]
    assert set(kept) <= {"LSTM", "Identity"}
    x = np.random.default_rng(0).standard_normal((3, 9, 4)).astype(np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    for rows in (1, 3):
        with rnn_edge.StreamSession(bundle, batch=rows) as session:
            parts = [session.push(x[:rows, n : n + 1])[0] for n in range(9)]
        np.testing.assert_allclose(np.concatenate(parts, 1), expected[:rows], atol=1e-6)


@pytest.mark.slow
def test_large_layer_has_none(tmp_path: Path) -> None:
    module = nn.LSTM(256, 256, batch_first=True).eval()
    axes = [("batch", "sequence", None)]
    x = torch.randn(2, 5, 256)
    bundle = rnn_edge.export(module, (x,), tmp_path / "large", axes=axes, stream=True)
    assert set(bundle.contract.graphs) == {"model", "stream"}


@pytest.mark.slow
def test_wrong_step_graph_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    derive = streaming.step.derive_step

    def derive_wrong(stream: streaming.Stream, rows: int | None = None) -> streaming.Stream:
        step = derive(stream, rows)
        bias = step.model.graph.initializers["into.bias"]
        bias.const_value = ir.tensor(bias.const_value.numpy() + 0.01, name=bias.name)
        return step

    monkeypatch.setattr(streaming.step, "derive_step", derive_wrong)
    with pytest.raises(VerificationError, match="step graph"):
        export(OwnCell().eval(), tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()


class Headed(nn.Module):
    def __init__(self, layer: type[nn.RNNBase]) -> None:
        super().__init__()
        self.core = layer(4, 6, num_layers=2, batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.core(x)[0])


@pytest.mark.parametrize("layer", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_stack_with_a_head_keeps_its_layers_and_the_head(
    layer: type[nn.RNNBase], tmp_path: Path
) -> None:
    bundle = export(Headed(layer), tmp_path / "headed")
    graph = ir.load(bundle.path / "step.onnx").graph
    name = layer.__name__
    assert [node.op_type for node in graph] == [name, name, "MatMul", "Add"]
