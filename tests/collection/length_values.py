"""Lengths as Python code uses them one by one: in loops over rows, in arithmetic, in branches."""

from __future__ import annotations

from typing import Any

import torch
from collection.case import Case, floats, lengths_of
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

F, H = 5, 6
X = floats("batch", "sequence", F)
LENGTHS = lengths_of("sequence", "batch")
FALLING = lengths_of("sequence", "batch", falling=True)


def pack(x: Tensor, lengths: Any) -> Any:
    return pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)


def unpack(packed: Any) -> Tensor:
    return pad_packed_sequence(packed, batch_first=True)[0]


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(F, H, batch_first=True)


class LastByRow(Encoder):
    """The last valid step of each row by enumerate()."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y = self.rnn(x)[0]
        return torch.stack([y[i, length - 1] for i, length in enumerate(lengths)])


class LastByRange(Encoder):
    """range(batch) and lengths[i]."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y = self.rnn(x)[0]
        last = []
        for i in range(y.size(0)):
            last.append(y[i, lengths[i] - 1])
        return torch.stack(last, dim=0)


class LastByZip(Encoder):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y = self.rnn(x)[0]
        return torch.cat([row[int(n) - 1].unsqueeze(0) for row, n in zip(y, lengths, strict=True)])


class MeanByRow(Encoder):
    """The mean of the valid steps of each row."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y = self.rnn(x)[0]
        return torch.stack([y[i, :length].mean(0) for i, length in enumerate(lengths)])


class MaskByNarrow(nn.Module):
    """What is behind each length is filled, where there is any, as DeepSpeech 2 does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(F, 4, 3, padding=1)
        self.rnn = nn.GRU(4, H, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y = self.conv(x.transpose(1, 2))
        mask = torch.BoolTensor(y.size()).fill_(0)
        for i, length in enumerate(lengths):
            length = length.item()
            if (mask[i].size(1) - length) > 0:
                mask[i].narrow(1, length, mask[i].size(1) - length).fill_(1)
        y = y.masked_fill(mask, 0)
        return self.rnn(y.transpose(1, 2))[0]


class MaskUnlessFull(Encoder):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y = self.rnn(x)[0]
        mask = y.new_ones(y.shape[:2])
        longest = max(lengths.tolist())
        for i, n in enumerate(lengths.tolist()):
            if n < longest:
                mask[i, n:] = 0
        return (y * mask[..., None]).sum(1)


class EvenSteps(nn.Module):
    """Drops the last step where the trimmed length is odd, then joins pairs: pyramidal encoders."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.GRU(F, H, batch_first=True)
        self.second = nn.GRU(2 * H, H, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y = unpack(self.first(pack(x, lengths))[0])
        if y.size(1) % 2 == 1:
            y = torch.cat([y, y.new_zeros(y.size(0), 1, y.size(2))], dim=1)
        y = y.contiguous().view(y.size(0), y.size(1) // 2, 2 * y.size(2))
        lengths = torch.div(lengths + 1, 2, rounding_mode="floor")
        return unpack(self.second(pack(y, lengths))[0])


class DroppedOddStep(EvenSteps):
    """The longest length decides."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        lengths = lengths + 1
        y = unpack(self.first(pack(functional.pad(x, (0, 0, 0, 2)), lengths))[0])
        longest = int(lengths.max())
        if longest % 2 == 1:
            y = y[:, :-1]
        y = y.reshape(y.size(0), y.size(1) // 2, 2 * y.size(2))
        return unpack(self.second(pack(y, lengths // 2))[0])


class Subsampled(nn.Module):
    """ESPnet's pyramid: every second step, lengths as a list of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.GRU(F, H, batch_first=True)
        self.second = nn.GRU(H, H, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        y = unpack(self.first(pack(x, lengths.tolist()))[0])
        y = y[:, ::2]
        ilens = [int(i + 1) // 2 for i in lengths]
        y = unpack(self.second(pack(y, ilens))[0])
        return y, torch.tensor(ilens)


class PaddedRowByRow(Encoder):
    """Rows cut to their lengths and padded again."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y = self.rnn(x)[0]
        return pad_sequence([y[i, :n] for i, n in enumerate(lengths)], batch_first=True)


class SortedLengths(Encoder):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        order = sorted(range(len(lengths)), key=lambda i: lengths[i], reverse=True)
        y = self.rnn(pack_padded_sequence(x[order], lengths[order], batch_first=True))[1][0]
        back = [order.index(i) for i in range(len(order))]
        return y[back]


class SumOfLengths(Encoder):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y = unpack(self.rnn(pack(x, lengths))[0])
        return y.sum((0, 1)) / sum(lengths.tolist())


class LongestOfList(Encoder):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        longest = max(int(n) for n in lengths)
        return self.rnn(x[:, :longest])[0]


class SortedLikeRows(Encoder):
    """sorted(lengths) for rows that come sorted."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        lens = sorted(lengths.tolist(), reverse=True)
        return self.rnn(pack_padded_sequence(x, lens, batch_first=True))[1]


class RowsOneByOne(Encoder):
    """Each row without its padding through the layer."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        finals = []
        for row, n in zip(x, lengths, strict=True):
            _, h = self.rnn(row[:n].unsqueeze(0))
            finals.append(h[-1, 0])
        return torch.stack(finals)


class ReversedRows(Encoder):
    """Each row turned round within its length."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        turned = x.clone()
        for i, n in enumerate(lengths.tolist()):
            turned[i, :n] = x[i, :n].flip(0)
        return self.rnn(turned)[0]


class FullOrNot(Encoder):
    """A branch on the longest length."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y = unpack(self.rnn(pack(x, lengths))[0])
        missing = x.size(1) - y.size(1)
        if missing > 0:
            y = functional.pad(y, (0, 0, 0, missing))
        return y


class PaddedToTotal(Encoder):
    """The same by the longest length, zeros of a size."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y = unpack(self.rnn(pack(x, lengths))[0])
        longest: Any = lengths.max().item()
        if longest < x.size(1):
            y = torch.cat([y, torch.zeros(y.size(0), x.size(1) - longest, H)], 1)
        return y


BOTH = (X, LENGTHS)
CASES = [
    Case(LastByRow, BOTH),
    Case(LastByRange, BOTH),
    Case(LastByZip, BOTH),
    Case(MeanByRow, BOTH),
    Case(MaskByNarrow, BOTH),
    Case(MaskUnlessFull, BOTH),
    Case(EvenSteps, BOTH),
    Case(DroppedOddStep, BOTH),
    Case(Subsampled, BOTH),
    Case(PaddedRowByRow, BOTH),
    Case(SortedLengths, BOTH),
    Case(SumOfLengths, BOTH),
    Case(LongestOfList, BOTH),
    Case(SortedLikeRows, (X, FALLING)),
    Case(RowsOneByOne, BOTH),
    Case(ReversedRows, BOTH),
    Case(FullOrNot, BOTH),
    Case(PaddedToTotal, BOTH),
]
