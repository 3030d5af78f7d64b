"""Loops over tables of which time and batch are one axis: rows t * n to (t + 1) * n."""

from __future__ import annotations

import torch
from collection.case import Case, floats
from torch import Tensor, nn
from torch.nn import functional

F, H = 5, 4
FRAMES = floats("sequence", "batch", F)


class SocialOutputs(nn.Module):
    """SocialLSTM: one row for each person and frame, written at t * n + arange(n)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.cell, self.out = nn.Linear(F, F), nn.LSTMCell(F, H), nn.Linear(H, 5)

    def forward(self, x: Tensor) -> Tensor:
        frames, people = x.size(0), x.size(1)
        h, c = torch.zeros(people, H), torch.zeros(people, H)
        outputs = torch.zeros(frames * people, 5)
        for t in range(frames):
            h, c = self.cell(functional.relu(self.embedding(x[t])), (h, c))
            outputs[t * people + torch.arange(people)] = self.out(h)
        return outputs.view(frames, people, 5)


class FlatSlices(nn.Module):
    """Features of all frames at once, taken and written by slices of the flat table."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.cell = nn.Linear(F, F), nn.GRUCell(F, H)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        steps, batch = x.shape[:2]
        flat = self.encoder(x.reshape(-1, F))
        y = torch.zeros(steps * batch, H)
        for t in range(steps):
            h = self.cell(flat[t * batch : (t + 1) * batch], h)
            y[t * batch : (t + 1) * batch] = h
        return y, h


class FlatSelected(nn.Module):
    """The same by index_select, results joined to one table."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(F, H)

    def forward(self, x: Tensor) -> Tensor:
        steps, batch = x.size(0), x.size(1)
        flat, h, y = x.view(-1, F), x.new_zeros(batch, H), []
        for t in range(steps):
            h = self.cell(flat.index_select(0, torch.arange(t * batch, (t + 1) * batch)), h)
            y.append(h)
        return torch.cat(y).view(steps, batch, H)


CASES = [
    Case(SocialOutputs, (FRAMES,)),
    Case(FlatSlices, (FRAMES, floats("batch", H))),
    Case(FlatSelected, (FRAMES,)),
]
