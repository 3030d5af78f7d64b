"""A refusal names the place in the person's module and the line, also of a file of torch's own."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import rnn_edge
from rnn_edge.errors import StreamError

HERE = Path(__file__).name


class Product(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.prod(1)  # part


class Inside(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.core = nn.GRU(3, 4, batch_first=True)
        self.pool = Product()

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.core(x)[0])


class Itself(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.core = nn.GRU(3, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.core(x)[0].prod(1)  # whole


class Turned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.core = nn.GRU(3, 4, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.core(x)[0]  # layer


def line_of(mark: str) -> int:
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith(f"# {mark}"))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Inside, f"ReduceProd pool/ReduceProd_0 is not: .*, at {HERE}:{line_of('part')}"),
        (Itself, f", in the module itself \\(Itself.forward\\) at {HERE}:{line_of('whole')}"),
        (Turned, f"GRU core.layer_0 is not: .*, at {HERE}:{line_of('layer')}"),
    ],
)
def test_a_refused_export_names_it(
    make: Callable[[], nn.Module], said: str, tmp_path: Path
) -> None:
    x = torch.zeros(2, 5, 3)
    axes = [("batch", "sequence", None)]
    with pytest.raises(StreamError, match=said):
        rnn_edge.export(make(), x, tmp_path / "b", axes=axes, stream=True)


def test_what_is_written_holds_no_line(tmp_path: Path) -> None:
    axes = [("batch", "sequence", None)]
    bundle = rnn_edge.export(Itself(), torch.zeros(2, 5, 3), tmp_path / "b", axes=axes)
    assert HERE.encode() not in bundle.graph_path().read_bytes()


def test_a_file_of_torch_s_own_names_it_too(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(3, 4), Product()).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (torch.zeros(2, 5, 3),), tmp_path / "x.onnx", dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence")},),
            input_names=["x"], verbose=False,
        )  # fmt: skip
    with pytest.raises(StreamError) as refused:
        rnn_edge.derive_stream(tmp_path / "x.onnx")
    assert re.search(rf", in 1 at {HERE}:{line_of('part')}\. ", str(refused.value))
