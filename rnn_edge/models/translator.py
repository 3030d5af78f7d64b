"""Characters in, other characters out: encoder, attention, decoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rnn_edge.models.character_model import CharacterModel
from rnn_edge.models.layers import read_rows
from rnn_edge.models.recurrent import core_features
from rnn_edge.models.writing import NEVER, Memory, Writer


class Translator(CharacterModel, Writer):
    """A recurrent encoder over packed rows and a GRU cell that attends to all its outputs."""

    def __init__(
        self, vocabulary_size: int, target_size: int, steps: int, *, beam: int = 1, **options: Any
    ) -> None:
        super().__init__(vocabulary_size, **options)
        hidden, features = options["hidden_size"], core_features(self.core)
        embedding = options["embedding_size"]
        self.steps, self.size, self.beam = steps, target_size, beam
        self.target = nn.Embedding(target_size, embedding)
        self.bridge = nn.Linear(features, hidden)
        self.keys = nn.Linear(features, hidden, bias=False)
        self.cell = nn.GRUCell(embedding + features, hidden)
        self.head = nn.Linear(hidden + features, target_size)

    def forward(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """tokens: int64[batch, sequence], lengths: int64[batch], 1 or more.

        Returns written: int64[batch, steps], each the likeliest id after those before, or with a
        beam the likeliest text that was found, and behind the end of a text the end again;
        log_probabilities: float32[batch, steps] of each, 0 behind the end; attention:
        float32[batch, steps, sequence], what each was written from.
        """
        return self.write(*self._encode(tokens, lengths))

    def taught(self, tokens: Tensor, lengths: Tensor, targets: Tensor) -> Tensor:
        """Logits of every target id after the right ones before it.

        targets: int64[batch, length] -> float32[batch, length, target_size].
        """
        return self.teach(*self._encode(tokens, lengths), targets)

    def _encode(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Memory]:
        """The first state; what the encoder remembers of each step, its keys, the padding."""
        embedded = self.dropout(self.embedded(tokens))
        memory, final = read_rows(self.core, embedded, lengths)
        hidden = final[0] if isinstance(final, tuple) else final
        directions = 2 if self.core.bidirectional else 1
        h = torch.tanh(self.bridge(torch.cat([*hidden[-directions:]], dim=1)))
        steps = torch.arange(tokens.shape[1], device=tokens.device)
        return h, (memory, self.keys(memory), steps >= lengths.unsqueeze(1))

    def next(self, token: Tensor, h: Tensor, memory: Memory) -> tuple[Tensor, Tensor, Tensor]:
        """One id on: logits of the next one, the state, and the weights of what was read."""
        read, keys, padding = memory
        energies = torch.bmm(keys, h.unsqueeze(2)).squeeze(2)
        weights = energies.masked_fill(padding, NEVER).softmax(dim=1)
        context = torch.bmm(weights.unsqueeze(1), read).squeeze(1)
        h = self.cell(torch.cat([self.target(token), context], dim=1), h)
        return self.head(self.dropout(torch.cat([h, context], dim=1))), h, weights
