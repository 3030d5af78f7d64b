"""Loops inside of loops: characters in words, columns in rows, steps in steps, passes of a loop."""

from __future__ import annotations

import torch
from collection.case import Case, floats
from torch import Tensor, nn

F, H = 4, 5


class WordsAndCharacters(nn.Module):
    """A state over the characters of each word, another one over the words."""

    def __init__(self) -> None:
        super().__init__()
        self.characters, self.words = nn.GRUCell(F, H), nn.LSTMCell(H, H)

    def forward(self, x: Tensor) -> Tensor:
        batch, words, characters, _ = x.shape
        h = c = x.new_zeros(batch, H)
        outputs = []
        for word in range(words):
            state = x.new_zeros(batch, H)
            for place in range(characters):
                state = self.characters(x[:, word, place], state)
            h, c = self.words(state, (h, c))
            outputs.append(h)
        return torch.stack(outputs, 1)


class Grid(nn.Module):
    """A recurrence in two dimensions: from the left, and from the row above."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.left, self.above = nn.Linear(F, H), nn.Linear(H, H), nn.Linear(H, H)

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, _ = x.shape
        above = [x.new_zeros(batch, H) for _ in range(width)]
        rows = []
        for i in range(height):
            left, row = x.new_zeros(batch, H), []
            for j in range(width):
                left = torch.tanh(self.inside(x[:, i, j]) + self.left(left) + self.above(above[j]))
                row.append(left)
            above = row
            rows.append(torch.stack(row, 1))
        return torch.stack(rows, 1)


class ThinkingSteps(nn.Module):
    """In each time step, a state is refined six times."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.gate, self.change = nn.GRUCell(F, H), nn.Linear(H, H), nn.Linear(H, H)

    def forward(self, x: Tensor) -> Tensor:
        h, outputs = x.new_zeros(x.shape[0], H), []
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
            for _ in range(6):
                gate = torch.sigmoid(self.gate(h))
                h = gate * torch.tanh(self.change(h)) + (1 - gate) * h
            outputs.append(h)
        return torch.stack(outputs, 1)


class Passes(nn.Module):
    """The same loop over time five times, each over what the one before gave."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.norm, self.mix = nn.GRUCell(F, F), nn.LayerNorm(F), nn.Linear(F, F)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(5):
            h, outputs = torch.zeros(x.shape[0], F), []
            for t in range(x.shape[1]):
                h = self.cell(x[:, t], self.norm(h))
                outputs.append(h)
            x = torch.tanh(self.mix(torch.stack(outputs, 1))) + x
        return x


class Multidimensional(nn.Module):
    """An MDLSTM: states written at both places, read from the left and from above."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.Linear(F + 2 * H, 5 * H)

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, _ = x.shape
        zero = x.new_zeros(batch, H)
        out, cells = torch.zeros(batch, height, width, H), torch.zeros(batch, height, width, H)
        for i in range(height):
            for j in range(width):
                up, up_cell = (out[:, i - 1, j], cells[:, i - 1, j]) if i > 0 else (zero, zero)
                left, left_cell = (out[:, i, j - 1], cells[:, i, j - 1]) if j else (zero, zero)
                gates = self.gates(torch.cat([x[:, i, j], up, left], 1))
                enter, first, second, leave, new = gates.chunk(5, 1)
                cell = torch.sigmoid(first) * up_cell + torch.sigmoid(second) * left_cell
                cells[:, i, j] = cell + torch.sigmoid(enter) * torch.tanh(new)
                out[:, i, j] = torch.sigmoid(leave) * torch.tanh(cells[:, i, j])
        return out


class Bordered(nn.Module):
    """A recurrence in two dimensions, backwards, in a table with a border of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.states = nn.Linear(F, H), nn.Linear(2 * H, H)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        out = x.new_zeros(batch, H, height + 1, width + 1)
        for i in reversed(range(height)):
            for j in range(width - 1, -1, -1):
                around = torch.cat([out[:, :, i + 1, j], out[:, :, i, j + 1]], 1)
                out[:, :, i, j] = torch.tanh(self.inside(x[:, :, i, j]) + self.states(around))
        return out[:, :, :-1, :-1]


class RowByRow(nn.Module):
    """Nothing between the rows: one list for all, each row begins where the one above ended."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(F + H, H)

    def forward(self, x: Tensor) -> Tensor:
        above, outputs = torch.zeros(x.shape[0], H), []
        for i in range(x.shape[1]):
            h = torch.zeros(x.shape[0], H)
            for j in range(x.shape[2]):
                h = self.cell(torch.cat([x[:, i, j], above], 1), h)
                outputs.append(h)
            above = h
        return torch.stack(outputs, 1)


X = floats("batch", "sequence", F)
IMAGE = floats("batch", "height", "width", F)
CASES = [
    Case(WordsAndCharacters, (floats("batch", "words", "characters", F),)),
    Case(Grid, (IMAGE,)),
    Case(Multidimensional, (IMAGE,)),
    Case(Bordered, (floats("batch", F, "height", "width"),)),
    Case(RowByRow, (IMAGE,)),
    Case(ThinkingSteps, (X,)),
    Case(Passes, (X,)),
]
