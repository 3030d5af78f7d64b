"""A loop is not walked through only to learn that it is one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnn_edge.capture.arguments import read_arguments
from rnn_edge.capture.program import trace

AXES = [("batch", "sequence", None), ("batch", "horizon", None)]
STEPS: list[int] = []


class Counting(nn.Module):
    """Two loops over two axes; STEPS has the steps of each call."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.encoder = nn.GRUCell(3, 4)
        self.decoder = nn.Linear(6, 4)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        STEPS.append(0)
        h = x.new_zeros(x.shape[0], 4)
        for t in range(x.shape[1]):
            STEPS[-1] += 1
            h = self.encoder(x[:, t], h)
        outputs = []
        for t in range(y.shape[1]):
            STEPS[-1] += 1
            h = torch.tanh(self.decoder(torch.cat([y[:, t], h], dim=1)))
            outputs.append(h)
        return torch.stack(outputs, dim=1)


def test_traces_stop_where_an_axis_turns_out_to_be_fixed() -> None:
    STEPS.clear()
    module = Counting().eval()
    examples = (torch.randn(2, 60, 3), torch.randn(2, 50, 2))
    with torch.no_grad():
        trace(module, read_arguments(module, examples, None, AXES))
    # One finds the first loop, one the second behind it; four lengths then show both.
    assert STEPS == [1, 5 + 1, 5 + 7, 6 + 7, 5 + 8, 8 + 10]
