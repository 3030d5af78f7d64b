"""A number for the whole batch that runs along with the states of a cell, such as a loss so far."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import rnn_edge


class Imputing(nn.Module):
    """Fills gaps by what the state expects, and sums how far off it was where there was none."""

    def __init__(self, cell: type[nn.RNNCellBase]) -> None:
        super().__init__()
        self.cell, self.expected = cell(6, 5), nn.Linear(5, 3)  # type: ignore[call-arg]

    def forward(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        h, loss = torch.zeros(values.size(0), 5), 0.0
        filled = []
        for t in range(values.size(1)):
            x, m = values[:, t], mask[:, t]
            guess = self.expected(h)
            loss = loss + torch.sum(torch.abs(x - guess) * m) / (torch.sum(m) + 1e-5)
            whole = m * x + (1 - m) * guess
            h = self.cell(torch.cat([whole, m], 1), h)
            filled.append(whole)
        return torch.stack(filled, 1), loss / values.size(1)


@pytest.mark.parametrize("cell", [nn.GRUCell, nn.RNNCell])
def test_it_is_carried_beside_the_states(cell: type[nn.RNNCellBase], tmp_path: Path) -> None:
    torch.manual_seed(1)
    module = Imputing(cell).eval()

    def draw(batch: int, steps: int) -> tuple[Tensor, Tensor]:
        mask = (torch.rand(batch, steps, 3) > 0.4).float()
        return torch.randn(batch, steps, 3), mask

    bundle = rnn_edge.export(
        module, draw(2, 6), tmp_path / "bundle", axes=[("batch", "sequence", None)] * 2
    )
    counts = Counter(node.op_type for node in onnx.load(bundle.graph_path()).graph.node)
    assert counts["Scan"] == 1
    # Beside the states of its rows, the stream carries a number that no row owns.
    assert "stream" in bundle.contract.graphs
    session = rnn_edge.Session(bundle)
    for batch, steps in ((1, 1), (3, 11), (5, 23)):
        given = draw(batch, steps)
        with torch.no_grad():
            expected = module(*given)
        found = session.run(*(tensor.numpy() for tensor in given))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-6)
