"""Packed sequences and lengths in the corner forms that people write."""

from __future__ import annotations

from typing import Any

import torch
from collection.case import Case, floats, ids, lengths_of
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import rnn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

F, H = 5, 6
X = floats("batch", "sequence", F)
LENGTHS = lengths_of("sequence", "batch")
FALLING = lengths_of("sequence", "batch", falling=True)
ROWS = (floats("first", F), floats("second", F), floats("third", F))


def pack(x: Tensor, lengths: Any) -> PackedSequence:
    return pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)


def unpack(packed: PackedSequence) -> Tensor:
    return pad_packed_sequence(packed, batch_first=True)[0]


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(F, H, batch_first=True)


class ThreeRows(Encoder):
    """pack_sequence, any of the rows the longest; outputs and final states."""

    def forward(
        self, first: Tensor, second: Tensor, third: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        packed = rnn.pack_sequence([first, second, third], enforce_sorted=False)
        y, h = self.rnn(packed)
        return *pad_packed_sequence(y, batch_first=True), h


class PaddedOnTheLeft(Encoder):
    def forward(self, first: Tensor, second: Tensor, third: Tensor) -> Tensor:
        rows = [first, second, third]
        return rnn.pad_sequence(rows, True, padding_value=-1.5, padding_side="left")


class PaddedTimeMajor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.rnn = nn.Embedding(12, F, padding_idx=3), nn.GRU(F, H)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        padded = rnn.pad_sequence([first, second], padding_value=3)
        return self.rnn(self.embedding(padded))[0]


class PackedPieces(Encoder):
    """pack_sequence over the rows of one batch, all of the same length."""

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(rnn.pack_sequence([x[row] for row in range(x.shape[0])]))[1]


class PackedCutRows(Encoder):
    """pack_sequence over the rows of one batch, each without its padding."""

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        rows = [row[:length] for row, length in zip(x, lengths.tolist(), strict=True)]
        y, h = self.rnn(rnn.pack_sequence(rows, enforce_sorted=False))
        return unpack(y), h[-1]


class PaddedPieces(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(rnn.pad_sequence(list(x.unbind(0)), batch_first=True))[0]


class MaskToTheLongest(Encoder):
    """A mask as long as the longest row, over outputs that pad_packed_sequence trims to it."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y = unpack(self.rnn(pack(x, lengths))[0])
        places = torch.arange(lengths.max())  # type: ignore[call-overload]
        mask = places[None] < lengths[:, None]
        return (y * mask[..., None]).sum(1) / lengths[:, None]


class MaskUpToItem(Encoder):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        longest = lengths.max().item()
        y = self.rnn(x[:, :longest])[0]
        return y.masked_fill((torch.arange(longest) >= lengths[:, None])[..., None], -1e4).amax(1)


class TotalLengthFromItem(Encoder):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y, _ = self.rnn(pack(x, lengths))
        longest: Any = lengths.max().item()
        return pad_packed_sequence(y, True, total_length=longest)[0]


class TotalLengthFromList(Encoder):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        numbers = lengths.cpu().tolist()
        y, _ = self.rnn(pack(x, numbers))
        return pad_packed_sequence(y, True, total_length=max(numbers))[0]


class LengthsAsNumpy(Encoder):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return self.rnn(pack(x, lengths.cpu().numpy()))[1]


class LengthsOneByOne(Encoder):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return self.rnn(pack(x, torch.tensor([length.item() for length in lengths])))[1]


class UnsortedByIndexSelect(nn.Module):
    """Sorts by hand and puts the final states back with index_select."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(F, H, 2, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        ordered, order = lengths.sort(0, descending=True)
        packed = pack_padded_sequence(x.index_select(0, order), ordered.cpu(), batch_first=True)
        y, (h, _) = self.rnn(packed)
        back = order.argsort()
        padded = pad_packed_sequence(y, batch_first=True)[0]
        return h.index_select(1, back), padded.index_select(0, back)


class DropoutBetweenPackedLayers(nn.Module):
    """Packed layers in a row, dropout on .data between them, as in packed stacks of the wild."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.LSTM(F, H), nn.LSTM(H, H), nn.LSTM(H, H, dropout=0.0)])
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack(x, lengths)
        for layer in self.layers:
            y, (h, _) = layer(packed)
            data = self.dropout(functional.gelu(y.data))
            packed = PackedSequence(
                data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices
            )
        return torch.cat([unpack(packed).sum(1), h[0]], 1)


class PackedOptions(nn.Module):
    """One packed LSTM with options and initial states."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.dtype = options.get("dtype", torch.float32)
        self.rnn = nn.LSTM(F, H, batch_first=True, **options)
        self.states = 2 * (1 + self.rnn.bidirectional)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        size = self.rnn.proj_size or H
        h = torch.ones((self.states, x.size(0), size), dtype=self.dtype)
        c = -torch.ones((self.states, x.size(0), H), dtype=self.dtype)
        y, (h, c) = self.rnn(pack(x, lengths), (h, c))
        return unpack(y), h, c


def options_case(name: str, dtype: torch.dtype = torch.float32, **options: Any) -> Case:
    x = floats("batch", "sequence", F, dtype=dtype)
    tolerance = {torch.float64: 1e-9, torch.float16: 1e-2}.get(dtype, 1e-4)

    def make() -> nn.Module:
        return PackedOptions(num_layers=2, dtype=dtype, **options)

    return Case(make, (x, LENGTHS), name=name, tolerance=tolerance)


class TokensCounted(nn.Module):
    """Lengths are the numbers of tokens that are not padding; outputs cover all steps."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, F, padding_idx=0)
        self.rnn = nn.LSTM(F, H, batch_first=True, bidirectional=True)

    def forward(self, tokens: Tensor) -> Tensor:
        lengths = tokens.ne(0).sum(dim=1).clamp_min(1)
        y, _ = self.rnn(pack(self.embedding(tokens), lengths))
        return pad_packed_sequence(y, batch_first=True, total_length=tokens.size(1))[0]


class StridedConvolution(nn.Module):
    """A convolution of stride 2 in front: lengths are halved with the steps."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(F, F, 3, stride=2, padding=1)
        self.rnn = nn.GRU(F, H, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = self.conv(x.transpose(1, 2)).transpose(1, 2)
        y, _ = self.rnn(pack(x, (lengths - 1) // 2 + 1))
        return pad_packed_sequence(y, batch_first=True)


class InputsInDict(Encoder):
    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        y, h = self.rnn(pack(batch["features"], batch["lengths"]))
        return {"encoded": unpack(y), "final": h[-1]}


class MaskedMean(Encoder):
    """Lengths that serve for a mask alone."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        mask = torch.arange(x.size(1))[None] < lengths[:, None]
        return (self.rnn(x)[0] * mask[..., None]).sum(1) / lengths[:, None]


class LastStepByIndex(Encoder):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return self.rnn(x)[0][torch.arange(x.size(0)), lengths - 1]


class LastStepByGather(Encoder):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y, _ = self.rnn(x)
        return y.gather(1, (lengths.long() - 1).view(-1, 1, 1).expand(-1, 1, H)).squeeze(1)


class RelativeLengths(Encoder):
    """Lengths as a share of the steps, and back, as speech recipes do."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y, _ = self.rnn(x)
        share = lengths / x.size(1)
        steps = torch.round(share * y.size(1)).long().clamp(min=1, max=y.size(1))
        mask = torch.arange(y.size(1)) < steps.unsqueeze(1)
        return torch.where(mask.unsqueeze(2), y, 0.0)


class WithoutIndices(Encoder):
    """Sorted rows: a PackedSequence made of data and batch_sizes alone; its methods."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths, batch_first=True).to(x.dtype).cpu()
        packed = PackedSequence(torch.tanh(packed.data), packed.batch_sizes)
        y, h = self.rnn(packed)
        return unpack(y).sum(1) + h[0]


class ReplacedLater(Encoder):
    """_replace on the outputs, ordered by the indices of the inputs."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack(x, lengths)
        y, _ = self.rnn(packed)
        return unpack(packed._replace(data=torch.cat([y.data, packed.data], dim=-1)))


CASES = [
    Case(ThreeRows, ROWS),
    Case(PaddedOnTheLeft, ROWS),
    Case(PaddedTimeMajor, (ids(12, "first"), ids(12, "second"))),
    Case(PackedPieces, (X,)),
    Case(PackedCutRows, (X, LENGTHS)),
    Case(PaddedPieces, (X,)),
    Case(MaskToTheLongest, (X, LENGTHS)),
    Case(MaskUpToItem, (X, LENGTHS)),
    Case(TotalLengthFromItem, (X, LENGTHS)),
    Case(TotalLengthFromList, (X, LENGTHS)),
    Case(LengthsAsNumpy, (X, LENGTHS)),
    Case(LengthsOneByOne, (X, LENGTHS)),
    Case(UnsortedByIndexSelect, (X, LENGTHS)),
    Case(DropoutBetweenPackedLayers, (X, LENGTHS)),
    options_case("PackedProjection", proj_size=3, bidirectional=True),
    options_case("PackedBidirectional", bidirectional=True),
    options_case("PackedFloat64", torch.float64, bidirectional=True),
    options_case("PackedFloat16", torch.float16),
    Case(TokensCounted, (ids(12, "batch", "sequence"),)),
    Case(StridedConvolution, (X, LENGTHS)),
    Case(InputsInDict, ({"features": X, "lengths": LENGTHS},)),
    Case(MaskedMean, (X, LENGTHS)),
    Case(LastStepByIndex, (X, LENGTHS)),
    Case(LastStepByGather, (X, LENGTHS)),
    Case(RelativeLengths, (X, LENGTHS)),
    Case(WithoutIndices, (X, FALLING)),
    Case(ReplacedLater, (X, LENGTHS)),
]
