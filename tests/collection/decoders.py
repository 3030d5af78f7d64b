"""Decoders: over given targets, autoregressive, with and without attention."""

from __future__ import annotations

import torch
from collection.case import Case, floats, ids, lengths_of, masks
from torch import Tensor, nn
from torch.nn import functional

F, H, V = 5, 6, 9
SOURCE = floats("batch", "source", F)


class TeacherForced(nn.Module):
    """Encoder and decoder without attention."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(V, F), nn.Embedding(V, F)
        self.encoder = nn.GRU(F, H, batch_first=True)
        self.decoder, self.head = nn.GRU(F, H, batch_first=True), nn.Linear(H, V)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        _, state = self.encoder(self.source(source))
        return self.head(self.decoder(self.target(target[:, :-1]), state)[0])


class AdditiveAttention(nn.Module):
    """Bahdanau's decoder over a given target with a mask over the source."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, F)
        self.encoder = nn.GRU(F, H, batch_first=True, bidirectional=True)
        self.keys, self.query, self.score = nn.Linear(2 * H, H), nn.Linear(H, H), nn.Linear(H, 1)
        self.cell, self.head = nn.GRUCell(F + 2 * H, H), nn.Linear(H, V)

    def forward(self, source: Tensor, mask: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        memory, final = self.encoder(source)
        keys, h = self.keys(memory), final[0]
        logits, maps = [], []
        for t in range(target.size(1)):
            energy = self.score(torch.tanh(keys + self.query(h).unsqueeze(1))).squeeze(-1)
            weights = torch.softmax(energy.masked_fill(~mask, -1e9), dim=-1)
            context = (weights.unsqueeze(2) * memory).sum(1)
            h = self.cell(torch.cat([self.embedding(target[:, t]), context], 1), h)
            logits.append(self.head(h))
            maps.append(weights)
        return torch.stack(logits, 1), torch.stack(maps, 1)


class GreedyFixedSteps(nn.Module):
    """Writes eight words, each the most probable after the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTM(F, H, batch_first=True)
        self.embedding, self.cell = nn.Embedding(V, F), nn.LSTMCell(F, H)
        self.head = nn.Linear(H, V)

    def forward(self, source: Tensor) -> Tensor:
        _, (h, c) = self.encoder(source)
        h, c = h[0], c[0]
        word = torch.zeros(source.size(0), dtype=torch.long)
        words = []
        for _ in range(8):
            h, c = self.cell(self.embedding(word), (h, c))
            word = self.head(h).argmax(-1)
            words.append(word)
        return torch.stack(words, 1)


class Captioner(nn.Module):
    """An image feature starts the state; words follow with it beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.start, self.embedding = nn.Linear(7, H), nn.Embedding(V, F)
        self.cell, self.head = nn.LSTMCell(F + 7, H), nn.Linear(H, V)

    def forward(self, image: Tensor, words: Tensor) -> Tensor:
        h = torch.tanh(self.start(image))
        c = torch.zeros_like(h)
        embedded, outputs = self.embedding(words), []
        for t in range(words.shape[1]):
            h, c = self.cell(torch.cat((embedded[:, t], image), 1), (h, c))
            outputs.append(self.head(h))
        return torch.stack(outputs, 1)


class TacotronDecoder(nn.Module):
    """Prenet, attention cell with location features, decoder cell, frame and stop outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.prenet = nn.Sequential(nn.Linear(4, H), nn.ReLU(), nn.Dropout(0.5))
        self.attention, self.decoder = nn.LSTMCell(H + F, H), nn.LSTMCell(H + F, H)
        self.query, self.keys, self.score = nn.Linear(H, H), nn.Linear(F, H), nn.Linear(H, 1)
        self.location = nn.Conv1d(2, H, 3, padding=1)
        self.frame, self.stop = nn.Linear(H + F, 4), nn.Linear(H + F, 1)

    def forward(self, memory: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        batch, steps, _ = memory.shape
        h = c = dh = dc = memory.new_zeros(batch, H)
        weights = total = memory.new_zeros(batch, steps)
        context, keys = memory.new_zeros(batch, F), self.keys(memory)
        spectrum, stops = [], []
        for frame in frames.unbind(1):
            h, c = self.attention(torch.cat([self.prenet(frame), context], -1), (h, c))
            place = self.location(torch.stack([weights, total], 1)).transpose(1, 2)
            energy = self.score(torch.tanh(self.query(h)[:, None] + keys + place)).squeeze(-1)
            weights = torch.softmax(energy, -1)
            total = total + weights
            context = torch.bmm(weights.unsqueeze(1), memory).squeeze(1)
            dh, dc = self.decoder(torch.cat([h, context], -1), (dh, dc))
            both = torch.cat([dh, context], -1)
            spectrum.append(self.frame(both))
            stops.append(torch.sigmoid(self.stop(both)))
        return torch.stack(spectrum, 1), torch.cat(stops, 1)


class PointerNetwork(nn.Module):
    """Points at its own inputs, as many times as it has inputs, never twice at one."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.cell = nn.LSTM(F, H, batch_first=True), nn.LSTMCell(F, H)
        self.query = nn.Linear(H, H)

    def forward(self, x: Tensor) -> Tensor:
        memory, (h, c) = self.encoder(x)
        h, c, step = h[0], c[0], x.mean(1)
        taken = torch.zeros(x.size(0), x.size(1))
        scores = []
        for _ in range(x.size(1)):
            h, c = self.cell(step, (h, c))
            energy = torch.einsum("bsh,bh->bs", memory, self.query(h)) - 1e4 * taken
            scores.append(torch.softmax(energy, -1))
            taken = taken + functional.one_hot(energy.argmax(-1), x.size(1)).float()
            step = torch.bmm(scores[-1].unsqueeze(1), x).squeeze(1)
        return torch.stack(scores, 1)


class OwnPredictions(nn.Module):
    """Continues a series for twelve steps from its own predictions."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = nn.GRU(1, H, batch_first=True), nn.Linear(H, 1)

    def forward(self, x: Tensor) -> Tensor:
        _, state = self.encoder(x)
        value, outputs = x[:, -1:], []
        for _ in range(12):
            y, state = self.encoder(value, state)
            value = value + self.head(y)
            outputs.append(value)
        return torch.cat(outputs, 1)


class InputFeeding(nn.Module):
    """Luong's decoder: the attended output is fed into the next step."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.ModuleList([nn.LSTMCell(F + H, H), nn.LSTMCell(H, H)])
        self.score, self.mix = nn.Linear(H, F, bias=False), nn.Linear(H + F, H)

    def forward(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        batch = source.size(0)
        padding = torch.arange(source.size(1)).unsqueeze(0) >= lengths.unsqueeze(1)
        states = [(source.new_zeros(batch, H), source.new_zeros(batch, H)) for _ in self.cells]
        feed, outputs = source.new_zeros(batch, H), []
        for t in range(target.size(1)):
            y = torch.cat([target[:, t], feed], 1)
            for n, cell in enumerate(self.cells):
                states[n] = cell(y, states[n])
                y = states[n][0]
            energy = torch.matmul(source, self.score(y).unsqueeze(2)).squeeze(2)
            weights = energy.masked_fill(padding, float("-inf")).softmax(1)
            context = torch.matmul(weights.unsqueeze(1), source).squeeze(1)
            feed = torch.tanh(self.mix(torch.cat([y, context], 1)))
            outputs.append(feed)
        return torch.stack(outputs, 1)


CASES = [
    Case(TeacherForced, (ids(V, "batch", "source"), ids(V, "batch", "target"))),
    Case(AdditiveAttention, (SOURCE, masks("batch", "source"), ids(V, "batch", "target"))),
    Case(GreedyFixedSteps, (SOURCE,)),
    Case(Captioner, (floats("batch", 7), ids(V, "batch", "sequence"))),
    Case(TacotronDecoder, (SOURCE, floats("batch", "target", 4))),
    Case(PointerNetwork, (floats("batch", "sequence", F),)),
    Case(OwnPredictions, (floats("batch", "sequence", 1),)),
    Case(
        InputFeeding,
        (SOURCE, lengths_of("source", "batch"), floats("batch", "target", F)),
    ),
]
