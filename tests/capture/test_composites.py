"""Composite operators that are replaced one by one: as eager torch, the whole not taken apart."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import rnn_edge


class Composites(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru = nn.LSTMCell(4, 6, bias=False), nn.GRUCell(6, 6)
        self.tanh, self.relu = nn.RNNCell(6, 6), nn.RNNCell(6, 6, bias=False, nonlinearity="relu")
        self.norm = nn.BatchNorm1d(6)
        self.up = nn.ConvTranspose1d(4, 3, 4, stride=3, padding=1, output_padding=2, dilation=2)
        self.wide = nn.ConvTranspose2d(2, 4, (2, 3), stride=(1, 2), groups=2, bias=False)
        for tensor in (self.norm.running_mean, self.norm.running_var, self.norm.weight):
            assert tensor is not None
            nn.init.uniform_(tensor, 0.5, 2)

    def forward(self, x: Tensor, lengths: Tensor) -> list[Tensor]:
        state = x.new_full((x.shape[0], 6), 0.3)
        h, c = self.lstm(x[:, 0], (state, state + 1))
        cells = [h, c, self.gru(h, c), self.tanh(h, c), self.relu(h, c)]
        is_large, is_first = x > 0.5, torch.arange(4) < 2
        whole = (9 * x).to(torch.int64)
        longest = int(lengths.max().item())
        return [
            *cells,
            self.norm(c),
            self.up(x.transpose(1, 2)),
            self.wide(x[:, None].expand(-1, 2, -1, -1)),
            1 - x,
            torch.rsub(x, 2, alpha=3),
            1.5 - whole,
            3 - whole,
            x.to("cpu", torch.float64) * 0.1,
            x.to(dtype=torch.int32, device="cpu"),
            x.to("cpu") + whole.to(x),
            (is_large & is_first) | (is_large ^ ~is_first),
            whole & 6,
            whole.narrow(2, 1, 2),
            x.narrow(1, 0, longest),
            x.narrow(2, -3, 2),
            x.movedim(2, 0),
        ]


def test_composites_equal_eager_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the whole program is traced again")

    monkeypatch.setattr(torch.export.ExportedProgram, "run_decompositions", refuse)
    torch.manual_seed(0)
    module = Composites().eval()
    axes = [("batch", "sequence", None), ("batch",)]
    example = (torch.randn(2, 6, 4), torch.tensor([6, 3]))
    bundle = rnn_edge.export(module, example, tmp_path / "composites", axes=axes)
    session = rnn_edge.Session(bundle)
    for batch, steps in ((1, 1), (3, 11)):
        x, lengths = torch.randn(batch, steps, 4), torch.randint(1, steps + 1, (batch,))
        found = session.run(x.numpy(), lengths.numpy())
        for array, tensor in zip(found, module(x, lengths), strict=True):
            torch.testing.assert_close(torch.from_numpy(array), tensor, rtol=1e-5, atol=1e-5)


def test_a_norm_by_the_numbers_of_its_own_input_is_taken_apart(tmp_path: Path) -> None:
    module = nn.BatchNorm1d(4, track_running_stats=False).eval()
    axes = [("batch", None, "sequence")]
    bundle = rnn_edge.export(module, (torch.randn(3, 4, 5),), tmp_path / "norm", axes=axes)
    x = 2 + 3 * torch.randn(2, 4, 9)
    (found,) = rnn_edge.Session(bundle).run(x.numpy())
    torch.testing.assert_close(torch.from_numpy(found), module(x))
