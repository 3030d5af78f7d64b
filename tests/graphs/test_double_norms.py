"""Float64 layer norms keep their digits, whatever epsilon and however many axes they have."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

import rnn_edge


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last, self.plain = nn.LayerNorm(4), nn.LayerNorm(4, 1e-3, elementwise_affine=False)
        self.both = nn.LayerNorm((2, 2), bias=False)
        self.rnn = nn.GRU(4, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.plain(self.last(x)).unflatten(-1, (2, 2))
        return self.rnn(self.both(y).flatten(2))[0]


def test_float64_norms_equal_torch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Normed().double().eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 5, 4, dtype=torch.float64)
    bundle = rnn_edge.export(module, x, tmp_path / "bundle", axes=[("batch", "sequence", None)])
    session = rnn_edge.Session(bundle)
    for batch, steps in ((1, 1), (3, 8)):
        x = torch.randn(batch, steps, 4, dtype=torch.float64)
        (found,) = session.run(x.numpy())
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(found), module(x), rtol=0, atol=1e-12)
