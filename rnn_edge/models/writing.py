"""Writing a text id by id inside a module's forward(): the likeliest each, or a beam."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

# Ids that a writer knows: the first one begins every text, neither is ever written.
START, UNKNOWN = 0, 1
# The logit of what must not come; finite, so that differences of it stay numbers.
NEVER = -1e9
# What does not change while a row is written, one tensor each, its batch first.
Memory = tuple[Tensor, ...]


class Writer(nn.Module):
    """Abstract: ``next`` is one step; ``greedy`` and ``search`` write whole texts.

    ``end`` is the last of ``size`` ids, and ends a text; ``steps`` ids are written at most. With a
    ``beam`` above 1 so many texts are in view while writing, and the likeliest is given.
    """

    steps: int
    size: int
    beam: int

    @property
    def end(self) -> int:
        return self.size - 1

    @abstractmethod
    def next(self, token: Tensor, h: Tensor, memory: Memory) -> tuple[Tensor, Tensor, Tensor]:
        """One id on, token: int64[batch], h: float32[batch, state].

        Returns logits of the next id, float32[batch, size], the state after it, and what is to be
        told of the step, float32[batch, some].
        """

    def write(self, h: Tensor, memory: Memory) -> tuple[Tensor, Tensor, Tensor]:
        """From the first state on: written, int64[batch, steps], behind the end of a text the end
        again; log_probabilities: float32[batch, steps] of each, 0 behind the end; and what was
        told, float32[batch, steps, some].
        """
        return self.search(h, memory) if self.beam > 1 else self.greedy(h, memory)

    def teach(self, h: Tensor, memory: Memory, targets: Tensor) -> Tensor:
        """Logits of every target id after the right ones before it.

        targets: int64[batch, length] -> float32[batch, length, size].
        """
        found = []
        for token in shifted(targets).unbind(1):
            logits, h, _ = self.next(token, h, memory)
            found.append(logits)
        return torch.stack(found, dim=1)

    def greedy(self, h: Tensor, memory: Memory) -> tuple[Tensor, Tensor, Tensor]:
        token = torch.full_like(h[:, 0], START, dtype=torch.int64)
        over = torch.zeros_like(token, dtype=torch.bool)
        written, chances, told = [], [], []
        for _ in range(self.steps):
            logits, h, beside = self.next(token, h, memory)
            best, token = without_specials(logits).log_softmax(dim=1).max(dim=1)
            token = token.masked_fill(over, self.end)
            chances.append(best.masked_fill(over, 0.0))
            over = over | (token == self.end)
            written.append(token)
            told.append(beside)
        return torch.stack(written, 1), torch.stack(chances, 1), torch.stack(told, 1)

    def search(self, h: Tensor, memory: Memory) -> tuple[Tensor, Tensor, Tensor]:
        """Beam search; the texts of a row stand one after the other in what is batched."""
        width, batch = self.beam, len(h)
        h = h.repeat_interleave(width, dim=0)
        memory = tuple(part.repeat_interleave(width, dim=0) for part in memory)
        token = torch.full_like(h[:, 0], START, dtype=torch.int64)
        # At first there is one text; what goes on from the others is never chosen.
        scores = torch.cat([h.new_zeros(batch, 1), h.new_full((batch, width - 1), NEVER)], dim=1)
        places = torch.arange(self.size, device=h.device)
        ended = (places != self.end) * NEVER
        parents, written, chances, told = [], [], [], []
        for _ in range(self.steps):
            logits, h, beside = self.next(token, h, memory)
            chance = without_specials(logits).log_softmax(dim=1)
            chance = torch.where((token == self.end).unsqueeze(1), ended, chance)
            chance = chance.unflatten(0, (batch, width))
            scores, place = (scores.unsqueeze(2) + chance).flatten(1).topk(width, dim=1)
            parent = place // self.size
            token = (place % self.size).flatten()
            written.append(token.unflatten(0, (batch, width)))
            chances.append(chance.flatten(1).gather(1, place))
            told.append(_chosen(beside.unflatten(0, (batch, width)), parent))
            h = _chosen(h.unflatten(0, (batch, width)), parent).flatten(0, 1)
            parents.append(parent)
        kept = _path(scores, torch.stack(parents, dim=1), self.steps)
        over_time = torch.stack(told, dim=1)
        wide = kept.unsqueeze(3).expand(-1, -1, -1, over_time.shape[3])
        return (
            torch.stack(written, dim=1).gather(2, kept).squeeze(2),
            torch.stack(chances, dim=1).gather(2, kept).squeeze(2),
            over_time.gather(2, wide).squeeze(2),
        )


def shifted(targets: Tensor) -> Tensor:
    """What is read when ``targets``, int64[batch, length], are to be written: the ids before."""
    return torch.cat([torch.full_like(targets[:, :1], START), targets[:, :-1]], dim=1)


def without_specials(logits: Tensor) -> Tensor:
    """``logits`` without what is no character and no end."""
    places = torch.arange(logits.shape[1], device=logits.device)
    return logits.masked_fill(places <= UNKNOWN, NEVER)


def _path(scores: Tensor, parents: Tensor, steps: int) -> Tensor:
    """Where the likeliest text stood at each step: int64[batch, steps, 1]."""
    best = scores.argmax(dim=1, keepdim=True)
    backwards = parents.flip(1)
    path = []
    for step in range(steps):
        path.append(best)
        best = backwards[:, step].gather(1, best)
    return torch.stack(path, dim=1).flip(1)


def _chosen(parts: Tensor, places: Tensor) -> Tensor:
    """[batch, width, size], [batch, some] -> [batch, some, size]."""
    return parts.gather(1, places.unsqueeze(2).expand(-1, -1, parts.shape[2]))
