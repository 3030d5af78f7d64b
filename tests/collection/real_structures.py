"""Structures of published models around recurrence: windows, bags, medians, ragged axes."""

from __future__ import annotations

import torch
from collection.case import Case, floats, ids, lengths_of
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

C, H = 8, 6
X = floats("batch", "sequence", C)
WORDS = ids(20, "batch", "sequence")
LENGTHS = lengths_of("sequence", "batch")


class DeepSpeech2(nn.Module):
    """Masks what a strided convolution leaves of the padding; sums the directions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 5, stride=2, padding=2)
        self.norm = nn.BatchNorm2d(4)
        self.rnn = nn.GRU(16, 5, bidirectional=True)
        self.head = nn.Linear(5, 6)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        lengths = (lengths + 2 * 2 - 5) // 2 + 1
        y = F.hardtanh(self.norm(self.conv(x.transpose(1, 2).unsqueeze(1))), 0, 20)
        mask = torch.arange(y.size(3), device=y.device)[None, :] >= lengths[:, None]
        y = y.masked_fill(mask[:, None, None, :], 0)
        b, c, d, t = y.size()
        y = y.view(b, c * d, t).transpose(1, 2).transpose(0, 1).contiguous()
        y, _ = pad_packed_sequence(
            self.rnn(pack_padded_sequence(y, lengths, enforce_sorted=False))[0]
        )
        y = y.view(y.size(0), y.size(1), 2, -1).sum(2)
        return self.head(y).transpose(0, 1).log_softmax(-1), lengths


class CharacterTagger(nn.Module):
    """A max over the characters of every word, however many; then a BiLSTM over the words."""

    def __init__(self) -> None:
        super().__init__()
        self.letters, self.words = nn.Embedding(15, 4, padding_idx=0), nn.Embedding(20, 5)
        self.conv = nn.Conv1d(4, 6, 3, padding=1)
        self.rnn = nn.LSTM(11, 4, batch_first=True, bidirectional=True)

    def forward(self, words: Tensor, letters: Tensor, lengths: Tensor) -> Tensor:
        b, t, c = letters.shape
        spelt = self.conv(self.letters(letters.view(-1, c)).transpose(1, 2))
        spelt = F.max_pool1d(spelt, spelt.size(2)).squeeze(2).view(b, t, -1)
        x = torch.cat([self.words(words), spelt], -1)
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=t)
        return y


class HierarchicalAttention(nn.Module):
    """Sentences of a document folded into the batch, each with its length."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 5)
        self.words = nn.GRU(5, 4, batch_first=True, bidirectional=True)
        self.project, self.context = nn.Linear(8, 8), nn.Parameter(torch.randn(8))
        self.sentences = nn.GRU(8, 4, batch_first=True)

    def forward(self, documents: Tensor, lengths: Tensor) -> Tensor:
        b, n, t = documents.shape
        x, lengths = self.embedding(documents.reshape(b * n, t)), lengths.view(-1).clamp(min=1)
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, _ = pad_packed_sequence(self.words(packed)[0], batch_first=True, total_length=t)
        valid = torch.arange(t, device=y.device).expand(b * n, t) < lengths.view(-1, 1)
        scores = (torch.tanh(self.project(y)) @ self.context).masked_fill(~valid, float("-inf"))
        pooled = torch.bmm(torch.softmax(scores, 1).unsqueeze(1), y).squeeze(1)
        return self.sentences(pooled.view(b, n, -1))[0]


class ESIM(nn.Module):
    """Pools with windows as long as the sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 5, padding_idx=0)
        self.rnn = nn.LSTM(5, 4, batch_first=True, bidirectional=True)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        a, b = (self.rnn(self.embedding(each))[0] for each in (left, right))
        scores = (a @ b.transpose(1, 2)).masked_fill(right.eq(0).unsqueeze(1), -1e9)
        y = torch.cat([a, F.softmax(scores, -1) @ b], -1).transpose(1, 2)
        mean, most = F.avg_pool1d(y, y.size(2)), F.max_pool1d(y, kernel_size=y.size(-1))
        return torch.cat([mean.squeeze(-1), most.squeeze(-1)], 1)


class FrequencyPooledEvents(nn.Module):
    """Pools what is left of the frequencies, and of both axes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.rnn = nn.GRU(4, H, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.conv(x.unsqueeze(1))
        clip = F.avg_pool2d(y, y.shape[2:]).flatten(1)
        return self.rnn(F.max_pool2d(y, (1, y.size(3))).squeeze(3).transpose(1, 2))[0], clip


class KnowledgeTracing(nn.Module):
    """Answers for all steps but the last: none where there is one step."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(14, C, batch_first=True), nn.Linear(C, 7)

    def forward(self, skill: Tensor, right: Tensor) -> Tensor:
        y = torch.sigmoid(self.head(self.rnn(F.one_hot(skill + 7 * right, 14).float())[0]))
        return (y[:, :-1] * F.one_hot(skill[:, 1:], 7)).sum(-1)


class GraphTraffic(nn.Module):
    """Every node of a fixed graph is a row of the recurrence."""

    adjacency: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("adjacency", torch.rand(4, 4))
        self.project, self.rnn = nn.Linear(3, 5), nn.GRU(5, H)
        self.head = nn.Linear(H, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, t, n, _ = x.shape
        adjacency = self.adjacency + torch.eye(n)
        scale = adjacency.sum(1).rsqrt().diag()
        y = torch.einsum("vw,btwf->btvf", scale @ adjacency @ scale, x)
        y = F.relu(self.project(y)).permute(1, 0, 2, 3).reshape(t, b * n, -1)
        return self.head(self.rnn(y)[0][-1]).view(b, n)


class DistanceAttention(nn.Module):
    """Weighs steps by their distances to the steps of another sequence, as ABCNN does."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(C, 4, batch_first=True, bidirectional=True)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        a, b = self.rnn(left)[0], self.rnn(right)[0]
        near = 1 / (1 + torch.cdist(a, b))
        a, b = a * near.sum(2, keepdim=True), b * near.sum(1).unsqueeze(2)
        return F.cosine_similarity(a.mean(1), b.max(1).values)


class BucketsAndBags(nn.Module):
    """Numbers in buckets, and a bag of tags for the whole sequence, of any size."""

    edges: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("edges", torch.linspace(-1, 1, 5))
        self.buckets, self.rnn = nn.Embedding(6, 4), nn.GRU(4, 5, batch_first=True)
        self.tags = nn.EmbeddingBag(20, 4, mode="mean", padding_idx=0)
        self.words = nn.EmbeddingBag(20, 4, mode="max")

    def forward(self, x: Tensor, bag: Tensor) -> Tensor:
        y = self.buckets(torch.bucketize(x, self.edges))
        return self.rnn(y + (self.tags(bag) + self.words(bag)).unsqueeze(1))[0]


class Curiosity(nn.Module):
    """Forward and inverse dynamics between neighbouring steps, as ICM learns them."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.rnn = nn.Linear(C, 5), nn.GRU(5, H, batch_first=True)
        self.inverse, self.predict = nn.Linear(10, 3), nn.Linear(8, 5)

    def forward(self, observed: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = F.elu(self.encoder(observed))
        now, then = y[:, :-1], y[:, 1:]
        done = F.one_hot(action[:, :-1], 3).to(y.dtype)
        surprise = (self.predict(torch.cat([now, done], -1)) - then).pow(2).sum(-1) / 2
        return self.rnn(y)[0], self.inverse(torch.cat([now, then], -1)), F.pad(surprise, (0, 1))


class Statistics(nn.Module):
    """A readout by several statistics of the steps, the median among them."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(C, 3, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(x)
        middle = torch.median(y, dim=1).values
        return torch.cat([y.max(1)[0], y.mean(1), y.std(1, unbiased=False), middle, y[:, 0]], 1)


class Spectrogram(nn.Module):
    """torch.stft in front of a GRU."""

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(8))
        self.rnn = nn.GRU(5, H, batch_first=True)

    def forward(self, wave: Tensor) -> Tensor:
        frames = torch.stft(wave, 8, 4, 8, self.window, center=True, return_complex=True)
        return self.rnn(torch.log1p(frames.abs()).transpose(1, 2))[0]


CASES = [
    Case(DeepSpeech2, (floats("batch", "sequence", C), LENGTHS)),
    Case(CharacterTagger, (WORDS, ids(15, "batch", "sequence", "letters"), LENGTHS)),
    Case(
        HierarchicalAttention,
        (ids(20, "batch", "sentences", "words"), lengths_of("words", "batch", "sentences")),
    ),
    Case(ESIM, (WORDS, ids(20, "batch", "other"))),
    Case(FrequencyPooledEvents, (X,)),
    Case(KnowledgeTracing, (ids(7, "batch", "sequence"), ids(2, "batch", "sequence"))),
    Case(GraphTraffic, (floats("batch", "sequence", 4, 3),)),
    Case(DistanceAttention, (X, floats("batch", "other", C))),
    Case(BucketsAndBags, (floats("batch", "sequence"), ids(20, "batch", "bag"))),
    Case(Curiosity, (X, ids(3, "batch", "sequence"))),
    Case(Statistics, (X,)),
    Case(Spectrogram, (floats("batch", "samples"),)),
]
