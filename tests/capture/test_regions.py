"""Loops inside of, and loops that enter, autocast, set_grad_enabled and vmap."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import rnn_edge

F, H = 3, 4


class Step(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(F, H)
        self.head = nn.Linear(H, 2)


class LoopInside(Step):
    """Float32 is asked for around the whole loop, as in training with mixed precision."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast("cpu", enabled=False):
            h, states = x.new_zeros(len(x), H), []
            for frame in x.float().unbind(1):
                h = self.cell(frame, h)
                states.append(h)
        return self.head(torch.stack(states, 1)), h


class EntersInLoop(Step):
    """Every step enters both, one in the other; a state that one region gives is the next one's."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h, states = x.new_zeros(len(x), H), []
        for frame in x.unbind(1):
            with torch.set_grad_enabled(True), torch.autocast("cuda", enabled=False):
                h = self.cell(frame, h)
                with torch.autocast("cpu", enabled=False):
                    h = h * 0.9 + self.head.weight[0]
            states.append(h)
        return torch.stack(states, 1), h


class RowByRow(Step):
    """The forward of one sequence, mapped over the batch."""

    def forward(self, x: Tensor) -> tuple[Tensor]:
        def run(sequence: Tensor) -> Tensor:
            h = torch.zeros(H)
            for frame in sequence.unbind(0):
                given = functional.linear(frame, self.cell.weight_ih[:H])
                h = torch.tanh(given + functional.linear(h, self.cell.weight_hh[:H]))
            return h

        return (torch.vmap(run)(x),)


class Casts(Step):
    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), H)
        for frame in x.unbind(1):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                h = self.cell(frame, h).float()
        return h


def export(module: nn.Module, folder: Path) -> rnn_edge.Bundle:
    axes = [("batch", "sequence", None)]
    return rnn_edge.export(module, torch.randn(2, 6, F), folder / "bundle", axes=axes)


KINDS = [(LoopInside, "GRU"), (EntersInLoop, "Scan"), (RowByRow, "Scan")]


@pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'")
@pytest.mark.parametrize(("kind", "operator"), KINDS)
def test_loops_equal_eager_torch(kind: type[Step], operator: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = kind()
    bundle = export(module, tmp_path)
    operators = [node.op_type for node in onnx.load(bundle.graph_path()).graph.node]
    assert operators.count(operator) == 1
    session = rnn_edge.Session(bundle)
    for batch, steps in ((1, 1), (3, 17)):
        x = torch.randn(batch, steps, F)
        for found, expected in zip(session.run(x.numpy()), module(x), strict=True):
            torch.testing.assert_close(torch.from_numpy(found), expected.detach())


def test_autocast_that_computes_otherwise_is_refused(tmp_path: Path) -> None:
    with pytest.raises(rnn_edge.RnnEdgeError, match=r"torch\.autocast\('cpu', torch\.bfloat16\)"):
        export(Casts(), tmp_path)
