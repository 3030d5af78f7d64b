"""Where a module amplifies rounding, the noise is what rounding does to it; nowhere else."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

import rnn_edge
from rnn_edge.capture.arguments import read_arguments
from rnn_edge.errors import VerificationError
from rnn_edge.verification.oracle import Oracle

AXES = [("batch", "sequence", None)]


class Chaotic(nn.Module):
    """The logistic map at its most chaotic: an error doubles at every step."""

    def forward(self, x: Tensor) -> Tensor:
        value = torch.sigmoid(x[:, 0])
        for t in range(x.size(1)):
            value = 3.99 * value * (1 - value) + 0 * x[:, t]
        return value


class Tame(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.core = nn.GRU(3, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.core(x)[0]


def noise_of(module: nn.Module, steps: int) -> tuple[float, float]:
    """(what two precisions tell, what other roundings tell) of the first output."""
    example = torch.randn(2, steps, 3, generator=torch.Generator().manual_seed(1))
    arguments = read_arguments(module, example, None, AXES)
    (answer,) = Oracle(module.eval(), arguments).answer({"x": example.numpy()})
    return float(abs(answer.own - answer.truth).max()), answer.sensitivity()


def test_roundings_grow_with_the_errors_they_stand_for() -> None:
    # 2 ** 12 times a rounding of 6e-8, and far from the size of the values, which is 1.
    _, spread = noise_of(Chaotic(), 12)
    assert 2e-6 < spread < 2e-2


def test_a_tame_module_has_no_more_noise_than_its_rounding() -> None:
    own, spread = noise_of(Tame(), 50)
    assert spread < 5e-6
    assert own < 1e-6


def test_module_that_amplifies_rounding_exports(tmp_path: Path) -> None:
    """At 60 steps the map has forgotten its start: any float32 answer is as right as another."""
    bundle = rnn_edge.export(Chaotic(), torch.randn(2, 6, 3), tmp_path / "b", axes=AXES)
    assert bundle.evidence["parity"]["outputs"][0]["noise"] > 1e-3


def test_wrong_weights_are_no_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A weight that is off by a thousandth is far outside what rounding explains."""
    home = importlib.import_module("rnn_edge.capture.capture")
    true_capture = home.capture

    def spoil(*args: Any, **options: Any) -> Any:
        captured = true_capture(*args, **options)
        weights = captured.model.graph.initializers["core.layer_0.W"]
        weights.const_value = ir.tensor(weights.const_value.numpy() * np.float32(1.001))
        return captured

    monkeypatch.setattr("rnn_edge.capture.capture", spoil)
    with pytest.raises(VerificationError, match="must be within"):
        rnn_edge.export(Tame(), torch.randn(2, 6, 3), tmp_path / "b", axes=AXES)
