"""A single number that a module holds may be asked for in Python: no input changes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import rnn_edge


class AsksItself(nn.Module):
    scale: Tensor
    ready: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.core, self.temperature = (
            nn.GRU(3, 4, batch_first=True),
            nn.Parameter(torch.tensor(0.7)),
        )
        self.register_buffer("scale", torch.tensor([2.0]))
        self.register_buffer("ready", torch.tensor(1, dtype=torch.uint8))

    def forward(self, x: Tensor) -> Tensor:
        if not self.ready:
            raise RuntimeError("must be initialised")
        y = self.core(x)[0] * self.scale.item()
        return y / float(self.temperature) if self.ready.item() == 1 else y


def test_numbers_that_a_module_holds_are_taken_as_they_are(tmp_path: Path) -> None:
    module = AsksItself().eval()
    bundle = rnn_edge.export(
        module, torch.randn(2, 6, 3), tmp_path / "bundle", axes=[("batch", "time", None)]
    )
    x = torch.randn(3, 9, 3)
    (found,) = rnn_edge.Session(bundle).run(x.numpy())
    np.testing.assert_allclose(found, module(x).detach().numpy(), atol=1e-6)
