"""Branches of three sides by one size, shorter, longer and equal: padded or cut to a length."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import rnn_edge
from rnn_edge.errors import ExportError

AXES = [("batch", "time", None)]


class ToLength(nn.Module):
    def __init__(self, length: int) -> None:
        super().__init__()
        self.core, self.length = nn.GRU(4, 3, batch_first=True), length

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.core(self.fit(x))[0]
        return y

    def fit(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class PadsOrCuts(ToLength):
    def fit(self, x: Tensor) -> Tensor:
        if x.shape[1] < self.length:
            x = functional.pad(x, (0, 0, 0, self.length - x.shape[1]))
        elif x.shape[1] > self.length:
            x = x[:, : self.length]
        return x


class CutsThenPads(ToLength):
    def fit(self, x: Tensor) -> Tensor:
        x = x[:, -self.length :]
        missing = self.length - x.size(1)
        return functional.pad(x, (0, 0, missing, 0)) if missing > 0 else x


class Fills(ToLength):
    """Zeros behind the frames: of a length below 0 there are none, and nothing is cut."""

    def fit(self, x: Tensor) -> Tensor:
        if x.shape[1] > self.length:
            x = x[:, : self.length]
        if x.shape[1] < self.length:
            x = torch.cat([x, x.new_zeros(len(x), self.length - x.shape[1], 4)], 1)
        return x


# Traced at 13 frames, and at 3 or 67 where that is not enough.
@pytest.mark.parametrize("length", [5, 12, 20])
@pytest.mark.parametrize("kind", [PadsOrCuts, CutsThenPads])
def test_one_side_stands_for_all(kind: type[ToLength], length: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = kind(length)
    session = rnn_edge.Session(
        rnn_edge.export(module, torch.randn(2, 6, 4), tmp_path / "out", axes=AXES)
    )
    for steps in (1, length - 1, length, length + 1, 40):
        x = torch.randn(3, steps, 4)
        found = torch.from_numpy(session.run(x.numpy())[0])
        torch.testing.assert_close(found, module(x).detach(), rtol=1e-5, atol=1e-6)


def test_what_no_side_stands_for_is_refused_by_its_line(tmp_path: Path) -> None:
    line = re.escape("`if x.shape[1] > self.length:` at test_three_sides.py")
    with pytest.raises(ExportError, match=line) as caught:
        rnn_edge.export(Fills(12), torch.randn(2, 6, 4), tmp_path / "out", axes=AXES)
    assert "F.pad() by 0 adds nothing, by less it cuts" in str(caught.value)
    assert list(tmp_path.iterdir()) == []
