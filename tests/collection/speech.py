"""Networks for sound: recognition, separation, generation."""

from __future__ import annotations

import torch
from collection.case import Case, floats, ids, lengths_of
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

F, H = 8, 6
X = floats("batch", "frames", F)


class DeepSpeech(nn.Module):
    """2-D convolutions over a spectrogram, lengths halved with them, packed layers, CTC head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(2)
        self.rnn = nn.GRU(2 * F // 2, H, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * H, 9)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        y = functional.hardtanh(self.norm(self.conv(x.unsqueeze(1))), 0, 20)
        y = y.permute(0, 2, 1, 3).flatten(2)
        halves = torch.div(lengths + 1, 2, rounding_mode="floor")
        packed = pack_padded_sequence(y, halves, batch_first=True, enforce_sorted=False)
        y, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=y.size(1))
        return self.head(y).log_softmax(-1), halves


class Transducer(nn.Module):
    """RNN-T: every frame with every label."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.embedding = nn.LSTM(F, H, batch_first=True), nn.Embedding(9, F)
        self.predictor, self.joint = nn.LSTM(F, H, batch_first=True), nn.Linear(H, 9)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        frames = self.encoder(x)[0].unsqueeze(2)
        words = self.predictor(self.embedding(functional.pad(labels, (1, 0))))[0].unsqueeze(1)
        return self.joint(torch.tanh(frames + words))


class SpeechMask(nn.Module):
    """A mask over a spectrogram, in both directions of time."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(F, H, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * H, 2 * F)

    def forward(self, spectrum: Tensor) -> Tensor:
        masks = torch.sigmoid(self.head(self.rnn(torch.log1p(spectrum.abs()))[0]))
        return masks.view(*spectrum.shape[:2], 2, F) * spectrum.unsqueeze(2)


class DualPath(nn.Module):
    """Splits time into chunks of four, after padding, and runs within and across chunks."""

    def __init__(self) -> None:
        super().__init__()
        self.within, self.across = nn.GRU(F, F, batch_first=True), nn.GRU(F, F, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        batch, frames, _ = x.shape
        padded = functional.pad(x, (0, 0, 0, (4 - frames % 4) % 4))
        chunks = padded.reshape(batch, -1, 4, F)
        count = chunks.size(1)
        y = self.within(chunks.reshape(batch * count, 4, F))[0].reshape(batch, count, 4, F)
        y = y.transpose(1, 2).reshape(batch * 4, count, F)
        y = self.across(y)[0].reshape(batch, 4, count, F).transpose(1, 2)
        return y.reshape(batch, -1, F)[:, :frames]


class Pyramid(nn.Module):
    """Listen, attend and spell's encoder: pairs of frames are joined, an odd one is dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LSTM(F, H, batch_first=True, bidirectional=True)
        self.second = nn.LSTM(4 * H, H, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.first(x)
        y = y[:, : y.size(1) // 2 * 2]
        return self.second(y.contiguous().view(y.size(0), y.size(1) // 2, 4 * H))[0]


class SpeakerEmbedding(nn.Module):
    """d-vectors: the last frame of a projected LSTM, normalized to length one."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(F, 12, 3, batch_first=True), nn.Linear(12, H)

    def forward(self, x: Tensor) -> Tensor:
        return functional.normalize(self.head(self.rnn(x)[0][:, -1]), p=2, dim=1)


class VoiceActivity(nn.Module):
    """Differences between frames, smoothed by a running sum."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(2 * F, H, batch_first=True), nn.Linear(H, 1)

    def forward(self, x: Tensor) -> Tensor:
        change = torch.cat([torch.zeros_like(x[:, :1]), x[:, 1:] - x[:, :-1]], 1)
        activity = torch.sigmoid(self.head(self.rnn(torch.cat([x, change], 2))[0])).squeeze(2)
        return activity.cumsum(1) / torch.arange(1, x.size(1) + 1)


class PhonemeRepeater(nn.Module):
    """Sample-wise vocoder conditioning: frames repeated four times, then an RNN."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(F + 1, H, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        repeated = x.repeat_interleave(4, dim=1)
        places = torch.arange(repeated.size(1)).remainder(4).div(4.0)
        column = places.view(1, -1, 1).expand(x.size(0), -1, -1)
        return self.rnn(torch.cat([repeated, column], -1))[0]


CASES = [
    Case(DeepSpeech, (X, lengths_of("frames", "batch"))),
    Case(Transducer, (X, ids(9, "batch", "labels"))),
    Case(SpeechMask, (X,)),
    Case(DualPath, (X,)),
    Case(Pyramid, (X,)),
    Case(SpeakerEmbedding, (X,)),
    Case(VoiceActivity, (X,)),
    Case(PhonemeRepeater, (X,)),
]
