"""Steps of a trace name the line of the user's code that they come from."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from rnn_edge.capture.rolling.steps import read_trace


class CellAndLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.cell(x)
        return self.head(h)


def test_line_is_the_users_where_torch_calls_the_operator() -> None:
    trace = read_trace(torch.export.export(CellAndLayer().eval(), (torch.randn(2, 3),)))
    first = CellAndLayer.forward.__code__.co_firstlineno
    name = Path(__file__).name
    lines = {step.line for step in trace.steps if "sym_size" not in str(step.target)}
    assert lines == {f"{name}:{first + 1}", f"{name}:{first + 2}"}
