"""Recurrent cells that torch does not have, written from their equations: one step each.

A cell takes ``gates``, what the input brings to one step, as its ``project`` makes it for all steps
at once, and the state: (h, c) of an LSTM, (h,) of a GRU, each float32[batch, hidden].
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

State = tuple[Tensor, ...]


class Cell(nn.Module):
    """Abstract: ``weight_ih`` and ``weight_hh`` of ``gate_count`` gates, one beside the other."""

    gate_count: ClassVar[int]
    state_count: ClassVar[int]

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        rows, bound = self.gate_count * hidden_size, 1 / math.sqrt(hidden_size)
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size).uniform_(-bound, bound))
        self.weight_hh = nn.Parameter(torch.empty(rows, hidden_size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(rows).uniform_(-bound, bound))

    @abstractmethod
    def project(self, x: Tensor) -> Tensor:
        """x: float32[batch, sequence, input] -> gates: float32[batch, sequence, gates * hidden]."""

    @abstractmethod
    def forward(self, gates: Tensor, state: State) -> State:
        """One step, gates: float32[batch, gates * hidden]."""


class PeepholeLSTMCell(Cell):
    """An LSTM whose gates also see the cell state, each unit its own: ONNX LSTM with P."""

    gate_count, state_count = 4, 2

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        bound = 1 / math.sqrt(hidden_size)
        self.peephole = nn.Parameter(torch.empty(3, hidden_size).uniform_(-bound, bound))

    def project(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight_ih, self.bias)

    def forward(self, gates: Tensor, state: State) -> State:
        h, c = state
        i, f, g, o = (gates + h @ self.weight_hh.T).chunk(4, dim=1)
        i = torch.sigmoid(i + self.peephole[0] * c)
        f = torch.sigmoid(f + self.peephole[1] * c)
        c = f * c + i * torch.tanh(g)
        o = torch.sigmoid(o + self.peephole[2] * c)
        return o * torch.tanh(c), c


class LayerNormLSTMCell(Cell):
    """An LSTM that normalises both products over the gates, and the new cell state."""

    gate_count, state_count = 4, 2

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.norm_ih = nn.LayerNorm(4 * hidden_size)
        self.norm_hh = nn.LayerNorm(4 * hidden_size)
        self.norm_c = nn.LayerNorm(hidden_size)

    def project(self, x: Tensor) -> Tensor:
        return self.norm_ih(x @ self.weight_ih.T) + self.bias

    def forward(self, gates: Tensor, state: State) -> State:
        h, c = state
        i, f, g, o = (gates + self.norm_hh(h @ self.weight_hh.T)).chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(self.norm_c(c)), c


class LayerNormGRUCell(Cell):
    """A GRU that normalises both products over the gates."""

    gate_count, state_count = 3, 1

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.norm_ih = nn.LayerNorm(3 * hidden_size)
        self.norm_hh = nn.LayerNorm(3 * hidden_size)

    def project(self, x: Tensor) -> Tensor:
        return self.norm_ih(x @ self.weight_ih.T) + self.bias

    def forward(self, gates: Tensor, state: State) -> State:
        (h,) = state
        reset, update, new = gates.chunk(3, dim=1)
        h_reset, h_update, h_new = self.norm_hh(h @ self.weight_hh.T).chunk(3, dim=1)
        n = torch.tanh(new + torch.sigmoid(reset + h_reset) * h_new)
        z = torch.sigmoid(update + h_update)
        return ((1 - z) * n + z * h,)
