"""Packed sequences in the forms that torch.nn.utils.rnn knows."""

from __future__ import annotations

import torch
from collection.case import Case, floats, ids, lengths_of
from torch import Tensor, nn
from torch.nn.utils import rnn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

F, H = 5, 6
X = floats("batch", "sequence", F)
TIME_MAJOR = floats("sequence", "batch", F)
LENGTHS = lengths_of("sequence", "batch")
FALLING = lengths_of("sequence", "batch", falling=True)


class Sorted(nn.Module):
    """Rows come sorted by length."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(F, H, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        packed = pack_padded_sequence(x, lengths, batch_first=True)
        return pad_packed_sequence(self.rnn(packed)[0], batch_first=True)


class Trimmed(nn.Module):
    """Without total_length the output is as long as the longest row."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(F, H, batch_first=True, bidirectional=True), nn.Linear(12, 3)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return self.head(pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0])


class WithTotalLength(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(F, H, 2, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        packed = pack_padded_sequence(x, lengths, True, False)
        y, (h, _) = self.rnn(packed)
        return pad_packed_sequence(y, batch_first=True, total_length=x.size(1))[0], h


class FinalState(nn.Module):
    """A sentence encoder: the final state of the packed run, nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, F, padding_idx=0)
        self.rnn = nn.LSTM(F, H, batch_first=True)

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        x = self.embedding(words)
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.rnn(packed)[1][0][-1]


class PaddedWithMinusOne(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(F, H)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y, _ = self.rnn(pack_padded_sequence(x, lengths, enforce_sorted=False))
        return pad_packed_sequence(y, padding_value=-1.0)[0]


class LinearOnData(nn.Module):
    """Works on .data between two packed layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.GRU(F, H, batch_first=True), nn.LSTM(4, H, batch_first=True)
        self.between = nn.Sequential(nn.Linear(H, 4), nn.ReLU(), nn.LayerNorm(4))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, _ = self.first(packed)
        y = PackedSequence(
            self.between(y.data), y.batch_sizes, y.sorted_indices, y.unsorted_indices
        )
        return pad_packed_sequence(self.second(y)[0], batch_first=True)[0]


class ReplacedData(nn.Module):
    """The same with _replace, as a namedtuple allows."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.norm = nn.GRU(F, H, batch_first=True), nn.LayerNorm(F)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        packed = packed._replace(data=torch.tanh(self.norm(packed.data)))
        return pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0]


class PyramidalStack(nn.Module):
    """Packs, unpacks and packs again for every layer."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [F, 2 * H, 2 * H]
        self.layers = nn.ModuleList(
            nn.LSTM(size, H, batch_first=True, bidirectional=True) for size in sizes
        )
        self.norms = nn.ModuleList(nn.LayerNorm(2 * H) for _ in sizes)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        for layer, norm in zip(self.layers, self.norms, strict=True):
            packed = rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            x, _ = rnn.pad_packed_sequence(layer(packed)[0], batch_first=True)
            x = norm(x)
        return x


class SortedByHand(nn.Module):
    """Sorts rows before packing and puts them back after, as code before torch 1.1 does."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(F, H, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        ordered, order = torch.sort(lengths, descending=True)
        _, back = torch.sort(order)
        packed = pack_padded_sequence(x[order], ordered, batch_first=True)
        y, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        return y[back]


class LengthsFromMask(nn.Module):
    """Lengths are counted from the ids that are not padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.rnn = nn.Embedding(12, F), nn.GRU(F, H, batch_first=True)

    def forward(self, words: Tensor) -> Tensor:
        lengths = (words != 0).sum(1).clamp(min=1)
        packed = pack_padded_sequence(
            self.embedding(words), lengths, batch_first=True, enforce_sorted=False
        )
        return self.rnn(packed)[1].squeeze(0)


class LastValidStep(nn.Module):
    """Gathers the last valid step of every row."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(F, H, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        place = (lengths - 1).view(-1, 1, 1).expand(-1, 1, y.size(2))
        return y.gather(1, place).squeeze(1)


class PackedWithState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(F, H, batch_first=True)

    def forward(
        self, x: Tensor, lengths: Tensor, state: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, state = self.rnn(packed, state)
        return pad_packed_sequence(y, batch_first=True)[0], state


class TwoSequences(nn.Module):
    """A matcher of two texts of different lengths by one encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(F, H, batch_first=True)

    def encode(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.rnn(packed)[1][0][0]

    def forward(self, left: Tensor, left_n: Tensor, right: Tensor, right_n: Tensor) -> Tensor:
        return torch.exp(-(self.encode(left, left_n) - self.encode(right, right_n)).abs().sum(1))


class LengthsAsList(nn.Module):
    """Lengths turned into a list of numbers before packing."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(F, H, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths.tolist(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0]


class PackedRows(nn.Module):
    """pack_sequence over the rows of a full batch."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(F, H)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        packed = rnn.pack_sequence([first, second], enforce_sorted=False)
        return pad_packed_sequence(self.rnn(packed)[0])[0]


class PaddedRows(nn.Module):
    """pad_sequence over two sequences of different lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(F, H, batch_first=True)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.rnn(rnn.pad_sequence([first, second], batch_first=True))[0]


CASES = [
    Case(Sorted, (X, FALLING)),
    Case(Trimmed, (X, LENGTHS)),
    Case(WithTotalLength, (X, LENGTHS)),
    Case(FinalState, (ids(20, "batch", "sequence"), LENGTHS)),
    Case(PaddedWithMinusOne, (TIME_MAJOR, LENGTHS)),
    Case(LinearOnData, (X, LENGTHS)),
    Case(ReplacedData, (X, LENGTHS)),
    Case(PyramidalStack, (X, LENGTHS)),
    Case(SortedByHand, (X, LENGTHS)),
    Case(LengthsFromMask, (ids(12, "batch", "sequence"),)),
    Case(LastValidStep, (X, LENGTHS)),
    Case(PackedWithState, (X, LENGTHS, (floats(1, "batch", H), floats(1, "batch", H)))),
    Case(
        TwoSequences,
        (X, LENGTHS, floats("batch", "other", F), lengths_of("other", "batch")),
    ),
    Case(LengthsAsList, (X, LENGTHS)),
    Case(PackedRows, (floats("first", F), floats("second", F))),
    Case(PaddedRows, (floats("first", F), floats("second", F))),
]
