"""Branches by whether a size is 1, which torch.export takes for larger without a word."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import rnn_edge

F, H = 3, 4


class Layered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(F, H, batch_first=True), nn.Linear(H, 2)


class Centred(Layered):
    """The mean is left out where it would leave nothing."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.rnn(x)[0]
        if x.size(1) > 1:
            y = y - y.mean(1, keepdim=True)
        return self.head(y)


class AloneInBatch(Layered):
    def forward(self, x: Tensor) -> Tensor:
        y = self.head(self.rnn(x)[0])
        return y * 2 if x.size(0) == 1 else y


class ShortCut(Layered):
    """One step by a shorter way to what the other one gives as well."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.rnn(x)[0]
        if x.shape[1] == 1:
            return self.head(y)
        return self.head(y + functional.pad(y[:, :-1], (0, 0, 1, 0)))


class Differences(Layered):
    """One side gives a frame less than the other."""

    def forward(self, x: Tensor) -> Tensor:
        changes = x[:, 1:] - x[:, :-1] if x.size(1) > 1 else torch.zeros_like(x)
        return self.head(self.rnn(changes)[0][:, -1])


class CentredLoop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(F, H)

    def forward(self, x: Tensor) -> Tensor:
        if x.size(1) > 1:
            x = x - x.mean(1, keepdim=True)
        h = x.new_zeros(len(x), H)
        for frame in x.unbind(1):
            h = self.cell(frame, h)
        return h


def export(module: nn.Module, folder: Path) -> rnn_edge.Bundle:
    axes = [("batch", "sequence", None)]
    return rnn_edge.export(module, torch.randn(2, 6, F), folder / "bundle", axes=axes)


@pytest.mark.parametrize("kind", [Centred, AloneInBatch, ShortCut])
def test_answers_are_those_of_the_module_at_one_and_beyond(
    kind: type[Layered], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    module = kind()
    session = rnn_edge.Session(export(module, tmp_path))
    for batch, steps in ((1, 1), (1, 2), (3, 1), (2, 17)):
        x = torch.randn(batch, steps, F)
        found = torch.from_numpy(session.run(x.numpy())[0])
        torch.testing.assert_close(found, module(x).detach(), rtol=1e-5, atol=1e-6)


def test_a_short_cut_to_the_same_answer_stays_out_of_the_stream(tmp_path: Path) -> None:
    assert "stream" in export(ShortCut(), tmp_path).contract.graphs


@pytest.mark.parametrize(
    ("kind", "line"),
    [(Differences, r"`changes = .* if x\.size\(1\) > 1"), (CentredLoop, r"`if x\.size\(1\) > 1:`")],
)
def test_what_cannot_be_joined_is_refused_by_its_line(
    kind: type[nn.Module], line: str, tmp_path: Path
) -> None:
    with pytest.raises(rnn_edge.RnnEdgeError, match=rf"at size 1 as at any other .*{line}"):
        export(kind(), tmp_path)
    assert not (tmp_path / "bundle").exists()
