"""Modules that stand in several places of another one: as eager torch at unseen sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import rnn_edge
from rnn_edge.errors import ExportError


class SharedParts(nn.Module):
    """One activation for all, one cell for both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()
        self.project = nn.Sequential(nn.Linear(3, 4), self.act)
        self.cell = nn.GRUCell(4, 4)
        self.directions = nn.ModuleList([self.cell, self.cell])
        self.core = nn.LSTM(8, 5, batch_first=True)
        self.head = nn.Sequential(self.act, nn.Linear(5, 2))
        self.cut = False

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.project(x) - 0.1)
        if self.cut and x.sum() > 0:
            return y.new_zeros(int(y.sum()), 2)
        sides = []
        for cell, steps in zip(self.directions, (y, y.flip(1)), strict=True):
            h, found = y.new_zeros(y.shape[0], 4), []
            for t in range(y.shape[1]):
                h = cell(steps[:, t], h)
                found.append(h)
            sides.append(torch.stack(found, 1))
        return self.head(self.core(torch.cat(sides, -1))[0])


AXES = [("batch", "sequence", None)]


def test_shared_parts_equal_eager_torch_at_unseen_sizes(tmp_path: Path) -> None:
    module = SharedParts().eval()
    bundle = rnn_edge.export(module, torch.randn(2, 6, 3), tmp_path / "bundle", axes=AXES)
    session = rnn_edge.Session(bundle)
    for batch, steps in ((1, 1), (3, 11)):
        x = torch.randn(batch, steps, 3)
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(session.run(x.numpy())[0]), module(x))


def test_refusal_names_the_part_of_a_module_with_shared_parts(tmp_path: Path) -> None:
    module = SharedParts().eval()
    module.cut = True
    with pytest.raises(ExportError, match=r"SharedParts.forward .*test_shared_parts.py:\d+"):
        rnn_edge.export(module, torch.randn(2, 6, 3), tmp_path / "bundle", axes=AXES)
