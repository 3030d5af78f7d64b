"""Graphs without writes in place give what the module gives that writes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from rnn_edge.capture.rolling.functional import make_functional, writes


class Places(nn.Module):
    """Elements, rows, all of it; a view that was taken before is read after a write."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        table = x.new_zeros(3, 4, 2)
        row, turned = table[1], table.transpose(0, 1)
        table[1, 2] = x[0]
        turned[0, 2] = x[1] * 2
        table[:, 3] = 0.5
        before = row + 1
        row[0] += x[2]
        table[2].fill_(3.0)
        table[0].masked_fill_(table[0] > 0.2, -1.0)
        return table, before, row * 2, turned


class Whole(nn.Module):
    """A result that is changed and used on, also what the operator gives back."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = x * 2
        z = y.relu_()
        y += x
        codes = torch.zeros(4, 3).scatter_(1, torch.tensor([[0], [2], [1], [1]]), 1.0)
        return y, z, codes


class Unknown(nn.Module):
    """Through a view of other sizes, which may be a copy."""

    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        y.view(2, 4)[0] = 1.0
        return y


@pytest.mark.parametrize("make", [Places, Whole])
def test_writes_become_results(make: type[nn.Module]) -> None:
    x = torch.arange(8.0).reshape(4, 2) - 3
    exported = torch.export.export(make(), (x,), strict=False)

    graph = make_functional(exported)

    assert graph is not None
    assert not any(writes(node) for node in graph.nodes)
    constants = list(exported.constants.values())
    found = GraphModule(exported.graph_module, graph)(*constants, x)
    for one, other in zip(found, make()(x), strict=True):
        torch.testing.assert_close(one.expand_as(other), other, rtol=0, atol=0)


def test_other_writes_are_left_to_torch() -> None:
    exported = torch.export.export(Unknown(), (torch.ones(4, 2),), strict=False)
    assert make_functional(exported) is None
