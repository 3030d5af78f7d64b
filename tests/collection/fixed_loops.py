"""Loops of a fixed number of steps: decoders that write, horizons, memory hops, iterations."""

from __future__ import annotations

import torch
from collection.case import Case, floats, ids
from torch import Tensor, nn
from torch.nn import functional

F, H, V = 4, 5, 7
X = floats("batch", "sequence", F)


class Fixed(nn.Module):
    """``steps`` is how many there are; the tests compare two of them."""

    def __init__(self, steps: int = 6) -> None:
        super().__init__()
        self.steps = steps


class GreedyTranslator(Fixed):
    """Words out of words, each the most probable one, with attention over the source."""

    def __init__(self, steps: int = 6) -> None:
        super().__init__(steps)
        self.source, self.target = nn.Embedding(V, F), nn.Embedding(V, F)
        self.encoder = nn.GRU(F, H, batch_first=True)
        self.cell, self.head = nn.GRUCell(F + H, H), nn.Linear(2 * H, V)

    def forward(self, source: Tensor) -> tuple[Tensor, Tensor]:
        memory, state = self.encoder(self.source(source))
        h = state[0]
        word = torch.ones(source.shape[0], dtype=torch.long)
        words, scores = [], []
        for _ in range(self.steps):
            weights = torch.softmax(torch.bmm(memory, h.unsqueeze(2)).squeeze(2), 1)
            context = torch.bmm(weights.unsqueeze(1), memory).squeeze(1)
            h = self.cell(torch.cat([self.target(word), context], 1), h)
            score = self.head(torch.cat([h, context], 1))
            word = score.argmax(1)
            words.append(word)
            scores.append(score)
        return torch.stack(words, 1), torch.stack(scores, 1)


class Forecaster(Fixed):
    """Writes its own predictions into a tensor that is there already."""

    def __init__(self, steps: int = 6) -> None:
        super().__init__(steps)
        self.encoder, self.cell = nn.LSTM(F, H, batch_first=True), nn.LSTMCell(F, H)
        self.head = nn.Linear(H, F)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        _, (h, c) = self.encoder(x)
        h, c, value = h[0], c[0], x[:, -1]
        out = x.new_zeros(x.shape[0], self.steps, F)
        for step in range(self.steps):
            h, c = self.cell(value, (h, c))
            value = value + self.head(h) / (step + 1)
            out[:, step] = value
        return out, c


class CalendarForecaster(Fixed):
    """A cell over features of the horizon, all known beforehand."""

    def __init__(self, steps: int = 6) -> None:
        super().__init__(steps)
        self.encoder, self.cell = nn.GRU(F, H, batch_first=True), nn.GRUCell(3, H)
        self.head = nn.Linear(H, 1)

    def forward(self, x: Tensor, calendar: Tensor) -> Tensor:
        h = self.encoder(x)[1][0]
        outputs = []
        for step in range(self.steps):
            h = self.cell(calendar[:, step], h)
            outputs.append(self.head(h))
        return torch.cat(outputs, 1)


class ConvLSTMSeq2Seq(Fixed):
    """Frames in over a time axis, a fixed number of frames out."""

    def __init__(self, steps: int = 6) -> None:
        super().__init__(steps)
        self.encoder = nn.Conv2d(2 + 3, 12, 3, padding=1)
        self.decoder = nn.Conv2d(2 + 3, 12, 3, padding=1)
        self.frame = nn.Conv2d(3, 2, 1)

    def step(self, kernel: nn.Module, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        i, f, o, g = kernel(torch.cat([x, h], 1)).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(x.shape[0], 3, 4, 5)
        for t in range(x.shape[1]):
            h, c = self.step(self.encoder, x[:, t], h, c)
        frame, frames = x[:, -1], []
        for _ in range(self.steps):
            h, c = self.step(self.decoder, frame, h, c)
            frame = self.frame(h)
            frames.append(frame)
        return torch.stack(frames, 1)


class PointerDecoder(Fixed):
    """Points at what it has read, never twice at one, a fixed number of times."""

    def __init__(self, steps: int = 6) -> None:
        super().__init__(steps)
        self.encoder, self.cell = nn.LSTM(F, H, batch_first=True), nn.LSTMCell(F, H)
        self.query = nn.Linear(H, H)

    def forward(self, x: Tensor) -> Tensor:
        memory, (h, c) = self.encoder(x)
        h, c, value = h[0], c[0], x.mean(1)
        taken, places = x.new_zeros(x.shape[0], x.shape[1]), []
        for _ in range(self.steps):
            h, c = self.cell(value, (h, c))
            score = (memory * self.query(h).unsqueeze(1)).sum(2) - 1e4 * taken
            place = score.argmax(1)
            taken = taken + functional.one_hot(place, x.shape[1])
            value = x.gather(1, place.view(-1, 1, 1).expand(-1, 1, F)).squeeze(1)
            places.append(score.softmax(1))
        return torch.stack(places, 1)


class MemoryHops(Fixed):
    """An end-to-end memory network: the question goes over the sentences several times."""

    def __init__(self, steps: int = 6) -> None:
        super().__init__(steps)
        self.keys, self.values = nn.Linear(F, H), nn.Linear(F, H)
        self.ask, self.again = nn.Linear(F, H), nn.Linear(H, H, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        keys, values, question = self.keys(x), self.values(x), self.ask(x[:, 0])
        for _ in range(self.steps):
            weights = torch.softmax((keys * question.unsqueeze(1)).sum(2), 1)
            found = (weights.unsqueeze(2) * values).sum(1)
            question = torch.tanh(self.again(question)) + found
        return question


class Tacotron(Fixed):
    """Mel frames from characters: prenet, attention, decoder cells, a fixed number of frames."""

    def __init__(self, steps: int = 6) -> None:
        super().__init__(steps)
        self.embedding, self.prenet = nn.Embedding(V, F), nn.Linear(3, F)
        self.encoder = nn.GRU(F, H, batch_first=True, bidirectional=True)
        self.attention, self.decoder = nn.LSTMCell(F + 2 * H, H), nn.LSTMCell(3 * H, H)
        self.query, self.keys, self.score = nn.Linear(H, H), nn.Linear(2 * H, H), nn.Linear(H, 1)
        self.frame, self.stop = nn.Linear(3 * H, 3), nn.Linear(3 * H, 1)

    def forward(self, text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        memory, _ = self.encoder(self.embedding(text))
        batch, keys = memory.shape[0], self.keys(memory)
        h = c = dh = dc = memory.new_zeros(batch, H)
        context, frame = memory.new_zeros(batch, 2 * H), memory.new_zeros(batch, 3)
        frames, stops, maps = [], [], []
        for _ in range(self.steps):
            h, c = self.attention(torch.cat([self.prenet(frame).relu(), context], 1), (h, c))
            energy = self.score(torch.tanh(keys + self.query(h).unsqueeze(1))).squeeze(2)
            weights = energy.softmax(1)
            context = (weights.unsqueeze(2) * memory).sum(1)
            dh, dc = self.decoder(torch.cat([h, context], 1), (dh, dc))
            both = torch.cat([dh, context], 1)
            frame = self.frame(both)
            frames.append(frame)
            stops.append(self.stop(both).squeeze(1))
            maps.append(weights)
        return torch.stack(frames, 1), torch.stack(stops, 1), torch.stack(maps, 1)


class Ponder(Fixed):
    """Halves that add up: every step weighs its state by a number of its own, no formula."""

    WEIGHTS = (0.3, 0.05, 0.2, 0.15, 0.25, 0.05, 0.4, 0.1)

    def __init__(self, steps: int = 6) -> None:
        super().__init__(steps)
        self.cell, self.out = nn.GRUCell(F, H), nn.Linear(H, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.mean(1)
        h, total = x.new_zeros(x.shape[0], H), x.new_zeros(x.shape[0], 3)
        for step in range(self.steps):
            h = self.cell(x, h)
            total = total + self.WEIGHTS[step * step % 8] * torch.sigmoid(self.out(h))
        return total


class FixedPoint(Fixed):
    """Every frame goes to a fixed point of its own: a loop that needs no other frame."""

    def __init__(self, steps: int = 6) -> None:
        super().__init__(steps)
        self.inside, self.across = nn.Linear(F, H), nn.Linear(H, H)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(x.shape[0], x.shape[1], H)
        for _ in range(self.steps):
            h = torch.tanh(self.across(h) / 2 + self.inside(x))
        return h


class OwnStart(Fixed):
    """The first step begins otherwise, and its layer without a state."""

    def __init__(self, steps: int = 6) -> None:
        super().__init__(steps)
        self.encoder, self.start = nn.GRU(F, H, batch_first=True), nn.Linear(H, H)
        self.lstm, self.head = nn.LSTM(H, H, 2), nn.Linear(H, H)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        value, state, outputs = self.encoder(x)[1][0], None, []
        for step in range(self.steps):
            value = self.start(value) if step == 0 else torch.tanh(value)
            y, state = self.lstm(value.unsqueeze(0), state)
            value = self.head(y.squeeze(0))
            outputs.append(value)
        assert state is not None
        return torch.stack(outputs, 1), state[0]


class ThereAndBack(Fixed):
    """A list of states, and a cell that goes back over it; one of them is returned, too."""

    def __init__(self, steps: int = 6) -> None:
        super().__init__(steps)
        self.there, self.back, self.out = nn.GRUCell(F, F), nn.LSTMCell(F, H), nn.Linear(H, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h, value, states = x[:, -1], x.mean(1), []
        for _ in range(self.steps):
            h = self.there(value, h)
            value = torch.sin(h) + value
            states.append(value)
        state: tuple[Tensor, Tensor] | None = None
        outputs: list[Tensor] = []
        for value in reversed(states):
            state = self.back(value, state)
            outputs.insert(0, self.out(state[0]))
        return torch.stack(outputs, 1), states[2]


CASES = [
    Case(GreedyTranslator, (ids(V, "batch", "source"),)),
    Case(Forecaster, (X,)),
    Case(CalendarForecaster, (X, floats("batch", 6, 3))),
    Case(ConvLSTMSeq2Seq, (floats("batch", "sequence", 2, 4, 5),)),
    Case(PointerDecoder, (floats("batch", "sequence", F),)),
    Case(MemoryHops, (X,)),
    Case(Tacotron, (ids(V, "batch", "sequence"),)),
    Case(Ponder, (X,)),
    Case(FixedPoint, (X,)),
    Case(OwnStart, (X,)),
    Case(ThereAndBack, (X,)),
]
