"""Two named axes, each of which may be the longer one: expressed, or refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import rnn

import rnn_edge
from rnn_edge.errors import ExportError

Join = Callable[[Tensor, Tensor], Tensor]


class Joining(nn.Module):
    def __init__(self, join: Join) -> None:
        super().__init__()
        self._join = join

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return self._join(one, other)


def export(join: Join, folder: Path) -> rnn_edge.Bundle:
    args = (torch.randn(2, 6, 4), torch.randn(2, 9, 4))
    axes = [("batch", "one", None), ("batch", "other", None)]
    return rnn_edge.export(Joining(join), args, folder, axes=axes)


def keep_as_many(one: Tensor, other: Tensor) -> Tensor:
    return one[:, : other.shape[1]] * 2


def leave_out_as_many(one: Tensor, other: Tensor) -> Tensor:
    return torch.cat([one[:, other.shape[1] :], other], 1)


def keep_the_shorter(one: Tensor, other: Tensor) -> Tensor:
    length = min(one.size(1), other.size(1))
    return one[:, :length] + other[:, :length]


def pad_rows(one: Tensor, other: Tensor) -> Tensor:
    return rnn.pad_sequence([one.flatten(0, 1), other.flatten(0, 1)], padding_value=2.0)


def fill_up(one: Tensor, other: Tensor) -> Tensor:
    return nn.functional.pad(one, (0, 0, 0, max(0, other.shape[1] - one.shape[1]))) - 1


def fill_up_to_threes(one: Tensor, other: Tensor) -> Tensor:
    filled = nn.functional.pad(one, (0, 0, 0, -one.size(1) % 3))
    return filled + other[:, :1]


EXPRESSED = [
    keep_as_many,
    leave_out_as_many,
    keep_the_shorter,
    pad_rows,
    fill_up,
    fill_up_to_threes,
]


@pytest.mark.parametrize("join", EXPRESSED, ids=lambda join: join.__name__)
def test_either_axis_may_be_the_longer_one(join: Join, tmp_path: Path) -> None:
    session = rnn_edge.Session(export(join, tmp_path / "bundle"))
    for batch, one, other in ((3, 4, 8), (1, 8, 4), (2, 5, 5), (2, 1, 3), (4, 2, 1)):
        x, y = torch.randn(batch, one, 4), torch.randn(batch, other, 4)
        (found,) = session.run(x.numpy(), y.numpy())
        np.testing.assert_allclose(found, join(x, y).numpy(), rtol=1e-6)


def branch(one: Tensor, other: Tensor) -> Tensor:
    return one * 2 if one.shape[1] > other.shape[1] else one * 3


def branch_on_parity(one: Tensor, other: Tensor) -> Tensor:
    return one * 2 if one.shape[1] % 2 else one * 3


def repeat_odd_lengths(one: Tensor, other: Tensor) -> Tensor:
    if one.shape[1] % 3:
        one = one.cumsum(1).repeat(1, 2, 1)
    return one + other[:, :1]


@pytest.mark.parametrize(
    ("join", "message"),
    [
        (repeat_odd_lengths, r"at test_relat\S+ Fill up .* \(0, 0, 0, -x.size\(1\) % 3\)\) say"),
        (branch, r"sizes of 'one' and 'other' are, got a choice by one <= other at test_relat"),
        (branch_on_parity, r"sizes of 'one' are, got a choice by .*Mod\(one, 2\).* at test_relat"),
    ],
)
def test_choice_by_sizes_is_refused(join: Join, message: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message) as caught:
        export(join, tmp_path / "bundle")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
