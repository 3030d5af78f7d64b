"""Published networks for speech and sound, as their users write them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from collection.case import Case, floats, ids, lengths_of
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

F, H = 8, 6
X = floats("batch", "frames", F)


class MaskedConvolutions(nn.Sequential):
    """Deep Speech 2: each layer's output past the end of its row is set to zero."""

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        for layer in self:
            x = layer(x)
            if isinstance(layer, nn.Conv2d):
                lengths = self.shorten(lengths, layer)
            mask = torch.arange(x.size(3), device=x.device)[None, :] >= lengths[:, None]
            x = x.masked_fill(mask[:, None, None, :], 0)
        return x, lengths

    def shorten(self, lengths: Tensor, conv: nn.Conv2d) -> Tensor:
        reach = conv.dilation[1] * (conv.kernel_size[1] - 1) + 1
        padding = int(conv.padding[1])
        return torch.div(lengths + 2 * padding - reach, conv.stride[1], rounding_mode="trunc") + 1


class SequenceWise(nn.Module):
    """Joins time and batch around a layer."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        t, n = x.size(0), x.size(1)
        return self.module(x.reshape(t * n, -1)).view(t, n, -1)


class DeepSpeech2(nn.Module):
    """Directions summed, batch norm over all frames, a lookahead convolution, time first."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = MaskedConvolutions(
            nn.Conv2d(1, 2, (5, 3), stride=(2, 2), padding=(2, 1), bias=False),
            nn.BatchNorm2d(2),
            nn.Hardtanh(0, 20, inplace=True),
            nn.Conv2d(2, 2, (3, 3), stride=(2, 1), padding=(1, 1), bias=False),
            nn.BatchNorm2d(2),
            nn.Hardtanh(0, 20, inplace=True),
        )
        self.rnns = nn.ModuleList([nn.LSTM(n, H, bidirectional=True, bias=True) for n in (4, H)])
        self.norms = nn.ModuleList([nn.Identity(), SequenceWise(nn.BatchNorm1d(H))])
        self.lookahead = nn.Conv1d(H, H, 3, groups=H, bias=False)
        self.fc = nn.Sequential(nn.BatchNorm1d(H), nn.Linear(H, 7, bias=False))

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x, lengths = self.conv(x.transpose(1, 2).unsqueeze(1).contiguous(), lengths.cpu().int())
        sizes = x.size()
        x = x.view(sizes[0], sizes[1] * sizes[2], sizes[3])
        x = x.transpose(1, 2).transpose(0, 1).contiguous()
        for norm, rnn in zip(self.norms, self.rnns, strict=True):
            x = norm(x)
            packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
            x, _ = pad_packed_sequence(rnn(packed)[0], total_length=x.size(0))
            x = x.view(x.size(0), x.size(1), 2, -1).sum(2).view(x.size(0), x.size(1), -1)
        ahead = functional.pad(x.permute(1, 2, 0), pad=(0, 2), value=0)
        x = functional.hardtanh(self.lookahead(ahead).permute(2, 0, 1), 0, 20)
        x = SequenceWise(self.fc)(x).transpose(0, 1)
        return functional.softmax(x, dim=-1), lengths


class Speller(nn.Module):
    """Listen, attend and spell: pyramid, then attention with one hot letters."""

    def __init__(self) -> None:
        super().__init__()
        self.listener = nn.ModuleList(
            [nn.LSTM(n, H, batch_first=True, bidirectional=True) for n in (2 * F, 4 * H)]
        )
        self.cells = nn.ModuleList([nn.LSTMCell(9 + 2 * H, H), nn.LSTMCell(H, H)])
        self.phi, self.psi = nn.Linear(H, 5), nn.Linear(2 * H, 5)
        self.letters = nn.Linear(3 * H, 9)

    def forward(self, x: Tensor, letters: Tensor) -> dict[str, Tensor]:
        for layer in self.listener:
            batch, steps, size = x.shape
            if steps % 2 != 0:
                x = functional.pad(x, (0, 0, 0, 1))
            x, _ = layer(x.reshape(batch, -1, 2 * size))
        keys = torch.relu(self.psi(x))
        context = x[:, 0, :]
        states: list[Any] = [None, None]
        one_hot = functional.one_hot(letters, 9).to(x.dtype)
        predictions, scores = [], []
        for i in range(letters.size(-1)):
            y = torch.cat((one_hot[:, i], context), dim=-1)
            for n, cell in enumerate(self.cells):
                states[n] = cell(y, states[n])
                y = states[n][0]
            energy = torch.bmm(torch.relu(self.phi(y)).unsqueeze(1), keys.transpose(1, 2))
            score = functional.softmax(energy.squeeze(1), dim=-1)
            context = torch.sum(x * score.unsqueeze(2).repeat(1, 1, x.size(2)), dim=1)
            predictions.append(
                functional.log_softmax(self.letters(torch.cat([y, context], -1)), -1)
            )
            scores.append(score)
        return {"logits": torch.stack(predictions, dim=1), "attention": torch.stack(scores, dim=1)}


class Prediction(nn.Module):
    """A transducer's prediction network; a list of states that may be left out."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, F, padding_idx=0)
        self.layers = nn.ModuleList(
            [nn.LSTM(F, H, batch_first=True), nn.LSTM(H, H, batch_first=True)]
        )
        self.norm, self.project = nn.LayerNorm(H), nn.Linear(H, F)

    def forward(
        self, labels: Tensor, states: list[tuple[Tensor, Tensor]] | None = None
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        y = self.embedding(labels)
        after = []
        for i, layer in enumerate(self.layers):
            y, state = layer(y, None if states is None else states[i])
            y = self.norm(y)
            after.append(state)
        return self.project(y), after


class TransducerLoss(nn.Module):
    """The forward variable of a transducer along one axis, in a running log-sum-exp."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.predictor = (
            nn.GRU(F, H, batch_first=True),
            nn.GRU(4, H, batch_first=True),
        )
        self.embedding, self.joint = nn.Embedding(9, 4), nn.Linear(H, 9)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        f = self.encoder(x)[0].unsqueeze(2)
        g = self.predictor(functional.pad(self.embedding(labels), (0, 0, 1, 0)))[0].unsqueeze(1)
        logits = self.joint(torch.tanh(f + g)).log_softmax(-1)
        blank = logits[..., 0]
        words = labels[:, None, :, None].expand(-1, x.size(1), -1, 1)
        emit = logits[:, :, :-1].gather(3, words).squeeze(3)
        skip = torch.cat([torch.zeros_like(emit[:, :, :1]), emit.cumsum(2)], 2)
        alpha = skip[:, 0]
        for t in range(1, x.size(1)):
            alpha = skip[:, t] + torch.logcumsumexp(alpha + blank[:, t - 1] - skip[:, t], dim=1)
        return -(alpha[:, -1] + blank[:, -1, -1])


class ConvolutionBank(nn.Module):
    """Tacotron's CBHG: convolutions of every width, max pooling, highways, a GRU both ways."""

    def __init__(self) -> None:
        super().__init__()
        self.bank = nn.ModuleList([nn.Conv1d(F, F, k, padding=k // 2) for k in range(1, 5)])
        self.pool = nn.MaxPool1d(2, stride=1, padding=1)
        self.project, self.smooth = (nn.Conv1d(n * F, F, 3, padding=1) for n in (4, 1))
        self.highways = nn.ModuleList([nn.Linear(F, 2 * F) for _ in range(2)])
        self.gru = nn.GRU(F, H, 1, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        y, steps = x.transpose(1, 2), x.size(1)
        assert y.size(1) == F
        y = torch.cat([conv(y)[:, :, :steps] for conv in self.bank], dim=1)
        y = self.smooth(self.project(self.pool(y)[:, :, :steps])).transpose(1, 2) + x
        for highway in self.highways:
            h, gate = highway(y).chunk(2, dim=-1)
            gate = torch.sigmoid(gate)
            y = gate * functional.relu(h) + (1.0 - gate) * y
        return self.gru(y)[0]


class WaveRNN(nn.Module):
    """Conditions stretched to samples, split among the layers, residual GRUs."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=4.0, mode="nearest")
        self.smooth = nn.Conv2d(1, 1, (1, 9), padding=(0, 4), bias=False)
        self.i = nn.Linear(1 + F + 2, H)
        self.rnn1, self.rnn2 = nn.GRU(H, H, batch_first=True), nn.GRU(H + 2, H, batch_first=True)
        self.fc = nn.Linear(H + 2, 5)

    def forward(self, wave: Tensor, mels: Tensor) -> Tensor:
        mels = mels.transpose(1, 2)
        fine = self.smooth(self.up(mels).unsqueeze(1)).squeeze(1).transpose(1, 2)
        aux = torch.repeat_interleave(mels[:, :6].transpose(1, 2), 4, dim=1)
        a = [aux[:, :, 2 * i : 2 * (i + 1)] for i in range(3)]
        wave = wave.reshape(wave.size(0), -1)
        h1 = torch.zeros(1, wave.size(0), H, device=wave.device)
        x = self.i(torch.cat([wave.unsqueeze(-1), fine, a[0]], dim=2))
        res = x
        x, _ = self.rnn1(x, h1)
        x = x + res
        y, _ = self.rnn2(torch.cat([x, a[1]], dim=2))
        return functional.log_softmax(self.fc(torch.cat([x + y, a[2]], dim=2)), dim=-1)


class CoarseFine(nn.Module):
    """WaveRNN's own cell: one matrix, coarse and fine halves, the fine sees the coarse."""

    def __init__(self) -> None:
        super().__init__()
        self.R = nn.Linear(2 * H, 6 * H, bias=False)
        self.I_coarse, self.I_fine = (
            nn.Linear(2, 3 * H, bias=False),
            nn.Linear(3, 3 * H, bias=False),
        )
        self.bias_u = nn.Parameter(torch.full((2 * H,), 0.1))
        self.O1, self.O2 = nn.Linear(H, 4), nn.Linear(H, 4)

    def forward(
        self, previous: Tensor, coarse: Tensor, *, hidden: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        if hidden is None:
            hidden = torch.zeros(previous.size(0), 2 * H, dtype=previous.dtype)
        ys = []
        for t in range(previous.size(1)):
            r_u, r_r, r_e = torch.split(self.R(hidden), 2 * H, dim=1)
            c = torch.split(self.I_coarse(previous[:, t]), H, dim=1)
            f = torch.split(self.I_fine(torch.cat([previous[:, t], coarse[:, t]], 1)), H, dim=1)
            i_u, i_r, i_e = (torch.cat(pair, dim=1) for pair in zip(c, f, strict=True))
            u = torch.sigmoid(r_u + i_u + self.bias_u)
            e = torch.tanh(torch.sigmoid(r_r + i_r) * r_e + i_e)
            hidden = u * hidden + (1.0 - u) * e
            ys.append(hidden)
        y_c, y_f = torch.stack(ys, 1).split(H, dim=-1)
        return self.O1(y_c), self.O2(y_f), hidden


class SampleRNN(nn.Module):
    """A tier of frames, stretched by a transposed convolution, over a tier of samples."""

    def __init__(self) -> None:
        super().__init__()
        self.expand, self.rnn = nn.Linear(4, H), nn.GRU(H, H, 2, batch_first=True)
        self.h0 = nn.Parameter(torch.randn(2, H))
        self.upsample = nn.ConvTranspose1d(H, H, 4, stride=4)
        self.samples = nn.Conv1d(5, H, 4)
        self.embedding = nn.Embedding(16, 5)

    def forward(self, codes: Tensor) -> Tensor:
        batch = codes.size(0)
        codes = codes.reshape(batch, -1)
        frames = codes.unfold(1, 4, 4).float() / 8 - 1
        hidden = self.h0.unsqueeze(1).expand(2, batch, H).contiguous()
        up, _ = self.rnn(self.expand(frames), hidden)
        up = self.upsample(up.permute(0, 2, 1))
        local = self.samples(functional.pad(self.embedding(codes), (0, 0, 3, 0)).transpose(1, 2))
        return torch.relu(up + local).transpose(1, 2)


class Separated(NamedTuple):
    bands: Tensor
    voice: Tensor


class NoiseSuppressor(nn.Module):
    """RNNoise: three GRUs of their own widths, each sees what those before have seen."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(F, 5)
        self.vad = nn.GRU(5, 4, batch_first=True)
        self.noise = nn.GRU(5 + 4 + F, 6, batch_first=True)
        self.denoise = nn.GRU(4 + 6 + F, 7, batch_first=True)
        self.gains, self.vad_output = nn.Linear(7, 3), nn.Linear(4, 1)

    def forward(
        self, x: Tensor, states: tuple[Tensor | None, Tensor | None, Tensor | None] = (None,) * 3
    ) -> Separated:
        y = torch.tanh(self.dense(x))
        vad, _ = self.vad(y, states[0])
        noise, _ = self.noise(torch.cat([y, torch.relu(vad), x], -1), states[1])
        clean, _ = self.denoise(torch.cat([vad, torch.relu(noise), x], -1), states[2])
        return Separated(torch.sigmoid(self.gains(clean)), torch.sigmoid(self.vad_output(vad)))


CASES = [
    Case(DeepSpeech2, (X, lengths_of("frames", "batch"))),
    Case(Speller, (X, ids(9, "batch", "letters"))),
    Case(Prediction, (ids(9, "batch", "labels"),)),
    Case(
        Prediction,
        (
            ids(9, "batch", "labels"),
            [(floats(1, "batch", H), floats(1, "batch", H)) for _ in range(2)],
        ),
        name="PredictionGoesOn",
    ),
    Case(TransducerLoss, (X, ids(9, "batch", "labels"))),
    Case(ConvolutionBank, (X,)),
    Case(WaveRNN, (floats("batch", "frames", 4), X)),
    Case(CoarseFine, (floats("batch", "sequence", 2), floats("batch", "sequence", 1))),
    Case(SampleRNN, (ids(16, "batch", "frames", 4),)),
    Case(NoiseSuppressor, (X,)),
    Case(
        NoiseSuppressor,
        (X, (floats(1, "batch", 4), floats(1, "batch", 6), floats(1, "batch", 7))),
        name="NoiseSuppressorGoesOn",
    ),
]
