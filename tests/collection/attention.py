"""Attention and pooling over the steps of a recurrent layer."""

from __future__ import annotations

import math

import torch
from collection.case import Case, floats, ids, lengths_of, masks
from torch import Tensor, nn
from torch.nn import functional

F, H = 5, 6
X = floats("batch", "sequence", F)
LENGTHS = lengths_of("sequence", "batch")


class AttentivePooling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(F, H, bidirectional=True, batch_first=True)
        self.project, self.context = nn.Linear(2 * H, H), nn.Linear(H, 1, bias=False)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        y, _ = self.rnn(x)
        scores = self.context(torch.tanh(self.project(y))).squeeze(-1)
        weights = scores.masked_fill(mask.logical_not(), float("-inf")).softmax(1)
        return torch.einsum("bt,bth->bh", weights, y), weights


class MaskedMean(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(F, H, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y, _ = self.rnn(x)
        mask = (torch.arange(y.size(1), device=y.device)[None, :] < lengths[:, None]).unsqueeze(-1)
        return (y * mask).sum(1) / lengths.unsqueeze(1)


class MeanAndMax(nn.Module):
    """Concatenated mean, maximum and last state."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(F, H, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        y, (h, _) = self.rnn(x)
        top = functional.adaptive_max_pool1d(y.transpose(1, 2), 1).squeeze(-1)
        return torch.cat([y.mean(dim=1), top, h[-1]], dim=1)


class SelfAttention(nn.Module):
    """nn.MultiheadAttention over a GRU's outputs, with padding masked."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(F, H, batch_first=True)
        self.attention = nn.MultiheadAttention(H, 2, batch_first=True)
        self.norm = nn.LayerNorm(H)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y, _ = self.rnn(x)
        padding = torch.arange(x.size(1)).expand(x.size(0), -1) >= lengths.unsqueeze(1)
        attended, _ = self.attention(y, y, y, key_padding_mask=padding, need_weights=False)
        return self.norm(y + attended)


class CausalAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(F, H, batch_first=True)
        self.qkv = nn.Linear(H, 3 * H)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(x)
        q, k, v = self.qkv(y).chunk(3, -1)
        scores = q @ k.transpose(1, 2) / math.sqrt(H)
        future = torch.triu(torch.ones(x.size(1), x.size(1), dtype=torch.bool), diagonal=1)
        return scores.masked_fill(future, float("-inf")).softmax(-1) @ v


class WithSinusoids(nn.Module):
    """Sinusoidal positions added before an LSTM."""

    rates: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(H, H, batch_first=True)
        self.register_buffer("rates", torch.exp(torch.arange(0, H, 2) * (-math.log(100.0) / H)))

    def forward(self, x: Tensor) -> Tensor:
        angles = torch.arange(x.size(1)).float().unsqueeze(1) * self.rates
        positions = torch.stack([angles.sin(), angles.cos()], 2).flatten(1)
        return self.rnn(x + positions)[0]


class Hierarchical(nn.Module):
    """Words make sentences, sentences make a document."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(15, F)
        self.words = nn.GRU(F, H, batch_first=True)
        self.sentences = nn.GRU(H, H, batch_first=True, bidirectional=True)

    def forward(self, words: Tensor) -> Tensor:
        batch, sentences, count = words.shape
        y, _ = self.words(self.embedding(words.reshape(batch * sentences, count)))
        y, _ = self.sentences(y[:, -1].reshape(batch, sentences, H))
        return y.max(dim=1).values


class CrossAttention(nn.Module):
    """Attends from one encoded sequence to another and back, as BiDAF does."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(F, H, batch_first=True)

    def forward(self, passage: Tensor, question: Tensor) -> Tensor:
        p, q = self.rnn(passage)[0], self.rnn(question)[0]
        similarity = torch.matmul(p, q.transpose(1, 2))
        to_question = torch.matmul(similarity.softmax(2), q)
        weights = similarity.max(2)[0].softmax(1).unsqueeze(1)
        to_passage = torch.bmm(weights, p).expand(-1, p.size(1), -1)
        return torch.cat([p, to_question, p * to_question, p * to_passage], 2)


CASES = [
    Case(AttentivePooling, (X, masks("batch", "sequence"))),
    Case(MaskedMean, (X, LENGTHS)),
    Case(MeanAndMax, (X,)),
    Case(SelfAttention, (X, LENGTHS)),
    Case(CausalAttention, (X,)),
    Case(WithSinusoids, (floats("batch", "sequence", H),)),
    Case(Hierarchical, (ids(15, "batch", "sentence", "word"),)),
    Case(CrossAttention, (X, floats("batch", "question", F))),
]
