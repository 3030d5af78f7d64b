"""Convolutions before, after and inside recurrence."""

from __future__ import annotations

import torch
from collection.case import Case, floats
from torch import Tensor, nn
from torch.nn import functional

F, H = 5, 6
X = floats("batch", "sequence", F)
FRAMES = floats("batch", "sequence", 2, 4, 3)


class StridedConvThenLSTM(nn.Module):
    """A front end that halves the time axis twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv1d(F, H, 3, stride=2, padding=1), nn.BatchNorm1d(H), nn.ReLU(),
            nn.Conv1d(H, H, 3, stride=2, padding=1), nn.GELU(),
        )  # fmt: skip
        self.rnn = nn.LSTM(H, H, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(self.conv(x.transpose(1, 2)).transpose(1, 2))[0]


class CRNN(nn.Module):
    """Text in images: the width becomes the time axis."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d((2, 1)),
            nn.Conv2d(4, H, 3, padding=1), nn.ReLU(), nn.MaxPool2d((4, 1)),
        )  # fmt: skip
        self.rnn, self.head = nn.LSTM(H, H, bidirectional=True), nn.Linear(2 * H, 7)

    def forward(self, image: Tensor) -> Tensor:
        features = self.conv(image).squeeze(2).permute(2, 0, 1)
        return functional.log_softmax(self.head(self.rnn(features)[0]), dim=2)


class FramesThenGRU(nn.Module):
    """A network for every frame of a film, then a GRU over the frames."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv2d(2, H, 3, padding=1), nn.AdaptiveAvgPool2d(1)
        self.rnn = nn.GRU(H, H, batch_first=True)

    def forward(self, film: Tensor) -> Tensor:
        batch, steps = film.shape[:2]
        frames = torch.relu(self.conv(film.flatten(0, 1)))
        return self.rnn(self.pool(frames).view(batch, steps, H))[0]


class ConvLSTM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.Conv2d(2 + 3, 4 * 3, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        batch, steps, _, height, width = x.shape
        h = torch.zeros(batch, 3, height, width)
        c = torch.zeros(batch, 3, height, width)
        outputs = []
        for t in range(steps):
            i, f, o, g = torch.split(self.gates(torch.cat([x[:, t], h], 1)), 3, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs, 1), c


class ConvGRU(nn.Module):
    """Two layers, the loop over time inside the loop over layers."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.ModuleList([nn.Conv2d(2 + 3, 6, 3, padding=1), nn.Conv2d(6, 6, 1)])
        self.news = nn.ModuleList([nn.Conv2d(2 + 3, 3, 3, padding=1), nn.Conv2d(6, 3, 1)])

    def forward(self, x: Tensor) -> Tensor:
        for gate, new in zip(self.gates, self.news, strict=True):
            h, outputs = x.new_zeros(x.size(0), 3, 4, 3), []
            for t in range(x.size(1)):
                z, r = torch.sigmoid(gate(torch.cat([x[:, t], h], 1))).chunk(2, 1)
                h = (1 - z) * h + z * torch.tanh(new(torch.cat([x[:, t], r * h], 1)))
                outputs.append(h)
            x = torch.stack(outputs, 1)
        return x[:, -1]


class CausalConvResidual(nn.Module):
    """Dilated causal convolutions beside a GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(F, F, 2, dilation=2**n) for n in range(3))
        self.rnn = nn.GRU(F, F, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = x.transpose(1, 2)
        for n, conv in enumerate(self.convs):
            y = y + torch.relu(conv(functional.pad(y, (2**n, 0))))
        return self.rnn(y.transpose(1, 2))[0] + x


class EncoderWithUpsampling(nn.Module):
    """Pools time by two, runs an LSTM, and comes back to the old length."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(F, H, batch_first=True), nn.ConvTranspose1d(H, F, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        pooled = functional.avg_pool1d(x.transpose(1, 2), 2, ceil_mode=True)
        y = self.head(self.rnn(pooled.transpose(1, 2))[0].transpose(1, 2))
        return y[:, :, : x.size(1)].transpose(1, 2)


CASES = [
    Case(StridedConvThenLSTM, (X,)),
    Case(CRNN, (floats("batch", 1, 8, "width"),)),
    Case(FramesThenGRU, (FRAMES,)),
    Case(ConvLSTM, (FRAMES,)),
    Case(ConvGRU, (FRAMES,)),
    Case(CausalConvResidual, (X,)),
    Case(EncoderWithUpsampling, (X,)),
]
