"""Python's arithmetic on sizes: as long as Python says, at lengths that were not traced."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import rnn_edge

# 0.29 * 100 is 28.999999999999996, and in float32 it is 29.
SYMBOLIC: list[Callable[[int], int]] = [
    lambda n: -(-n // 2),
    lambda n: 40 + (3 - n) // 7,
    lambda n: round(n / 2),
    lambda n: round(n / 4 + 0.25),
    lambda n: math.floor(0.29 * n),
    lambda n: math.ceil(n * 0.07 - 0.5),
    lambda n: math.trunc((n - 1) / 3),
]
LENGTHS = (1, 2, 3, 6, 10, 14, 50, 100, 150, 200)


class CountsOff(nn.Module):
    def forward(self, x: Tensor) -> list[Tensor]:
        y = x.cumsum(1)
        return [y, *(torch.arange(count(x.size(1))) for count in SYMBOLIC)]


class Halved(nn.Module):
    """Two frames to one, padded where one is missing; ``halve`` says how many there will be."""

    def __init__(self, halve: Callable[[int], int]) -> None:
        super().__init__()
        self.rnn, self._halve = nn.GRU(6, 4, batch_first=True), halve

    def forward(self, x: Tensor) -> Tensor:
        count = self._halve(x.shape[1])
        padded = functional.pad(x, (0, 0, 0, 2 * count - x.shape[1]))
        y: Tensor = self.rnn(padded.reshape(len(x), count, 6))[0]
        return y


def export(module: nn.Module, folder: Path) -> rnn_edge.Session:
    axes = [("batch", "sequence", None)]
    return rnn_edge.Session(rnn_edge.export(module, torch.randn(2, 9, 3), folder / "b", axes=axes))


def test_sizes_are_those_of_python(tmp_path: Path) -> None:
    session = export(CountsOff(), tmp_path)
    for length in LENGTHS:
        found = session.run(np.zeros((1, length, 3), "float32"))[1:]
        expected = [len(range(count(length))) for count in SYMBOLIC]
        assert [len(array) for array in found] == expected, length


@pytest.mark.parametrize(
    "halve",
    [
        lambda n: int(math.ceil(n / 2)),  # noqa: RUF046
        lambda n: int(np.ceil(n / 2)),
        lambda n: int(n / 2 + 0.5),
        lambda n: -(-n // 2),
        lambda n: round(n / 2 + 0.1),
    ],
)
def test_lengths_turned_into_whole_numbers(halve: Callable[[int], int], tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Halved(halve)
    session = export(module, tmp_path)
    for length in (1, 2, 7, 30, 31):
        x = torch.randn(2, length, 3)
        found = torch.from_numpy(session.run(x.numpy())[0])
        torch.testing.assert_close(found, module(x).detach(), rtol=1e-5, atol=1e-6)
