"""Habits of published code: masks by hand, .data, lists as long as an axis, distributions."""

from __future__ import annotations

from typing import NamedTuple

import torch
from collection.case import Case, floats, ids, lengths_of
from torch import Tensor, nn
from torch.autograd import Variable
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

F, H = 5, 4
X = floats("batch", "sequence", F)


class MaskedByHand(nn.Module):
    """A mask that is written row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.score = nn.LSTM(F, H, batch_first=True), nn.Linear(H, 1)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        y, _ = self.lstm(x)
        mask = torch.ones(x.shape[0], x.shape[1])
        for i, length in enumerate(lengths):
            mask[i, length:] = 0
        scores = self.score(y).squeeze(-1).masked_fill(mask == 0, -1e9)
        weights = functional.softmax(scores, dim=1)
        return torch.bmm(weights.unsqueeze(1), y).squeeze(1), weights


class FlaggedByHand(nn.Module):
    """Flags that are set row by row, from a list."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(F, H, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y, _ = self.gru(x)
        known = torch.zeros(x.size(0), x.size(1), dtype=torch.bool)
        for row, length in enumerate(lengths.tolist()):
            known[row, :length] = True
        weights = known.unsqueeze(2).float()
        return (y * weights).sum(1) / weights.sum(1)


class Strokes(nn.Module):
    """A sketch decoder: a first stroke for each row and the latent for each step, in lists."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.lstm = nn.Linear(3, 2 * H), nn.LSTM(F + 3, H)
        self.mixture = nn.Linear(H, 5)

    def forward(self, strokes: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        h, c = torch.split(torch.tanh(self.first(z)), H, 1)
        start = torch.stack([torch.Tensor([0, 0, 1, 0, 0])] * z.size()[0]).unsqueeze(0)
        given = torch.cat([start, strokes], 0)
        latents = torch.stack([z] * (strokes.size()[0] + 1))
        y, (h, _) = self.lstm(torch.cat([given, latents], 2), (h.unsqueeze(0), c.unsqueeze(0)))
        return self.mixture(y.view(-1, H)).view(y.size(0), -1, 5), h


class Backwards(nn.Module):
    """Steps in reverse by a list of their places; a zero state from the memory of the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(F, H)

    def forward(self, x: Tensor) -> Tensor:
        places = Variable(torch.LongTensor(range(x.size(1))[::-1]))
        h = Variable(next(self.parameters()).data.new(x.size(0), H).zero_())
        y = []
        for step in x.index_select(1, places).split(1, dim=1):
            h = self.cell(step.squeeze(1), h)
            y.append(h.data)
        return torch.stack(y, dim=1).index_select(1, places)


class ForecastOneByOne(nn.Module):
    """DeepAR: means and deviations squeezed, written into tables, the mean fed back."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.lstm = nn.Embedding(3, 2), nn.LSTM(F + 3, H, 2)
        self.mean, self.deviation = nn.Linear(2 * H, 1), nn.Linear(2 * H, 1)

    def forward(self, x: Tensor, series: Tensor) -> tuple[Tensor, Tensor]:
        steps, batch = x.shape[:2]
        h, c = torch.zeros(2, batch, H), torch.zeros(2, batch, H)
        means, deviations = torch.zeros(steps, batch), torch.zeros(steps, batch)
        last = torch.zeros(1, batch, 1)
        kind = self.embedding(series.unsqueeze(0))
        for t in range(steps):
            _, (h, c) = self.lstm(torch.cat([x[t].unsqueeze(0), last, kind], 2), (h, c))
            joint = h.permute(1, 2, 0).contiguous().view(batch, -1)
            mean = torch.squeeze(self.mean(joint))
            deviation = torch.squeeze(functional.softplus(self.deviation(joint)))
            means[t], deviations[t] = mean.view(batch), deviation.view(batch)
            last = mean.view(1, batch, 1)
        return means, deviations


class Belief(NamedTuple):
    mean: Tensor
    deviation: Tensor
    deter: Tensor


class WorldModel(nn.Module):
    """Dreamer's: a prior and a posterior at each step, their divergence by torch.distributions."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(2 + 3, H)
        self.prior, self.posterior = nn.Linear(H, 4), nn.Linear(H + F, 4)

    def forward(self, x: Tensor, actions: Tensor) -> tuple[Belief, Tensor]:
        deter, stochastic = x.new_zeros(x.size(0), H), x.new_zeros(x.size(0), 2)
        beliefs, divergences = [], []
        for t in range(x.size(1)):
            deter = self.cell(torch.cat([stochastic, actions[:, t]], -1), deter)
            prior = self._believe(self.prior(deter))
            posterior = self._believe(self.posterior(torch.cat([deter, x[:, t]], -1)))
            stochastic = posterior.mean
            beliefs.append(Belief(posterior.base_dist.loc, posterior.base_dist.scale, deter))
            divergences.append(torch.distributions.kl_divergence(posterior, prior))
        joined = Belief(*(torch.stack(parts, dim=1) for parts in zip(*beliefs, strict=True)))
        return joined, torch.stack(divergences, dim=1)

    def _believe(self, raw: Tensor) -> torch.distributions.Independent:
        mean, deviation = torch.chunk(raw, 2, dim=-1)
        normal = torch.distributions.Normal(mean, functional.softplus(deviation) + 0.1)
        return torch.distributions.Independent(normal, 1)


class GraphCells(nn.Module):
    """A graph's nodes in a recurrent cell whose new state lies in memory in another order."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes = nn.Parameter(torch.randn(3, 2))
        self.weights = nn.Parameter(torch.randn(2, 2 + H, H) * 0.3)

    def forward(self, x: Tensor) -> Tensor:
        links = functional.softmax(torch.relu(self.nodes @ self.nodes.transpose(0, 1)), dim=1)
        weights = torch.einsum("nd,dio->nio", self.nodes, self.weights)
        h = torch.zeros(x.shape[0], 3, H)
        for t in range(x.shape[1]):
            mixed = torch.einsum("nm,bmc->bnc", links, torch.cat((x[:, t], h), dim=-1))
            h = 0.5 * h + torch.tanh(torch.einsum("bni,nio->bno", mixed, weights))
        return h


class FrameByFrame(nn.Module):
    """A convolution and an LSTM for the first frame, then a loop over those that follow."""

    def __init__(self) -> None:
        super().__init__()
        self.look, self.lstm, self.answer = nn.Linear(F, H), nn.LSTM(H, H), nn.Linear(H, 3)

    def forward(self, x: Tensor) -> Tensor:
        seen = torch.relu(self.look(x[:, 0]))
        y, state = self.lstm(seen.unsqueeze(0))
        for t in range(1, x.shape[1]):
            seen = torch.relu(self.look(x[:, t]))
            y, state = self.lstm(seen.unsqueeze(0), state)
        return self.answer(y[-1])


class Variational(nn.Module):
    """A variational RNN: a sum that begins at the number 0, the last of a list of means."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.prior = nn.Linear(F + H, 4), nn.Linear(H, 4)
        self.decoder, self.cell = nn.Linear(2 + H, F), nn.GRUCell(F + 2, H)

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.zeros(x.size(1), H)
        divergence: Tensor | int = 0
        means = []
        for t in range(x.size(0)):
            mean, spread = self.encoder(torch.cat([x[t], h], 1)).chunk(2, 1)
            expected, width = self.prior(h).chunk(2, 1)
            z = noise[t].mul(functional.softplus(spread)).add_(mean)
            means.append(torch.sigmoid(self.decoder(torch.cat([z, h], 1))))
            h = self.cell(torch.cat([x[t], z], 1), h)
            divergence += ((mean - expected) ** 2 / functional.softplus(width)).sum(1)
        assert isinstance(divergence, Tensor)
        return divergence, means[-1]


class Translated(nn.Module):
    """Attention over an encoder's output, trimmed to the longest row, word by word."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.GRU(F, H, batch_first=True), nn.GRU(3 + H, H)
        self.embedding, self.query, self.key = nn.Embedding(9, 3), nn.Linear(H, H), nn.Linear(H, H)
        self.energy, self.out = nn.Linear(H, 1), nn.Linear(H, 9)

    def forward(self, x: Tensor, lengths: Tensor, words: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        keys, h = self.encoder(packed)
        keys, _ = pad_packed_sequence(keys, batch_first=True)
        known = torch.arange(keys.size(1))[None, :] < lengths[:, None]
        answers = []
        for i in range(words.size(1)):
            score = self.energy(torch.tanh(self.query(h[-1]).unsqueeze(1) + self.key(keys)))
            score = score.squeeze(2).masked_fill(~known, float("-inf"))
            context = torch.bmm(score.softmax(-1).unsqueeze(1), keys).squeeze(1)
            word = torch.cat([self.embedding(words[:, i]), context], -1)
            y, h = self.decoder(word.unsqueeze(0), h)
            answers.append(self.out(y[0]))
        return functional.log_softmax(torch.stack(answers, dim=1), dim=-1)


class ConvolvedBothWays(nn.Module):
    """Speech enhancement: convolutions, an LSTM, and convolutions back that see each layer."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(1, 2, (1, 3), (1, 2)), nn.Conv2d(2, 4, (1, 3))
        self.lstm = nn.LSTM(8, 8, batch_first=True)
        self.up2 = nn.ConvTranspose2d(8, 2, (1, 3))
        self.up1 = nn.ConvTranspose2d(4, 1, (1, 3), (1, 2))

    def forward(self, x: Tensor) -> Tensor:
        first = functional.elu(self.down1(x))
        second = functional.elu(self.down2(first))
        batch, channels, steps, bands = second.shape
        y, _ = self.lstm(second.permute(0, 2, 1, 3).contiguous().view(batch, steps, -1))
        y = y.view(batch, steps, channels, bands).permute(0, 2, 1, 3)
        y = functional.elu(self.up2(torch.cat((y, second), dim=1)))
        return functional.softplus(self.up1(torch.cat([y, first], 1))) * x


CASES = [
    Case(MaskedByHand, (X, lengths_of("sequence", "batch"))),
    Case(FlaggedByHand, (X, lengths_of("sequence", "batch"))),
    Case(Strokes, (floats("sequence", "batch", F), floats("batch", 3))),
    Case(Backwards, (X,)),
    Case(ForecastOneByOne, (floats("sequence", "batch", F), ids(3, "batch"))),
    Case(WorldModel, (X, floats("batch", "sequence", 3))),
    Case(Translated, (X, lengths_of("sequence", "batch"), ids(9, "batch", "words"))),
    Case(ConvolvedBothWays, (floats("batch", 1, "sequence", 9),)),
    Case(FrameByFrame, (X,)),
    Case(Variational, (floats("sequence", "batch", F), floats("sequence", "batch", 2))),
    Case(GraphCells, (floats("batch", "sequence", 3, 2),)),
]
