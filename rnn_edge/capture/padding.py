"""Sequences of different lengths as one padded tensor, whichever of them is the longest."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import statically_known_true


def pad_sequence(
    sequences: Sequence[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """The stand-in for torch's: its kernel compares lengths, which would fix the longest one."""
    longest = reduce(torch.sym_max, (sequence.shape[0] for sequence in sequences))
    padded = [_pad(sequence, longest, padding_value, padding_side) for sequence in sequences]
    return torch.stack(padded, 0 if batch_first else 1)


def _pad(x: Tensor, length: int | torch.SymInt, value: float, side: str) -> Tensor:
    if statically_known_true(x.shape[0] == length):
        return x
    # More filling than needed, so that no size is a difference, of which tracing knows no sign.
    filling = x.new_full((length, *x.shape[1:]), value)
    if side == "left":
        return torch.cat([filling, x]).narrow(0, x.shape[0], length)
    return torch.cat([x, filling]).narrow(0, 0, length)
