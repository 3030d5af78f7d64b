"""The lines that traced operators carry are those that torch.fx writes itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.fx.traceback import preserve_node_meta

from rnn_edge.capture.lines import WrittenLines


class Inner(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x) + 1


class Outer(nn.Module):
    def __init__(self, cheap: bool) -> None:
        super().__init__()
        self.inner = Inner()
        self.cheap = cheap

    def step(self, x: Tensor) -> Tensor:
        return self.inner(x) * 2

    def run(self, x: Tensor) -> Tensor:
        return self.step(x[:, 0]).exp()

    def forward(self, x: Tensor) -> Tensor:
        if not self.cheap:
            return self.run(x)
        with WrittenLines():
            return self.run(x)


def lines_of(cheap: bool) -> list[str]:
    with preserve_node_meta(cheap):
        exported = torch.export.export(Outer(cheap), (torch.randn(2, 3),), strict=False)
    nodes = [node for node in exported.graph.nodes if node.op == "call_function"]
    return [node.stack_trace.replace("in forward\n", "\n") for node in nodes]


def test_lines_are_those_of_torch() -> None:
    (own, torch_s) = (lines_of(cheap) for cheap in (True, False))
    assert len(own) == len(torch_s) > 3
    for one, other in zip(own, torch_s, strict=True):
        # The outermost call stands in another line of this file, by the way it is called.
        assert one.splitlines()[2:] == other.splitlines()[2:]
        assert one.count("test_lines.py") == other.count("test_lines.py") > 0
