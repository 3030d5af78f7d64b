"""The plain recurrent network, word for word from its equation: where to begin reading.

The same thing twice, both equal to nn.RNN, which is what one would use.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class PlainRNN(nn.Module):
    """H_t = tanh(X_t W_xh + H_{t-1} W_hh + b_h): one state for a step and the steps before it."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(hidden_size)
        self.W_xh = nn.Parameter(torch.empty(input_size, hidden_size).uniform_(-bound, bound))
        self.W_hh = nn.Parameter(torch.empty(hidden_size, hidden_size).uniform_(-bound, bound))
        self.b_h = nn.Parameter(torch.zeros(hidden_size))

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """x: float32[batch, sequence, input], h: float32[batch, hidden], the state before.

        Returns the states of all steps, float32[batch, sequence, hidden], and the last one.
        """
        states = []
        for t in range(x.shape[1]):
            h = torch.tanh(x[:, t] @ self.W_xh + h @ self.W_hh + self.b_h)
            states.append(h)
        return torch.stack(states, dim=1), h


class ConcatenatedRNN(nn.Module):
    """The same as one product: H_t = tanh([X_t, H_{t-1}] W + b_h), where W is W_xh on W_hh."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        rows, bound = input_size + hidden_size, 1 / math.sqrt(hidden_size)
        self.W = nn.Parameter(torch.empty(rows, hidden_size).uniform_(-bound, bound))
        self.b_h = nn.Parameter(torch.zeros(hidden_size))

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """As PlainRNN.forward."""
        states = []
        for t in range(x.shape[1]):
            h = torch.tanh(torch.cat([x[:, t], h], dim=1) @ self.W + self.b_h)
            states.append(h)
        return torch.stack(states, dim=1), h
