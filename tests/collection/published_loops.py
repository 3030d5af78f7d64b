"""Loops of published models: predictive coding, Kalman gains, reservoirs, filters, windows."""

from __future__ import annotations

import torch
from collection.case import Case, floats
from torch import Tensor, nn
from torch.nn import functional

F, H = 5, 4
X = floats("batch", "sequence", F)


class PredictiveCoding(nn.Module):
    """PredNet: states from the top down, errors from the bottom up; None before the first step."""

    def __init__(self) -> None:
        super().__init__()
        self.top, self.bottom = nn.LSTMCell(2 * H, H), nn.LSTMCell(2 * F + H, F)
        self.guess = nn.ModuleList([nn.Linear(F, F), nn.Linear(H, H)])
        self.upwards = nn.Linear(2 * F, H)

    def forward(self, x: Tensor) -> Tensor:
        errors = [x.new_zeros(x.size(0), 2 * F), x.new_zeros(x.size(0), 2 * H)]
        states: list[tuple[Tensor, Tensor] | None] = [None, None]
        frames = []
        for t in range(x.size(1)):
            states[1] = high = self.top(errors[1], states[1])
            states[0] = low = self.bottom(torch.cat([errors[0], high[0]], 1), states[0])
            target = x[:, t]
            for level, state in enumerate((low, high)):
                guess = self.guess[level](state[0])
                apart = [functional.relu(guess - target), functional.relu(target - guess)]
                errors[level] = torch.cat(apart, 1)
                if level == 0:
                    frames.append(guess)
                    target = functional.relu(self.upwards(errors[0]))
        return torch.stack(frames, 1)


class KalmanGain(nn.Module):
    """KalmanNet: a GRU gives the gain of a filter whose state is a column."""

    def __init__(self) -> None:
        super().__init__()
        self.transition = nn.Parameter(0.5 * torch.eye(3))
        self.observed = nn.Parameter(0.3 * torch.randn(2, 3))
        self.cell, self.gain = nn.GRUCell(5, H), nn.Linear(H, 6)

    def forward(self, y: Tensor) -> Tensor:
        batch, found = y.size(0), []
        mean, before, h = torch.zeros(batch, 3, 1), torch.zeros(batch, 3, 1), torch.zeros(batch, H)
        for t in range(y.size(1)):
            expected = self.transition @ mean
            apart = y[:, t].unsqueeze(-1) - self.observed @ expected
            h = self.cell(torch.cat([apart.squeeze(-1), (mean - before).squeeze(-1)], 1), h)
            before = expected
            mean = expected + torch.bmm(torch.tanh(self.gain(h)).view(batch, 3, 2), apart)
            found.append(mean.squeeze(2))
        return torch.stack(found, 1)


class EchoState(nn.Module):
    """A reservoir of fixed weights; the first states are washed out."""

    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", 0.5 * torch.randn(H, H))
        self.given, self.out = nn.Linear(F, H, bias=False), nn.Linear(H, 2)
        self.leak, self.washout = 0.3, 2

    def forward(self, x: Tensor) -> Tensor:
        state, states = torch.zeros(x.shape[0], H), torch.empty(x.shape[0], x.shape[1], H)
        for t in range(x.shape[1]):
            following = torch.tanh(self.given(x[:, t]) + state @ self.weight.t())
            state = (1 - self.leak) * state + self.leak * following
            states[:, t] = state
        return self.out(states[:, self.washout :])


class GivenFirst(nn.Module):
    """A decoder that is shown two targets, then its own outputs, written into a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.out, self.shown = nn.LSTMCell(F, H), nn.Linear(H, F), 2

    def forward(self, z: Tensor, target: Tensor) -> Tensor:
        h, c, given = z.tanh(), torch.zeros_like(z), torch.zeros(z.size(0), F)
        outputs = torch.zeros(z.size(0), target.size(1), F)
        for t in range(target.size(1)):
            h, c = self.cell(given, (h, c))
            output = self.out(h)
            outputs[:, t] = output
            given = target[:, t] if t < self.shown else output
        return outputs


class Biquad(nn.Module):
    """A filter of second order, sample by sample."""

    def __init__(self) -> None:
        super().__init__()
        self.b = nn.Parameter(torch.tensor([0.2, 0.3, 0.2]))
        self.a = nn.Parameter(torch.tensor([-0.3, 0.1]))

    def forward(self, x: Tensor) -> Tensor:
        y, (x1, x2, y1, y2) = [], [torch.zeros(x.size(0))] * 4
        for n in range(x.size(1)):
            now = self.b[0] * x[:, n] + self.b[1] * x1 + self.b[2] * x2
            now = now - self.a[0] * y1 - self.a[1] * y2
            x2, x1, y2, y1 = x1, x[:, n], y1, now
            y.append(now)
        return torch.stack(y, 1)


class WritingWindow(nn.Module):
    """Graves's handwriting synthesis: a window that moves along the text."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.window = nn.LSTMCell(F + 3, H), nn.Linear(H, 6)

    def forward(self, strokes: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        h = c = strokes.new_zeros(strokes.size(0), H)
        centre, shown = strokes.new_zeros(strokes.size(0), 2), text[:, 0]
        places, y = torch.arange(text.size(1)).float(), []
        for stroke in strokes.transpose(0, 1):
            h, c = self.cell(torch.cat([stroke, shown], 1), (h, c))
            height, width, further = torch.exp(self.window(h)).chunk(3, 1)
            centre = centre + 0.1 * further
            apart = (centre.unsqueeze(2) - places) ** 2
            weights = (height.unsqueeze(2) * torch.exp(-width.unsqueeze(2) * apart)).sum(1)
            shown = torch.einsum("bu,bud->bd", weights, text)
            y.append(h)
        return torch.stack(y, 1), centre


CASES = [
    Case(PredictiveCoding, (X,)),
    Case(KalmanGain, (floats("batch", "sequence", 2),)),
    Case(EchoState, (X,)),
    Case(GivenFirst, (floats("batch", H), X)),
    Case(Biquad, (floats("batch", "sequence"),)),
    Case(WritingWindow, (X, floats("batch", "text", 3))),
]
