"""Sequences of different lengths as one padded tensor, whichever of them is the longest."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import statically_known_true

from rnn_edge.capture.values import find_whole_row, take_first


def pad_sequence(
    sequences: Sequence[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """The stand-in for torch's: its kernel compares lengths, which would fix the longest one."""
    rows = [find_whole_row(sequence) for sequence in sequences]
    if padding_side == "right" and all(row is not None for row in rows):
        padded_rows = _pad_rows([row for row in rows if row is not None], sequences, padding_value)
        return padded_rows if batch_first else padded_rows.transpose(0, 1)
    longest = reduce(torch.sym_max, (sequence.shape[0] for sequence in sequences))
    padded = [_pad(sequence, longest, padding_value, padding_side) for sequence in sequences]
    return torch.stack(padded, 0 if batch_first else 1)


def _pad_rows(rows: Sequence[Tensor], cut: Sequence[Tensor], value: float) -> Tensor:
    """Rows of one size, of each of which ``cut`` is the beginning, up to the longest of those."""
    lengths = torch.stack([torch.scalar_tensor(row.shape[0], dtype=torch.int64) for row in cut])
    padded = torch.stack(list(rows))
    valid = torch.arange(padded.shape[1]) < lengths.unsqueeze(1)
    padded = torch.where(valid.reshape(*valid.shape, *(1,) * (padded.dim() - 2)), padded, value)
    longest: Any = lengths.max().item()
    return take_first(padded, 1, longest)


def _pad(x: Tensor, length: int | torch.SymInt, value: float, side: str) -> Tensor:
    if statically_known_true(x.shape[0] == length):
        return x
    # More filling than needed, so that no size is a difference, of which tracing knows no sign.
    filling = x.new_full((length, *x.shape[1:]), value)
    if side == "left":
        return torch.cat([filling, x]).narrow(0, x.shape[0], length)
    return torch.cat([x, filling]).narrow(0, 0, length)
