"""Python loops over time, one of every common style."""

from __future__ import annotations

import torch
from collection.case import Case, flags, floats, lengths_of
from torch import Tensor, nn

F, H = 5, 6
X = floats("batch", "sequence", F)


class RangeAndStack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(F, H)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(x.size(0), H)
        c = torch.zeros(x.size(0), H)
        outputs = []
        for t in range(x.size(1)):
            h, c = self.cell(x[:, t, :], (h, c))
            outputs.append(h)
        return torch.stack(outputs, dim=1)


class UnbindAndCat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(F, H), nn.Linear(H, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], H)
        outputs = []
        for step in torch.unbind(x, dim=1):
            h = self.cell(step, h)
            outputs += [self.head(h).unsqueeze(1)]
        return torch.cat(outputs, 1)


class IterateTimeMajor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.RNNCell(F, H, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        h, outputs = torch.zeros(x.shape[1], H), []
        for step in x:
            h = self.cell(step, h)
            outputs.append(h)
        return torch.stack(outputs)


class WriteIntoTensor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(F, H)

    def forward(self, x: Tensor) -> Tensor:
        batch, steps, _ = x.shape
        y = torch.zeros(batch, steps, H)
        h = torch.zeros(batch, H)
        for t in range(steps):
            h = self.cell(x[:, t], h)
            y[:, t] = h
        return y


class BackwardsInsert(nn.Module):
    """Goes backwards and inserts in front of a list."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(F, H)

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(x.size(0), H)
        outputs: list[Tensor] = []
        for t in reversed(range(x.size(1))):
            h, c = self.cell(x[:, t], (h, c))
            outputs.insert(0, h)
        return torch.stack(outputs, 1)


class TwoDirections(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.forwards, self.backwards = nn.GRUCell(F, H), nn.GRUCell(F, H)

    def run(self, cell: nn.GRUCell, x: Tensor) -> Tensor:
        h, outputs = x.new_zeros(x.size(0), H), []
        for t in range(x.size(1)):
            h = cell(x[:, t], h)
            outputs.append(h)
        return torch.stack(outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        back = self.run(self.backwards, x.flip(1)).flip(1)
        return torch.cat([self.run(self.forwards, x), back], -1)


class StatesInList(nn.Module):
    """Several layers inside the step, their states in a list of tuples."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.ModuleList([nn.LSTMCell(F, H), nn.LSTMCell(H, H), nn.LSTMCell(H, H)])

    def forward(self, x: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        states = [(x.new_zeros(x.size(0), H), x.new_zeros(x.size(0), H)) for _ in self.cells]
        outputs = []
        for t in range(x.size(1)):
            y = x[:, t]
            for layer, cell in enumerate(self.cells):
                states[layer] = cell(y, states[layer])
                y = states[layer][0]
            outputs.append(y)
        return torch.stack(outputs, 1), states


class LayersOutside(nn.Module):
    """One loop over time for each layer."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.ModuleList([nn.GRUCell(F, H), nn.GRUCell(H, H)])

    def forward(self, x: Tensor) -> Tensor:
        for cell in self.cells:
            h, outputs = x.new_zeros(x.size(0), H), []
            for step in x.unbind(1):
                h = cell(step, h)
                outputs.append(h)
            x = torch.stack(outputs, 1)
        return x


class SplitIntoSteps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(F, H)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(x.size(0), H)
        for step in x.split(1, dim=1):
            h = self.cell(step.squeeze(1), h)
        return h


class WhileLoop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(F, H)

    def forward(self, x: Tensor) -> Tensor:
        h, outputs, t = torch.zeros(x.size(0), H), [], 0
        while t < x.size(1):
            h = self.cell(x[:, t], h)
            outputs.append(h)
            t += 1
        return torch.stack(outputs, 1)


class FirstStepApart(nn.Module):
    """The first step has no state, so that a branch treats it apart."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.across = nn.Linear(F, H), nn.Linear(H, H)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor | None = None
        outputs = []
        for t in range(x.size(1)):
            before = self.inside(x[:, t])
            h = torch.tanh(before if h is None else before + self.across(h))
            outputs.append(h)
        return torch.stack(outputs, 1)


class MaskedUpdate(nn.Module):
    """Keeps the state of rows that have ended."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(F, H)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        h = c = x.new_zeros(x.size(0), H)
        valid = torch.arange(x.size(1))[None] < lengths[:, None]
        outputs = []
        for t in range(x.size(1)):
            mask = valid[:, t, None].float()
            new_h, new_c = self.cell(x[:, t], (h, c))
            h, c = mask * new_h + (1 - mask) * h, mask * new_c + (1 - mask) * c
            outputs.append(h * mask)
        return torch.stack(outputs, 1), h


class ResetWhenDone(nn.Module):
    """An agent's core: the state starts anew where an episode has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.core = nn.LSTM(F, H)

    def forward(self, x: Tensor, done: Tensor) -> Tensor:
        state = (torch.zeros(1, x.size(1), H), torch.zeros(1, x.size(1), H))
        outputs = []
        for step, over in zip(x, done, strict=True):
            keep = (1.0 - over).view(1, -1, 1)
            y, state = self.core(step.unsqueeze(0), (keep * state[0], keep * state[1]))
            outputs.append(y)
        return torch.cat(outputs)


class SkippingFirst(nn.Module):
    """Starts at the second step and predicts the difference."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(F, H), nn.Linear(H, F)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(x.size(0), H)
        outputs = [x[:, 0]]
        for t in range(1, x.size(1)):
            h = self.cell(x[:, t] - x[:, t - 1], h)
            outputs.append(x[:, t - 1] + self.head(h))
        return torch.stack(outputs, 1)


class EverySecondStep(nn.Module):
    """A slow layer that runs at even steps only."""

    def __init__(self) -> None:
        super().__init__()
        self.fast, self.slow = nn.GRUCell(F + H, H), nn.GRUCell(H, H)

    def forward(self, x: Tensor) -> Tensor:
        h = s = x.new_zeros(x.size(0), H)
        outputs = []
        for t in range(x.size(1)):
            h = self.fast(torch.cat([x[:, t], s], 1), h)
            if t % 2 == 0:
                s = self.slow(h, s)
            outputs.append(h)
        return torch.stack(outputs, 1)


class MeanSoFar(nn.Module):
    """Uses the number of the step."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(2 * F, H)

    def forward(self, x: Tensor) -> Tensor:
        total = torch.zeros_like(x[:, 0])
        outputs = []
        for t in range(x.size(1)):
            total = total + x[:, t]
            outputs.append(self.inside(torch.cat([x[:, t], total / (t + 1)], 1)))
        return torch.stack(outputs, 1)


CASES = [
    Case(RangeAndStack, (X,)),
    Case(UnbindAndCat, (X,)),
    Case(IterateTimeMajor, (floats("sequence", "batch", F),)),
    Case(WriteIntoTensor, (X,)),
    Case(BackwardsInsert, (X,)),
    Case(TwoDirections, (X,)),
    Case(StatesInList, (X,)),
    Case(LayersOutside, (X,)),
    Case(SplitIntoSteps, (X,)),
    Case(WhileLoop, (X,)),
    Case(FirstStepApart, (X,)),
    Case(MaskedUpdate, (X, lengths_of("sequence", "batch"))),
    Case(ResetWhenDone, (floats("sequence", "batch", F), flags("sequence", "batch"))),
    Case(SkippingFirst, (X,)),
    Case(EverySecondStep, (X,)),
    Case(MeanSoFar, (X,)),
]
