"""Loops that a value ends early: as many steps as in eager torch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import rnn_edge
from rnn_edge.errors import ExportError

MOST, END = 5, 2


class Translator(nn.Module):
    """Tokens until every row has its end, five at most."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.embedding = nn.GRU(4, 3, batch_first=True), nn.Embedding(6, 4)
        self.cell, self.out = nn.GRUCell(4, 3), nn.Linear(3, 6)

    def forward(self, x: Tensor) -> Tensor:
        h = self.encoder(x)[1][0]
        token, done = torch.zeros(len(h), dtype=torch.long), torch.zeros(len(h), dtype=torch.bool)
        tokens: list[Tensor] = []
        while not done.all() and len(tokens) < MOST:
            h, token, done = self.step(h, token, done)
            tokens.append(token)
        return torch.stack(tokens, 1)

    def step(self, h: Tensor, token: Tensor, done: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.cell(self.embedding(token), h)
        token = self.out(h).argmax(-1)
        return h, token, done | (token == END)


class Breaking(Translator):
    """The last state as well, and the length in a product behind the loop."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.encoder(x)[1][0]
        token, done = torch.zeros(len(h), dtype=torch.long), torch.zeros(len(h), dtype=torch.bool)
        tokens = []
        for _ in range(MOST):
            h, token, done = self.step(h, token, done)
            tokens.append(token.unsqueeze(1))
            if done.all():
                break
        return torch.cat(tokens, 1).unsqueeze(2) * h.unsqueeze(1) * len(tokens)


class Settling(Translator):
    """A fixed point, to a tolerance: what is returned is from before the last step."""

    def forward(self, x: Tensor) -> Tensor:
        given = self.encoder(x)[1][0]
        z = torch.zeros_like(given)
        for _ in range(MOST):
            following = torch.tanh(0.4 * z.flip(1) + given)
            if (following - z).abs().max() < 0.05:
                break
            z = following
        return z


class Endless(Translator):
    def forward(self, x: Tensor) -> Tensor:
        h = self.encoder(x)[1][0]
        while (h > 0.1).any():
            h = h * 0.5
        return h


AXES = [("batch", "sequence", None)]


@pytest.mark.parametrize("kind", [Translator, Breaking, Settling])
def test_as_many_steps_are_done_as_in_torch(kind: type[Translator], tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = kind().eval()
    with torch.no_grad():
        module.out.bias[END] += 0.35
    bundle = rnn_edge.export(
        module, torch.randn(2, 6, 4), tmp_path / "out", axes=AXES, stream=False
    )
    session = rnn_edge.Session(bundle)
    lengths = set()
    for batch in (1, 2, 4, 6):
        for scale in (0.1, 1.0, 3.0):
            x = scale * torch.randn(batch, 3, 4)
            (found,) = session.run(x.numpy())
            with torch.no_grad():
                expected = module(x)
            torch.testing.assert_close(torch.from_numpy(found), expected)
            lengths.add(expected.shape[1])
    assert kind is Settling or len(lengths) > 2


def test_loop_without_an_end_of_its_own_is_refused_at_its_line(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"a loop that ends .* `while .* at test_stopping\.py:"):
        rnn_edge.export(Endless().eval(), torch.randn(2, 6, 4), tmp_path / "out", axes=AXES)
