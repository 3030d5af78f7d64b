"""Python loops over time that do not do the same in every step."""

from __future__ import annotations

import torch
from collection.case import Case, floats
from torch import Tensor, nn

F, H = 5, 6
X = floats("batch", "sequence", F)


class Clockwork(nn.Module):
    """Module i runs in every 2**i-th step, and keeps its state in between."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(F + H, H) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        states = [x.new_zeros(x.shape[0], H) for _ in self.parts]
        outputs = []
        for t in range(x.shape[1]):
            for i, part in enumerate(self.parts):
                if t % 2**i == 0:
                    states[i] = torch.tanh(part(torch.cat([x[:, t], states[i]], 1)))
            outputs.append(torch.cat(states, 1))
        return torch.stack(outputs, 1)


class Alternating(nn.Module):
    """Two cells take turns on one state."""

    def __init__(self) -> None:
        super().__init__()
        self.even, self.odd = nn.GRUCell(F, H), nn.GRUCell(F, H)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = x.new_zeros(x.shape[0], H)
        outputs = []
        for t in range(x.shape[1]):
            h = (self.even if t % 2 == 0 else self.odd)(x[:, t], h)
            outputs.append(h)
        return torch.stack(outputs, 1), h


class SlowStateReturned(nn.Module):
    """Every third step, the second one at first; the slow state is an output."""

    def __init__(self) -> None:
        super().__init__()
        self.fast, self.slow = nn.LSTMCell(F, H), nn.LSTMCell(H, H)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        zeros = x.new_zeros(x.shape[0], H)
        h, c, s, k, outputs = zeros, zeros, zeros, zeros, []
        for t in range(x.shape[1]):
            h, c = self.fast(x[:, t], (h + s, c))
            if t % 3 == 1:
                s, k = self.slow(h, (s, k))
            outputs.append(h)
        return torch.stack(outputs, 1), s, k


class Strided(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(F, H)

    def forward(self, x: Tensor) -> Tensor:
        h, outputs = x.new_zeros(x.shape[0], H), []
        for t in range(0, x.shape[1], 2):
            h = self.cell(x[:, t], h)
            outputs.append(h)
        return torch.stack(outputs, 1)


class Pyramid(nn.Module):
    """Half as many steps, each of two frames."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.across = nn.Linear(2 * F, H), nn.Linear(H, H)

    def forward(self, x: Tensor) -> Tensor:
        h, outputs = x.new_zeros(x.shape[0], H), []
        for t in range(x.shape[1] // 2):
            frames = torch.cat([x[:, 2 * t], x[:, 2 * t + 1]], 1)
            h = torch.tanh(self.inside(frames) + self.across(h))
            outputs.append(h)
        return torch.stack(outputs, 1)


class Chunks(nn.Module):
    """Whole groups of three frames; what is left over is dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.across = nn.Linear(3 * F, H), nn.Linear(H, H)

    def forward(self, x: Tensor) -> Tensor:
        h, outputs = x.new_zeros(x.shape[0], H), []
        for i in range(x.shape[1] // 3):
            frames = x[:, 3 * i : 3 * i + 3].flatten(1)
            h = torch.tanh(self.inside(frames) + self.across(h))
            outputs.append(h)
        return torch.stack(outputs, 1)


class LastStepApart(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.last = nn.GRUCell(F, H), nn.Linear(H, H)

    def forward(self, x: Tensor) -> Tensor:
        h, outputs = x.new_zeros(x.shape[0], H), []
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
            if t == x.shape[1] - 1:
                h = self.last(h)
            outputs.append(h)
        return torch.stack(outputs, 1)


CASES = [
    Case(Clockwork, (X,)),
    Case(Alternating, (X,)),
    Case(SlowStateReturned, (X,)),
    Case(Strided, (X,)),
    Case(Pyramid, (X,)),
    Case(Chunks, (X,)),
    Case(LastStepApart, (X,)),
]
