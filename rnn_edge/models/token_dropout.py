"""Ids replaced by "unknown" at random while training."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TokenDropout(nn.Module):
    """In training each id becomes ``unknown`` with probability ``rate``; else nothing happens.

    The embedding of unknown is trained by this alone where the training text has no unknowns.
    """

    def __init__(self, rate: float, unknown: int) -> None:
        super().__init__()
        self.rate = rate
        self.unknown = unknown

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: int64 of any shape."""
        if not self.training or self.rate == 0:
            return tokens
        dropped = torch.rand(tokens.shape, device=tokens.device) < self.rate
        return tokens.masked_fill(dropped, self.unknown)
