"""Characters in, other characters out: encoder, attention, decoder, and the writing itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rnn_edge.models.character_model import CharacterModel
from rnn_edge.models.layers import read_rows
from rnn_edge.models.recurrent import core_features

# Ids that the decoder knows: the first one begins every text, neither is ever written.
START, UNKNOWN = 0, 1
# The logit of what must not come; finite, so that differences of it stay numbers.
NEVER = -1e9


class Translator(CharacterModel):
    """A recurrent encoder over packed rows and a GRU cell that attends to all its outputs.

    ``end`` is the last of ``target_size`` ids, and ends a text; ``steps`` ids are written at most.
    With a ``beam`` above 1 so many texts are in view while writing, and the likeliest is given.
    """

    def __init__(
        self, vocabulary_size: int, target_size: int, steps: int, *, beam: int = 1, **options: Any
    ) -> None:
        super().__init__(vocabulary_size, **options)
        hidden, features = options["hidden_size"], core_features(self.core)
        embedding = options["embedding_size"]
        self.steps, self.end, self.beam = steps, target_size - 1, beam
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
        return self._search(tokens, lengths) if self.beam > 1 else self._greedy(tokens, lengths)

    def _greedy(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        memory, keys, padding, h = self._encode(tokens, lengths)
        token = torch.full_like(lengths, START)
        over = torch.zeros_like(lengths, dtype=torch.bool)
        written, chances, maps = [], [], []
        for _ in range(self.steps):
            logits, h, weights = self._step(token, h, memory, keys, padding)
            best, token = self._never(logits).log_softmax(dim=1).max(dim=1)
            token = token.masked_fill(over, self.end)
            chances.append(best.masked_fill(over, 0.0))
            over = over | (token == self.end)
            written.append(token)
            maps.append(weights)
        return torch.stack(written, 1), torch.stack(chances, 1), torch.stack(maps, 1)

    def _search(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Beam search; the texts of a row stand one after the other in what is batched."""
        width, batch = self.beam, len(tokens)
        memory, keys, padding, h = (
            part.repeat_interleave(width, dim=0) for part in self._encode(tokens, lengths)
        )
        token = torch.full_like(lengths, START).repeat_interleave(width)
        # At first there is one text; what goes on from the others is never chosen.
        scores = torch.cat(
            [memory.new_zeros(batch, 1), memory.new_full((batch, width - 1), NEVER)], dim=1
        )
        places = torch.arange(len(self.head.bias), device=tokens.device)
        ended = (places != self.end) * NEVER
        parents, written, chances, maps = [], [], [], []
        for _ in range(self.steps):
            logits, h, weights = self._step(token, h, memory, keys, padding)
            chance = self._never(logits).log_softmax(dim=1)
            chance = torch.where((token == self.end).unsqueeze(1), ended, chance)
            chance = chance.unflatten(0, (batch, width))
            scores, place = (scores.unsqueeze(2) + chance).flatten(1).topk(width, dim=1)
            parent = place // len(places)
            token = (place % len(places)).flatten()
            written.append(token.unflatten(0, (batch, width)))
            chances.append(chance.flatten(1).gather(1, place))
            maps.append(_chosen(weights.unflatten(0, (batch, width)), parent))
            h = _chosen(h.unflatten(0, (batch, width)), parent).flatten(0, 1)
            parents.append(parent)
        best = scores.argmax(dim=1, keepdim=True)
        backwards = torch.stack(parents, dim=1).flip(1)
        path = []
        for step in range(self.steps):
            path.append(best)
            best = backwards[:, step].gather(1, best)
        kept = torch.stack(path, dim=1).flip(1)
        over_time = torch.stack(maps, dim=1)
        wide = kept.unsqueeze(3).expand(-1, -1, -1, over_time.shape[3])
        return (
            torch.stack(written, dim=1).gather(2, kept).squeeze(2),
            torch.stack(chances, dim=1).gather(2, kept).squeeze(2),
            over_time.gather(2, wide).squeeze(2),
        )

    def teach(self, tokens: Tensor, lengths: Tensor, targets: Tensor) -> Tensor:
        """Logits of every target id after the right ones before it.

        targets: int64[batch, length] -> float32[batch, length, target_size].
        """
        memory, keys, padding, h = self._encode(tokens, lengths)
        found = []
        given = torch.cat([torch.full_like(targets[:, :1], START), targets[:, :-1]], dim=1)
        for token in given.unbind(1):
            logits, h, _ = self._step(token, h, memory, keys, padding)
            found.append(logits)
        return torch.stack(found, dim=1)

    def _encode(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the encoder remembers of each step, its keys, the padding, and the first state."""
        embedded = self.dropout(self.embedded(tokens))
        memory, final = read_rows(self.core, embedded, lengths)
        hidden = final[0] if isinstance(final, tuple) else final
        directions = 2 if self.core.bidirectional else 1
        h = torch.tanh(self.bridge(torch.cat([*hidden[-directions:]], dim=1)))
        steps = torch.arange(tokens.shape[1], device=tokens.device)
        return memory, self.keys(memory), steps >= lengths.unsqueeze(1), h

    def _step(
        self, token: Tensor, h: Tensor, memory: Tensor, keys: Tensor, padding: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One id on: logits of the next one, the state, and the weights of the memory."""
        energies = torch.bmm(keys, h.unsqueeze(2)).squeeze(2)
        weights = energies.masked_fill(padding, NEVER).softmax(dim=1)
        context = torch.bmm(weights.unsqueeze(1), memory).squeeze(1)
        h = self.cell(torch.cat([self.target(token), context], dim=1), h)
        return self.head(self.dropout(torch.cat([h, context], dim=1))), h, weights

    def _never(self, logits: Tensor) -> Tensor:
        """``logits`` without what is no character and no end."""
        places = torch.arange(logits.shape[1], device=logits.device)
        return logits.masked_fill(places <= UNKNOWN, NEVER)


def _chosen(parts: Tensor, places: Tensor) -> Tensor:
    """[batch, width, size], [batch, some] -> [batch, some, size]."""
    return parts.gather(1, places.unsqueeze(2).expand(-1, -1, parts.shape[2]))
