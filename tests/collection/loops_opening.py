"""Loops whose first iterations differ from those behind them: ``if t < 3``, ``if t >= k``."""

from __future__ import annotations

import torch
from collection.case import Case, floats
from torch import Tensor, nn
from torch.nn import functional

F, H = 5, 4
X = floats("batch", "sequence", F)


class WarmStart(nn.Module):
    """Another layer in the first three steps."""

    def __init__(self) -> None:
        super().__init__()
        self.warm, self.cell = nn.Linear(F, H), nn.GRUCell(F, H)

    def forward(self, x: Tensor) -> Tensor:
        h, y = torch.zeros(x.size(0), H), []
        for t in range(x.size(1)):
            h = torch.tanh(self.warm(x[:, t])) if t < 3 else self.cell(x[:, t], h)
            y.append(h)
        return torch.stack(y, 1)


class SkipsBack(nn.Module):
    """A connection to the state of two steps before, where there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.mix, self.skip = nn.GRUCell(F, H), nn.Linear(H, H), 2

    def forward(self, x: Tensor) -> Tensor:
        states: list[Tensor] = []
        h = x.new_zeros(x.size(0), H)
        for t in range(x.size(1)):
            if t > 0 and t >= self.skip:
                h = h + torch.tanh(self.mix(states[t - self.skip]))
            h = self.cell(x[:, t], h)
            states.append(h)
        return torch.stack(states, 1)


class SampledFrames(nn.Module):
    """PredRNN-v2: four frames are given, later ones as a mask says; states in lists."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.ModuleList([nn.LSTMCell(F, H), nn.LSTMCell(H, H)])
        self.adapter, self.out, self.given = nn.Linear(H, H), nn.Linear(H, F), 4

    def forward(self, frames: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        h = [torch.zeros(frames.size(0), H) for _ in self.cells]
        c = [torch.zeros(frames.size(0), H) for _ in self.cells]
        memory = torch.zeros(frames.size(0), H)
        made: list[Tensor] = []
        apart = []
        for t in range(frames.size(1) - 1):
            if t < self.given:
                net = frames[:, t]
            else:
                mask = known[:, t - self.given]
                net = mask * frames[:, t] + (1 - mask) * made[-1]
            h[0], c[0] = self.cells[0](net, (h[0], c[0]))
            memory = memory + torch.tanh(self.adapter(c[0]))
            h[1], c[1] = self.cells[1](h[0] + memory, (h[1], c[1]))
            made.append(self.out(h[1]))
            apart.append(functional.cosine_similarity(c[0], c[1], dim=1).mean())
        return torch.stack(made, 1), torch.stack(apart).mean()


class OwnAfterWarmup(nn.Module):
    """Its own predictions after three steps."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.out, self.warmup = nn.LSTMCell(F, H), nn.Linear(H, F), 3

    def forward(self, x: Tensor) -> Tensor:
        h, c = torch.zeros(x.size(0), H), torch.zeros(x.size(0), H)
        prediction, y = None, []
        for t in range(x.size(1)):
            given = x[:, t] if t < self.warmup or prediction is None else prediction
            h, c = self.cell(given, (h, c))
            prediction = self.out(h) + given
            y.append(prediction)
        return torch.stack(y, 1)


class TwoBanks(nn.Module):
    """One list of cells for the first two steps, another one for the others."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.ModuleList([nn.GRUCell(F, H), nn.GRUCell(H, H)])
        self.others = nn.ModuleList([nn.GRUCell(F, H), nn.GRUCell(H, H)])

    def forward(self, x: Tensor) -> Tensor:
        h, y = [torch.zeros(x.size(0), H) for _ in range(2)], []
        for t in range(x.size(1)):
            given = x[:, t]
            for place, cell in enumerate(self.first if t < 2 else self.others):
                h[place] = given = cell(given, h[place])
            y.append(given)
        return torch.stack(y, 1)


CASES = [
    Case(WarmStart, (X,)),
    Case(SkipsBack, (X,)),
    Case(SampledFrames, (floats("batch", "frames", F), floats("batch", "frames", F))),
    Case(OwnAfterWarmup, (X,)),
    Case(TwoBanks, (X,)),
]
