"""A forward() that throws dice is refused by the line that does so."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rnn_edge
from rnn_edge.errors import ExportError


class Taught(nn.Module):
    """Goes on from the right id, or by chance from its own."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.cell = nn.Embedding(7, 4), nn.GRUCell(4, 5)
        self.head = nn.Linear(5, 7)

    def forward(self, target: Tensor, ratio: float = 0.5) -> Tensor:
        token, h, found = target[:, 0], torch.zeros(len(target), 5), []
        for step in range(target.size(1)):
            h = self.cell(self.table(token), h)
            logits = self.head(h)
            found.append(logits)
            taught = random.random() < ratio
            token = target[:, step] if taught else logits.argmax(1)
        return torch.stack(found, 1)


class Noisy(nn.Module):
    """Another number in every call: the graph would hold that of one."""

    def __init__(self) -> None:
        super().__init__()
        self.core = nn.GRU(3, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.core(x + float(np.random.rand()))[0]
        return y


class Sampled(Noisy):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.core(x + torch.randn_like(x))[0]
        return y


class AlwaysDropped(Noisy):
    """Dropout that knows nothing of eval()."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = nn.functional.dropout(self.core(x)[0], 0.5, training=True)
        return y


class Counting(Noisy):
    """Draws nothing, and answers otherwise each time: by what was called before."""

    calls = itertools.count(1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.core(x * next(self.calls))[0]
        return y


FRAMES = (torch.randn(2, 5, 3),), [("batch", "sequence", None)]


@pytest.mark.parametrize(
    ("module", "args", "axes", "line"),
    [
        (Taught(), (torch.randint(7, (2, 9)),), [("batch", "sequence")], "random.random() < ratio"),
        (Noisy(), *FRAMES, "np.random.rand()"),
        (Sampled(), *FRAMES, "torch.randn_like(x)"),
        (AlwaysDropped(), *FRAMES, "dropout(self.core(x)[0], 0.5, training=True)"),
    ],
)
def test_it_is_told_by_its_line(
    module: nn.Module, args: Any, axes: Any, line: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match="same in every call") as told:
        rnn_edge.export(module.eval(), args, tmp_path / "bundle", axes=axes)
    assert line in str(told.value)
    assert "test_chance.py:" in str(told.value)
    assert not (tmp_path / "bundle").exists()


def test_answers_that_change_from_call_to_call_are_refused(tmp_path: Path) -> None:
    args, axes = FRAMES
    with pytest.raises(ExportError, match="same answers in every call"):
        rnn_edge.export(Counting().eval(), args, tmp_path / "bundle", axes=axes)


def test_a_choice_that_an_argument_decides_exports(tmp_path: Path) -> None:
    module = Taught().eval()
    bundle = rnn_edge.export(
        module, (torch.randint(7, (2, 9)), 1.5), tmp_path / "bundle",
        axes=[("batch", "sequence"), None], bounds={"target": (0, 6)},
    )  # fmt: skip
    target = torch.randint(7, (3, 23))
    (found,) = rnn_edge.Session(bundle).run(target.numpy())
    np.testing.assert_allclose(found, module(target, 1.5).detach().numpy(), atol=1e-5)
