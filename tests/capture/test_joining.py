"""A way taken by a size, or by what divides it: both ways are in the graph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import rnn_edge
from rnn_edge.errors import ExportError


class OneOfTwo(nn.Module):
    def __init__(self, run: Callable[[Tensor, nn.GRU], Any]) -> None:
        super().__init__()
        self.core = nn.GRU(8, 4, batch_first=True)
        self._run = run

    def forward(self, x: Tensor) -> Any:
        return self._run(x, self.core)


def halve_twice(x: Tensor, core: nn.GRU) -> tuple[Tensor, Tensor]:
    """The second choice is by a size that the first has made."""
    if x.size(1) % 2:
        x = x[:, 1:]
    y, _ = core(x.reshape(x.size(0), x.size(1) // 2, 8))
    steps = y.size(1)
    if steps % 2 == 1:
        y = torch.cat([y, y.new_zeros(y.size(0), 1, 4)], dim=1)
        steps += 1
    return y.reshape(y.size(0), steps // 2, 8), x.mean(1)


def fill_up_to_threes(x: Tensor, _: nn.GRU) -> Tensor:
    missing = x.size(1) % 3
    if missing != 0:
        x = functional.pad(x, (0, 0, 3 - missing, 0), value=7.0)
        x = x.flip(1) * 2
    return x.reshape(x.size(0), -1, 3, 4).sum(2)


def look_at_the_last(x: Tensor, core: nn.GRU) -> Tensor:
    """One branch refuses sizes, the other one cuts."""
    if x.size(1) < 3:
        raise ValueError("too short")
    if x.size(1) > 9:
        x = x[:, -9:]
    return core(x.repeat(1, 1, 2))[0]


def export(run: Callable[[Tensor, nn.GRU], Any], folder: Path) -> rnn_edge.Bundle:
    axes = [("batch", "time", None)]
    return rnn_edge.export(OneOfTwo(run).eval(), torch.randn(2, 6, 4), folder, axes=axes)


@pytest.mark.parametrize("run", [halve_twice, fill_up_to_threes, look_at_the_last])
def test_both_ways_equal_eager_torch(run: Callable[..., Any], tmp_path: Path) -> None:
    torch.manual_seed(3)
    module = OneOfTwo(run).eval()
    bundle = rnn_edge.export(
        module, torch.randn(2, 6, 4), tmp_path / "bundle", axes=[("batch", "time", None)]
    )
    session = rnn_edge.Session(bundle)
    for steps in range(4, 12):
        x = torch.randn(1 + steps % 3, steps, 4)
        with torch.no_grad():
            expected = module(x)
        expected = (expected,) if isinstance(expected, Tensor) else expected
        for found, tensor in zip(session.run(x.numpy()), expected, strict=True):
            np.testing.assert_allclose(found, tensor.numpy(), atol=1e-6)


def test_ways_that_differ_by_what_they_compute_are_refused(tmp_path: Path) -> None:
    def run(x: Tensor, core: nn.GRU) -> Tensor:
        return torch.cumprod(x, 1)[:, -1] if x.size(1) % 2 else core(x.repeat(1, 1, 2))[1][0]

    with pytest.raises(ExportError, match=r"choice by .* at test_joining.py:\d+\. Fill up"):
        export(run, tmp_path / "bundle")
