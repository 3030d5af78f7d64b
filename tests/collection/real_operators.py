"""Published networks with other operators around the recurrence: transforms, grids, graphs."""

from __future__ import annotations

import math
from typing import Any

import torch
from collection.case import Case, floats, lengths_of
from torch import Tensor, nn
from torch.nn import functional

F, H = 6, 4
X = floats("batch", "sequence", F)


class WaveMask(nn.Module):
    """Speech enhancement: samples to frequencies, a complex mask by an LSTM, samples again."""

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(8) + 0.05)
        self.rnn = nn.LSTM(10, 6, batch_first=True)
        self.mask = nn.Linear(6, 10)

    def forward(self, samples: Tensor) -> Tensor:
        signal = samples.flatten(1)
        spectrum = torch.stft(signal, 8, 4, window=self.window, return_complex=True)
        parts = torch.cat([spectrum.real, spectrum.imag], 1).transpose(1, 2)
        real, imag = torch.tanh(self.mask(self.rnn(parts)[0])).transpose(1, 2).chunk(2, 1)
        masked = spectrum * torch.complex(real, imag)
        return torch.istft(masked, 8, 4, window=self.window, length=signal.shape[1])


class SubBands(nn.Module):
    """FullSubNet: every frequency with its neighbours, cut out by unfold over all frames."""

    def __init__(self) -> None:
        super().__init__()
        self.full, self.full_out = nn.LSTM(F, H, batch_first=True), nn.Linear(H, F)
        self.sub, self.sub_out = nn.LSTM(4, H, batch_first=True), nn.Linear(H, 2)

    @staticmethod
    def unfold(x: Tensor, neighbours: int) -> Tensor:
        batch, bands, frames = x.shape
        padded = functional.pad(x.unsqueeze(1), [0, 0, neighbours, neighbours], mode="reflect")
        found = functional.unfold(padded, (2 * neighbours + 1, frames))
        assert found.shape[-1] == bands
        return found.reshape(batch, -1, frames, bands).permute(0, 3, 1, 2)

    def forward(self, magnitude: Tensor) -> Tensor:
        batch, bands, frames = magnitude.shape
        x = magnitude / (magnitude.mean(dim=[1, 2], keepdim=True) + 1e-5)
        full = torch.relu(self.full_out(self.full(x.transpose(1, 2))[0])).transpose(1, 2)
        own = torch.cat([self.unfold(magnitude, 1), full.unsqueeze(2)], 2)
        own = own.reshape(batch * bands, 4, frames).transpose(1, 2)
        mask = self.sub_out(self.sub(own)[0])
        return mask.reshape(batch, bands, frames, 2).permute(0, 3, 1, 2)


class OverlapAdd(nn.Module):
    """DPRNN on samples: windows by unfold, along and across them, put together by fold."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv1d(1, H, 4, stride=2, bias=False)
        self.along = nn.LSTM(H, H, batch_first=True, bidirectional=True)
        self.across = nn.LSTM(H, H, batch_first=True)
        self.joins = nn.ModuleList([nn.Linear(2 * H, H), nn.Linear(H, H)])
        self.norms = nn.ModuleList([nn.GroupNorm(1, H, eps=1e-8) for _ in range(2)])
        self.decoder = nn.ConvTranspose1d(H, 1, 4, stride=2, bias=False)

    def forward(self, samples: Tensor) -> Tensor:
        frames = torch.relu(self.encoder(samples.unsqueeze(1)))
        batch, _, count = frames.shape
        geometry = {"kernel_size": (4, 1), "padding": (4, 0), "stride": (2, 1)}
        x = functional.unfold(frames.unsqueeze(-1), **geometry)
        x = x.reshape(batch, H, 4, -1)
        size = x.shape[-1]
        y = self.joins[0](self.along(x.permute(0, 3, 2, 1).reshape(-1, 4, H))[0])
        x = x + self.norms[0](y.reshape(batch, size, 4, H).permute(0, 3, 2, 1))
        y = self.joins[1](self.across(x.permute(0, 2, 3, 1).reshape(-1, size, H))[0])
        x = x + self.norms[1](y.reshape(batch, 4, size, H).permute(0, 3, 1, 2))
        mask = functional.fold(x.reshape(batch, 4 * H, size), (count, 1), **geometry).squeeze(-1)
        return self.decoder(torch.sigmoid(mask) * frames).squeeze(1)


class Autocorrelation(nn.Module):
    """Autoformer: the lags at which a series is most alike to itself, by Fourier, before a GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.queries, self.keys, self.values = (nn.Linear(F, F) for _ in range(3))
        self.trend = nn.AvgPool1d(3, stride=1)
        self.rnn = nn.GRU(F, H, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        queries, keys, values = (
            f(x).transpose(1, 2) for f in (self.queries, self.keys, self.values)
        )
        length = x.size(1)
        product = torch.fft.rfft(queries, dim=-1) * torch.conj(torch.fft.rfft(keys, dim=-1))
        alike = torch.fft.irfft(product, n=length, dim=-1).mean(1)
        weights, lags = torch.topk(alike, 1, dim=-1)
        places = torch.arange(length).view(1, 1, -1) + lags.unsqueeze(1)
        rolled = torch.gather(values.repeat(1, 1, 2), -1, places.expand(-1, F, -1))
        y = x + (rolled * torch.sigmoid(weights).unsqueeze(1)).transpose(1, 2)
        ends = torch.cat([y[:, :1], y, y[:, -1:]], 1).transpose(1, 2)
        trend = self.trend(ends).transpose(1, 2)
        return self.rnn(y - trend)[0], trend


class Rectified(nn.Module):
    """RARE: a spatial transformer straightens a line of text before it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
        self.place = nn.Linear(8, 6)
        self.place.bias.data.copy_(torch.tensor([1, 0.1, 0, 0, 0.9, 0.05]))
        self.read = nn.Sequential(nn.Conv2d(1, H, 3, padding=1), nn.ReLU())
        self.rnn = nn.LSTM(H, 3, bidirectional=True)

    def forward(self, image: Tensor) -> Tensor:
        theta = self.place(self.look(image).flatten(1)).view(-1, 2, 3)
        grid = functional.affine_grid(theta, list(image.size()), align_corners=False)
        straight = functional.grid_sample(image, grid, align_corners=False)
        shape: Any = (1, None)  # The stubs of torch do not know None here.
        found = functional.adaptive_max_pool2d(self.read(straight), shape)
        return self.rnn(found.squeeze(2).permute(2, 0, 1))[0]


class Neighbours(nn.Module):
    """Points in time: the nearest ones of each, edge features, then an LSTM over frames."""

    def __init__(self) -> None:
        super().__init__()
        self.edges = nn.Sequential(nn.Conv2d(6, H, 1), nn.BatchNorm2d(H), nn.ReLU())
        self.rnn = nn.LSTM(H, 3, batch_first=True)

    def forward(self, points: Tensor) -> Tensor:
        batch, frames, count, _ = points.shape
        x = points.reshape(batch * frames, count, 3)
        squares = (x**2).sum(-1, keepdim=True)
        near = (2 * x @ x.transpose(1, 2) - squares - squares.transpose(1, 2)).topk(3, -1)[1]
        first = torch.arange(batch * frames).view(-1, 1, 1) * count
        picked = x.reshape(-1, 3)[(near + first).view(-1)].view(-1, count, 3, 3)
        own = x.unsqueeze(2).expand(-1, -1, 3, -1)
        found = self.edges(torch.cat([picked - own, own], -1).permute(0, 3, 1, 2))
        return self.rnn(found.amax((2, 3)).view(batch, frames, H))[0]


class SensorGraph(nn.Module):
    """GDN: sensors alike in their embeddings pass on what a GRU has read, added up by index."""

    def __init__(self, sensors: int = 5, neighbours: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(sensors, H)
        self.neighbours = neighbours
        self.rnn = nn.GRU(1, H, batch_first=True)
        self.score, self.out = nn.Linear(2 * H, 1), nn.Linear(H, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, sensors, steps = x.shape
        weights = functional.normalize(self.embedding.weight.detach().clone(), dim=-1)
        sources = (weights @ weights.T).topk(self.neighbours, -1)[1].flatten()
        targets = torch.arange(sensors).repeat_interleave(self.neighbours)
        h = self.rnn(x.reshape(-1, steps, 1))[0][:, -1].view(batch, sensors, H)
        pairs = torch.cat([h[:, targets], h[:, sources]], -1)
        score = functional.leaky_relu(self.score(pairs), 0.2)
        share = score.view(batch, sensors, self.neighbours).softmax(-1).view(batch, -1, 1)
        found = torch.zeros_like(h).index_add_(1, targets, share * h[:, sources])
        return self.out(torch.relu(found) * self.embedding.weight).squeeze(-1)


class ParallelMatrixMemory(nn.Module):
    """xLSTM's mLSTM over all steps at once, gates stabilised by their running maximum."""

    def __init__(self, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.gates = nn.Linear(F, 3 * F), nn.Linear(3 * F, 2 * heads)
        self.norm = nn.GroupNorm(heads, F)

    def forward(self, x: Tensor) -> Tensor:
        batch, steps, _ = x.shape
        qkv = self.qkv(x)
        q, k, v = (t.view(batch, steps, self.heads, -1).transpose(1, 2) for t in qkv.chunk(3, -1))
        enter, forget = self.gates(qkv).transpose(1, 2).unsqueeze(-1).chunk(2, 1)
        kept = functional.logsigmoid(forget).cumsum(-2)
        causal = torch.tril(torch.ones((steps, steps), dtype=torch.bool))
        decay = torch.where(causal, kept - kept.transpose(-2, -1), -float("inf"))
        decay = decay + enter.transpose(-2, -1)
        top, _ = torch.max(decay, dim=-1, keepdim=True)
        scores = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])) * torch.exp(decay - top)
        size = torch.maximum(scores.sum(-1, keepdim=True).abs(), torch.exp(-top))
        h = (scores / (size + 1e-6)) @ v
        return self.norm(h.transpose(1, 2).reshape(batch * steps, F)).view(batch, steps, F)


class Segments(nn.Module):
    """SegRNN: a series in segments, one state for each channel, all horizons at once."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.channels = channels
        self.embed = nn.Sequential(nn.Linear(4, H), nn.ReLU())
        self.rnn = nn.GRU(H, H, batch_first=True)
        self.place, self.channel = (nn.Parameter(torch.randn(n, H // 2)) for n in (2, channels))
        self.predict = nn.Linear(H, 4)

    def forward(self, x: Tensor) -> Tensor:
        batch, last = x.size(0), x[:, -1:, :].detach()
        segments = (x - last).permute(0, 2, 1).reshape(-1, 3, 4)
        _, h = self.rnn(self.embed(segments))
        queries = torch.cat(
            [self.place.unsqueeze(0).repeat(self.channels, 1, 1),
             self.channel.unsqueeze(1).repeat(1, 2, 1)], -1,
        ).view(-1, 1, H).repeat(batch, 1, 1)  # fmt: skip
        _, h = self.rnn(queries, h.repeat(1, 1, 2).view(1, -1, H))
        return self.predict(h).view(-1, self.channels, 8).permute(0, 2, 1) + last


class BetweenLSTMs(nn.Module):
    """Self-attention layers between two LSTMs, norms first, padding and the future masked."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.behind = nn.LSTM(F, 8, batch_first=True), nn.LSTM(8, H, batch_first=True)
        layer = nn.TransformerEncoderLayer(8, 2, 10, activation="gelu", batch_first=True)
        self.attend = nn.TransformerEncoder(layer, 1, nn.LayerNorm(8), enable_nested_tensor=False)

    def forward(self, x: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        padded = torch.arange(x.size(1)).unsqueeze(0) >= lengths.unsqueeze(1)
        future = torch.ones(x.size(1), x.size(1), dtype=torch.bool).triu(1)
        y = self.attend(self.before(x)[0], mask=future, src_key_padding_mask=padded)
        found, (h, _) = self.behind(y)
        return {"logits": found.masked_fill(padded.unsqueeze(-1), 0.0), "state": h}


class UpAndDown(nn.Module):
    """A U-Net of one dimension around a GRU: what float64 and float16 have no kernels for."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv1d(F, 8, 4, 2, 1), nn.GroupNorm(2, 8), nn.GELU())
        self.rnn = nn.GRU(8, 8, batch_first=True)
        self.up = nn.Sequential(
            nn.ConvTranspose1d(8, F, 4, 2, 1), nn.InstanceNorm1d(F, affine=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = x.transpose(1, 2)
        core, _ = self.rnn(self.down(y).transpose(1, 2))
        skip = functional.interpolate(functional.avg_pool1d(y, 2), size=y.shape[2], mode="linear")
        back = functional.interpolate(self.up(core.transpose(1, 2)), size=y.shape[2])
        return torch.atan(back + functional.hardswish(skip)).transpose(1, 2)


class DoubleUpAndDown(UpAndDown):
    def __init__(self) -> None:
        super().__init__()
        self.double()


class HalfUpAndDown(UpAndDown):
    def __init__(self) -> None:
        super().__init__()
        self.half()


class DoubleBetweenLSTMs(BetweenLSTMs):
    def __init__(self) -> None:
        super().__init__()
        self.double()


CASES = [
    Case(WaveMask, (floats("batch", "blocks", 8),)),
    Case(SubBands, (floats("batch", F, "frames"),)),
    Case(OverlapAdd, (floats("batch", "samples"),)),
    Case(Autocorrelation, (X,)),
    Case(Rectified, (floats("batch", 1, 6, "width"),)),
    Case(Neighbours, (floats("batch", "sequence", 5, 3),)),
    Case(SensorGraph, (floats("batch", 5, "sequence"),)),
    Case(ParallelMatrixMemory, (X,)),
    Case(Segments, (floats("batch", 12, 3),)),
    Case(BetweenLSTMs, (X, lengths_of("sequence", "batch"))),
    Case(
        DoubleBetweenLSTMs,
        (floats("batch", "sequence", F, dtype=torch.float64), lengths_of("sequence", "batch")),
        tolerance=1e-9,
    ),
    Case(
        DoubleUpAndDown,
        (floats("batch", "sequence", F, dtype=torch.float64),),
        tolerance=1e-9,
    ),
    Case(HalfUpAndDown, (floats("batch", "sequence", F, dtype=torch.float16),), tolerance=1e-2),
]
