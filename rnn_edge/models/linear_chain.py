"""A linear-chain conditional random field: scores of label pairs, and the best path in tensors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Below every score of a path, and still exact to add to one.
NEVER = -1e4


class LinearChain(nn.Module):
    """``transitions[a, b]`` is the score of label b after a, ``start`` and ``end`` of a row's ends.

    The names and the meaning are those of pytorch-crf, which trains them.
    """

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.start_transitions = nn.Parameter(torch.empty(labels).uniform_(-0.1, 0.1))
        self.end_transitions = nn.Parameter(torch.empty(labels).uniform_(-0.1, 0.1))
        self.transitions = nn.Parameter(torch.empty(labels, labels).uniform_(-0.1, 0.1))

    def best_path(self, logits: Tensor, lengths: Tensor) -> Tensor:
        """Viterbi: float32[batch, sequence, labels] -> int64[batch, sequence].

        Behind a row's length stands its last label. A label more, where every path begins, makes
        the first step one like all others.
        """
        batch, _, labels = logits.shape
        begin = torch.cat([logits.new_full((batch, labels), NEVER), logits.new_zeros(batch, 1)], 1)
        pairs = torch.cat([self.transitions, self.start_transitions.unsqueeze(0)]).unsqueeze(0)
        itself = torch.arange(labels, device=logits.device).expand(batch, labels)
        score, pointers = begin, []
        for step in range(logits.shape[1]):
            valid = (step < lengths).unsqueeze(1)
            best, before = (score.unsqueeze(2) + pairs).max(dim=1)
            reached = torch.cat([best + logits[:, step], begin[:, :1]], 1)
            score = torch.where(valid, reached, score)
            pointers.append(torch.where(valid, before, itself))
        last = (score[:, :-1] + self.end_transitions).argmax(dim=1, keepdim=True)
        over_time = torch.stack(pointers, dim=1).flip(1)
        path = []
        for step in range(logits.shape[1]):
            path.append(last)
            last = over_time[:, step].gather(1, last)
        return torch.cat(path, dim=1).flip(1)
