"""Networks for series: forecasts, reconstructions, anomalies."""

from __future__ import annotations

import torch
from collection.case import Case, floats, ids
from torch import Tensor, nn
from torch.nn import functional

F, H = 4, 6
X = floats("batch", "sequence", F)


class Autoencoder(nn.Module):
    """A latent vector repeated as often as there are steps."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTM(F, H, batch_first=True)
        self.decoder, self.head = nn.LSTM(H, H, batch_first=True), nn.Linear(H, F)

    def forward(self, x: Tensor) -> Tensor:
        latent = self.encoder(x)[1][0][-1]
        return self.head(self.decoder(latent.unsqueeze(1).repeat(1, x.shape[1], 1))[0])


class VariationalAutoencoder(nn.Module):
    """In evaluation the latent vector is the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.GRU(F, H, batch_first=True), nn.GRU(3, H, batch_first=True)
        self.mean, self.log_var, self.head = nn.Linear(H, 3), nn.Linear(H, 3), nn.Linear(H, F)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.encoder(x)[1].squeeze(0)
        mean, log_var = self.mean(h), self.log_var(h)
        z = mean
        if self.training:
            z = z + torch.randn_like(z) * torch.exp(log_var / 2)
        y, _ = self.decoder(z[:, None].expand(-1, x.size(1), -1))
        return self.head(y), mean, log_var


class NormalizedForecast(nn.Module):
    """Reversible instance normalization around an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(F, H, batch_first=True), nn.Linear(H, 3 * F)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        scale = torch.sqrt(x.var(1, keepdim=True, unbiased=False) + 1e-5)
        y, _ = self.rnn((x - mean) / scale)
        return self.head(y[:, -1]).view(-1, 3, F) * scale + mean


class DeepAR(nn.Module):
    """Category embedding at every step; a mean and a positive deviation."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 3)
        self.rnn = nn.LSTM(F + 3, H, num_layers=2, batch_first=True)
        self.mean, self.deviation = nn.Linear(H, 1), nn.Linear(H, 1)

    def forward(self, x: Tensor, series: Tensor) -> tuple[Tensor, Tensor]:
        static = self.embedding(series).unsqueeze(1).expand(-1, x.size(1), -1)
        y, _ = self.rnn(torch.cat([x, static], -1))
        return self.mean(y).squeeze(-1), functional.softplus(self.deviation(y)).squeeze(-1)


class SkipRNN(nn.Module):
    """LSTNet: a GRU over every third step, made by a reshape, beside a plain one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.rnn = nn.Conv1d(F, H, 3), nn.GRU(H, H)
        self.skip, self.head = nn.GRU(H, 3), nn.Linear(H + 9, F)
        self.highway = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        c = torch.relu(self.conv(x.transpose(1, 2)))
        _, h = self.rnn(c.permute(2, 0, 1))
        count = c.size(2) // 3
        s = c[:, :, c.size(2) - 3 * count :].reshape(-1, H, count, 3)
        s = s.permute(2, 0, 3, 1).reshape(count, -1, H)
        _, s = self.skip(s)
        out = self.head(torch.cat([h.squeeze(0), s.view(x.size(0), 9)], 1))
        return out + self.highway(x[:, -4:].transpose(1, 2)).squeeze(2)


class DecomposedForecast(nn.Module):
    """A moving average as trend; an LSTM for what is left."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(F, H, batch_first=True), nn.Linear(H, F)

    def forward(self, x: Tensor) -> Tensor:
        ends = torch.cat([x[:, :1].repeat(1, 2, 1), x, x[:, -1:].repeat(1, 2, 1)], 1)
        trend = functional.avg_pool1d(ends.transpose(1, 2), 5, stride=1).transpose(1, 2)
        return self.head(self.rnn(x - trend)[0]) + trend


class KnownFuture(nn.Module):
    """An encoder over the past, a decoder over what is known of the future."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = (
            nn.LSTM(F, H, batch_first=True),
            nn.LSTM(2, H, batch_first=True),
        )
        self.gate, self.head = nn.Linear(H, 2 * H), nn.Linear(H, 3)

    def forward(self, past: Tensor, future: Tensor) -> Tensor:
        y, state = self.encoder(past)
        z, _ = self.decoder(future, state)
        return self.head(functional.glu(self.gate(torch.cat([y, z], 1))))[:, past.size(1) :]


class Windows(nn.Module):
    """Sliding windows of three steps as features."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3 * F, H, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x.unfold(1, 3, 1).flatten(2))[0]


CASES = [
    Case(Autoencoder, (X,)),
    Case(VariationalAutoencoder, (X,)),
    Case(NormalizedForecast, (X,)),
    Case(DeepAR, (X, ids(7, "batch"))),
    Case(SkipRNN, (X,)),
    Case(DecomposedForecast, (X,)),
    Case(KnownFuture, (X, floats("batch", "horizon", 2))),
    Case(Windows, (X,)),
]
