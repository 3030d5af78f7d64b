"""A refusal by verification names the part and the line that compute what is off."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import rnn_edge
from rnn_edge.errors import ExportError, VerificationError

AXES = [("batch", "sequence", None)]


class Squeezed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.squeeze(x.sum(-1))


class Chosen(nn.Module):
    """Of equal values torch and ONNX choose others."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * 0).topk(2, -1)[1]


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (
            Squeezed(),
            r"is computed by \w+ in Sequential\.1 at test_told_places\.py:\d+\. Take sizes",
        ),
        (Chosen(), r"is computed by TopK in Sequential\.1 at test_told_places\.py:\d+\. Nothing"),
    ],
    ids=["rank", "values"],
)
def test_part_and_line_are_named(head: nn.Module, told: str, tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(3, 4), head).eval()
    with pytest.raises(VerificationError, match=told):
        rnn_edge.export(module, torch.randn(2, 6, 3), tmp_path / "bundle", axes=AXES)
    assert list(tmp_path.iterdir()) == []


class Counted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.mode((3 * x).long(), 1).values


class Responding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.local_response_norm(x.transpose(1, 2), 2)


@pytest.mark.parametrize(
    ("head", "dtype", "told"),
    [
        (
            Counted(),
            torch.float32,
            r"none for aten\.mode in Sequential\.1 at test_told\w+\.py:\d+\.",
        ),
        (
            Responding(),
            torch.float64,
            r"none for AveragePool in its dtype: .* in Sequential\.1 at test_told\w+\.py:\d+\.",
        ),
    ],
    ids=["form", "kernel"],
)
def test_part_and_line_of_what_has_no_form_are_named(
    head: nn.Module, dtype: torch.dtype, told: str, tmp_path: Path
) -> None:
    module = nn.Sequential(nn.Linear(3, 4), head).eval().to(dtype)
    with pytest.raises(ExportError, match=told):
        rnn_edge.export(module, torch.randn(2, 6, 3, dtype=dtype), tmp_path / "b", axes=AXES)
