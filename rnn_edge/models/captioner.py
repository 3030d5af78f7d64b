"""A picture in, characters out: convolutions give the first state of a recurrent decoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rnn_edge.models.layers import AnyState
from rnn_edge.models.recurrent import recurrent_core, state_size
from rnn_edge.models.writing import Memory, Writer, shifted

CHANNELS = (16, 32, 32)


class Captioner(Writer):
    """Three convolutions, and a recurrent core whose state begins as what they saw.

    One step of the core reads one id beside what they saw; an LSTM's cell state comes from the
    picture as h does.
    """

    def __init__(
        self,
        height: int,
        width: int,
        maximum: float,
        target_size: int,
        steps: int,
        *,
        beam: int = 1,
        cell: str,
        embedding_size: int,
        hidden_size: int,
        num_layers: int = 1,
        dropout: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__()
        self.steps, self.size, self.beam = steps, target_size, beam
        self.maximum: Tensor
        self.register_buffer("maximum", torch.tensor(float(maximum)))
        layers: list[nn.Module] = []
        for inside, outside in zip((3, *CHANNELS), CHANNELS, strict=False):
            convolution = nn.Conv2d(inside, outside, 3, stride=2, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(outside), nn.ReLU()]
        seen = CHANNELS[-1] * -(-height // 8) * -(-width // 8)
        self.convolutions = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(seen, hidden_size), nn.ReLU()
        )
        self.embedding = nn.Embedding(target_size, embedding_size)
        self.dropout = nn.Dropout(dropout)
        self.core = recurrent_core(
            cell,
            embedding_size + hidden_size,
            hidden_size,
            num_layers,
            dropout=dropout,
            **options,
        )
        h_size = state_size(self.core)
        self.parts = [h_size, self.core.hidden_size] if cell.startswith("lstm") else [h_size]
        self.first = nn.Linear(hidden_size, num_layers * sum(self.parts))
        self.head = nn.Linear(h_size, target_size)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """picture: float32[batch, 3, height, width], 0 to ``maximum``.

        Returns written: int64[batch, steps], each the likeliest id after those before, or with a
        beam the likeliest text that was found, and behind the end of a text the end again;
        log_probabilities: float32[batch, steps] of each, 0 behind the end.
        """
        written, chances, _ = self.write(*self._look(picture))
        return written, chances

    def taught(self, picture: Tensor, targets: Tensor) -> Tensor:
        """Logits of every target id after the right ones before it.

        targets: int64[batch, length] -> float32[batch, length, target_size].
        """
        h, (seen,) = self._look(picture)
        read = self.dropout(self.embedding(shifted(targets)))
        beside = seen.unsqueeze(1).expand(-1, read.shape[1], -1)
        states, _ = self.core(torch.cat([read, beside], dim=2), self._state(h))
        return self.head(self.dropout(states))

    def next(self, token: Tensor, h: Tensor, memory: Memory) -> tuple[Tensor, Tensor, Tensor]:
        read = torch.cat([self.embedding(token), *memory], dim=1)
        states, final = self.core(read.unsqueeze(1), self._state(h))
        tensors = final if isinstance(final, tuple) else (final,)
        joined = torch.cat([part.transpose(0, 1).flatten(1) for part in tensors], dim=1)
        return self.head(states[:, 0]), joined, h[:, :1]

    def _look(self, picture: Tensor) -> tuple[Tensor, Memory]:
        """The first state, float32[batch, state], and what was seen, float32[batch, hidden]."""
        seen = self.convolutions(picture / self.maximum)
        return torch.tanh(self.first(seen)), (seen,)

    def _state(self, h: Tensor) -> AnyState:
        """The core's state, of what stands in one row for each of the batch."""
        layers = self.core.num_layers
        sizes = [layers * size for size in self.parts]
        found = tuple(
            part.unflatten(1, (layers, -1)).transpose(0, 1).contiguous()
            for part in h.split(sizes, dim=1)
        )
        return found if len(found) > 1 else found[0]
