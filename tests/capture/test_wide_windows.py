"""Windows wider than the small sizes at which modules are traced, as over samples of sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rnn_edge
from rnn_edge.errors import ExportError, InputError

WINDOW, HOP = 50, 20


class Windows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.windows = nn.Conv1d(1, 4, WINDOW, HOP)
        self.core = nn.GRU(4, 5, batch_first=True)

    def forward(self, samples: Tensor) -> Tensor:
        frames = self.windows(samples.unsqueeze(1)).transpose(1, 2)
        return self.core(torch.relu(frames))[0]


class Fails(nn.Module):
    def forward(self, samples: Tensor) -> Tensor:
        raise ValueError("there is nothing to be had")


def test_a_module_that_takes_long_sequences_alone_is_traced_at_them(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, example = Windows().eval(), torch.randn(2, 120)
    bundle = rnn_edge.export(module, (example,), tmp_path / "w", axes=[("batch", "sequence")])
    assert bundle.graph().axes["sequence"].minimum == WINDOW
    tried = {case["sequence"] for case in bundle.evidence["parity"]["cases"]}
    assert {WINDOW, 2 * WINDOW + 1} < tried
    session = rnn_edge.Session(bundle)
    for shape in ((1, WINDOW), (3, 333), (2, WINDOW + HOP - 1)):
        samples = torch.randn(shape)
        with torch.no_grad():
            expected = module(samples).numpy()
        np.testing.assert_allclose(session.run(samples.numpy())[0], expected, atol=1e-5)
    with pytest.raises(InputError, match=r"sequence.* at least 50"):
        session.run(np.zeros((1, WINDOW - 1), np.float32))


def test_a_module_that_takes_nothing_is_refused_for_its_own_reason(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="there is nothing to be had"):
        rnn_edge.export(
            Fails(), (torch.randn(2, 120),), tmp_path / "f", axes=[("batch", "sequence")]
        )
