"""Branches on values: both ways in one graph, whichever of them the example takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import rnn_edge
from rnn_edge.errors import ExportError


class Undecided(nn.Module):
    """Branches on a tensor and on a number, one writes in place; two checks of values."""

    def __init__(self) -> None:
        super().__init__()
        self.core = nn.GRU(4, 3, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        assert lengths.max() <= x.size(1)
        if lengths.min() < 1:
            raise ValueError("rows must have a step")
        y, _ = self.core(x)
        if x.sum() > 0:
            y = -y
        longest = int(lengths.max())
        if longest > 4:
            y.mul_(2)
        if longest % 3 == 1 and x.size(0) > 0:
            y = y + 1
        return y * sum(lengths.tolist())


class Unequal(Undecided):
    """What the two ways give differs in shape by more than can be undone."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y, _ = self.core(x)
        return y.sum(1) if lengths.max() > 2 else y.amax((1, 2))


class EitherWay(Undecided):
    """Ways that have nothing in common, by a value with a fraction, by a part of one, by a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.LSTM(4, 3, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        level: float = x.abs().max().item()
        if level > 2.5:
            x = x / level
        shown = torch.arange(x.size(1)) < lengths[:, None]
        if shown.all():
            y, _ = self.other(x)
        else:
            y, _ = self.core(x * shown.unsqueeze(2))
        if int(lengths.float().mean() * 0.5) > 1:
            y = torch.tanh(y)
        return y


AXES = [("batch", "sequence", None), ("batch",)]


@pytest.fixture(scope="module")
def undecided() -> Undecided:
    torch.manual_seed(0)
    return Undecided().eval()


@pytest.fixture(scope="module")
def session(undecided: Undecided, tmp_path_factory: pytest.TempPathFactory) -> rnn_edge.Session:
    example = (torch.randn(2, 5, 4), torch.tensor([5, 2]))
    folder = tmp_path_factory.mktemp("undecided") / "bundle"
    return rnn_edge.Session(rnn_edge.export(undecided, example, folder, axes=AXES))


@pytest.mark.parametrize("longest", [1, 3, 4, 5, 7])
@pytest.mark.parametrize("seed", range(4))
def test_each_way_is_taken_as_in_torch(
    undecided: Undecided, session: rnn_edge.Session, longest: int, seed: int
) -> None:
    torch.manual_seed(seed)
    x, lengths = torch.randn(3, 7, 4), torch.tensor([longest, 1, longest])
    (found,) = session.run(x.numpy(), lengths.numpy())
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), undecided(x, lengths))


def test_both_signs_were_among_the_inputs() -> None:
    signs = set()
    for seed in range(4):
        torch.manual_seed(seed)
        signs.add(bool(torch.randn(3, 7, 4).sum() > 0))
    assert signs == {True, False}


def test_functions_of_python_are_left_as_they_were(session: rnn_edge.Session) -> None:
    assert not {"int", "sum", "max"} & globals().keys()


def test_ways_without_anything_in_common_are_both_gone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = EitherWay().eval()
    example = (torch.randn(2, 5, 4), torch.tensor([5, 2]))
    session = rnn_edge.Session(rnn_edge.export(module, example, tmp_path / "out", axes=AXES))
    for scale in (0.1, 1.0):
        for lengths in ([7, 7], [1, 2], [7, 1], [3, 2]):
            x = scale * torch.randn(2, 7, 4)
            x[0, 0, 0] = 3 * scale
            (found,) = session.run(x.numpy(), torch.tensor(lengths).numpy())
            with torch.no_grad():
                expected = module(x, torch.tensor(lengths))
            torch.testing.assert_close(torch.from_numpy(found), expected)


def test_ways_that_cannot_be_joined_are_refused_at_their_line(tmp_path: Path) -> None:
    example = (torch.randn(2, 5, 4), torch.tensor([5, 2]))
    with pytest.raises(ExportError, match=r"a branch on a value in .* at test_value_branches\.py"):
        rnn_edge.export(Unequal().eval(), example, tmp_path / "out", axes=AXES)
