"""Modules that keep state on themselves are refused by name, and left as they were."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import rnn_edge
from rnn_edge.capture.attributes import watching_attributes


class KeepsTensor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.core = nn.GRU(3, 4, batch_first=True)
        self.state: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        y, self.state = self.core(x, self.state)
        return y


class KeepsBuffer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.core = nn.GRU(3, 4, batch_first=True)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        return self.core(x)[0] * self.seen


@pytest.mark.parametrize(("kind", "name"), [(KeepsTensor, "state"), (KeepsBuffer, "seen")])
def test_kept_state_is_refused_and_put_back(
    kind: type[nn.Module], name: str, tmp_path: Path
) -> None:
    module = nn.Sequential(kind())
    before = getattr(module[0], name)
    value = None if before is None else before.clone()
    with pytest.raises(rnn_edge.RnnEdgeError, match=rf"it sets self\.0\.{name}\."):
        rnn_edge.export(
            module, torch.randn(2, 5, 3), tmp_path / "b", axes=[("batch", "sequence", None)]
        )
    assert getattr(module[0], name) is before
    assert value is None or torch.equal(before, value)


def test_attributes_are_put_back_after_an_exception() -> None:
    module = nn.Linear(1, 1)

    def change_and_stop() -> None:
        module.note = "new"
        module.in_features = 7
        raise ValueError("stop")

    watching = watching_attributes(module)
    changed = watching.__enter__()
    with pytest.raises(ValueError, match="stop") as caught:
        change_and_stop()
    watching.__exit__(ValueError, caught.value, None)
    assert changed == ["in_features", "note"]
    assert module.in_features == 1
    assert not hasattr(module, "note")
