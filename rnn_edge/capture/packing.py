"""A packed sequence during capture: padded data, time-major, with the lengths beside it.

torch packs by concatenating the valid steps, sorted by length, and describes them by
``batch_sizes``. ONNX's recurrent nodes take padded data and ``sequence_lens`` in any order. So
``pack_padded_sequence`` keeps the padding here: ``data`` is [sequence * batch, ...], with as many
axes as torch's, so that what works on single steps works on it. The place of ``batch_sizes`` is
taken by a PaddedLengths, and that of the sorting, which ONNX does not need, by an OriginalOrder.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.nn.utils.rnn import pack_padded_sequence

from rnn_edge.errors import ExportError

Size: TypeAlias = int | torch.SymInt

# The total length that means: as long as the longest row, which only the graph can know.
LONGEST = -1


class PaddedLengths:
    """Stands where torch keeps ``batch_sizes``: the valid length of every row, int64 ``[batch]``.

    It remembers the data tensor that it made last, so that data which nobody touched needs no
    reshaping back, nor masking where a recurrent layer has written zeros after the end of a row.
    """

    device = torch.device("cpu")

    def __init__(self, lengths: Tensor, sequence: Size, batch: Size) -> None:
        self.lengths = lengths
        self.sequence = sequence
        self.batch = batch
        self._data: Tensor | None = None
        self._steps: Tensor | None = None
        self._is_masked = False

    def flatten(self, steps: Tensor, *, is_masked: bool) -> Tensor:
        """``steps`` [sequence, batch, ...] as the data of a packed sequence."""
        self._data, self._steps, self._is_masked = steps.flatten(0, 1), steps, is_masked
        return self._data

    def unflatten(self, data: Tensor) -> Tensor:
        """The data of a packed sequence as [sequence, batch, ...]."""
        if data is self._data and self._steps is not None:
            return self._steps
        return data.reshape(self.sequence, self.batch, *data.shape[1:])

    def is_masked(self, data: Tensor) -> bool:
        return data is self._data and self._is_masked

    def __getitem__(self, index: int) -> Size:
        # nn.LSTM and its kin read batch_sizes[0], the number of rows, to shape their zero state.
        if index != 0:
            raise ExportError(
                "batch_sizes of a packed sequence must be left alone to be exported, "
                f"got batch_sizes[{index}]. Use the lengths, an input of forward()."
            )
        return self.batch

    def size(self, dim: int) -> int:
        # pad_packed_sequence reads the number of steps here, to use it as the total length, and
        # compares it with the one that it was given, of which tracing must know the sign.
        total_length = sys._getframe(1).f_locals.get("total_length")
        if isinstance(total_length, torch.SymInt):
            torch._check(total_length >= 0)
        return LONGEST

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        raise ExportError(
            "batch_sizes of a packed sequence must be left alone to be exported, "
            f"got {getattr(func, '__name__', func)}(). Unpack it with pad_packed_sequence first."
        )


class OriginalOrder:
    """Stands where torch keeps the permutation that sorts rows by length: it changes nothing."""

    device = torch.device("cpu")

    def to(self, *_: Any, **__: Any) -> OriginalOrder:
        return self

    def cpu(self) -> OriginalOrder:
        return self

    def numel(self) -> int:
        return 0

    def scatter_(self, *_: Any) -> OriginalOrder:
        """The last step of torch.nn.utils.rnn.invert_permutation."""
        return self

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in (Tensor.index_select, torch.index_select, Tensor.__getitem__):
            return args[0]
        if func is torch.empty_like:
            return args[0]
        raise ExportError(
            "sorted_indices of a packed sequence must only select rows to be exported, "
            f"got {getattr(func, '__name__', func)}(). Leave the sorting to "
            "pack_padded_sequence(enforce_sorted=False)."
        )


def sorts_for_packing(caller_code: object) -> bool:
    """Whether a call to torch.sort comes from pack_padded_sequence itself."""
    return caller_code is pack_padded_sequence.__code__


def pack(x: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, PaddedLengths]:
    """The stand-in for torch._VF._pack_padded_sequence: only axes are moved."""
    steps = x.transpose(0, 1) if batch_first else x
    packed = PaddedLengths(lengths, steps.shape[0], steps.shape[1])
    return packed.flatten(steps, is_masked=False), packed


def pad(
    data: Tensor,
    packed: PaddedLengths,
    batch_first: bool,
    padding_value: float,
    total_length: Size,
) -> tuple[Tensor, Tensor]:
    """The stand-in for torch._VF._pad_packed_sequence.

    When no total length was given, it is LONGEST: torch then trims to the longest row.
    """
    lengths, is_masked = packed.lengths, packed.is_masked(data)
    steps = packed.unflatten(data)
    if not is_masked or padding_value != 0.0:
        place = torch.arange(steps.shape[0], device=steps.device)
        valid = place.unsqueeze(1) < lengths.to(steps.device).unsqueeze(0)
        valid = valid.reshape(*valid.shape, *(1,) * (steps.dim() - 2))
        steps = torch.where(valid, steps, padding_value)
    steps = _fit(steps, lengths, total_length, padding_value)
    return (steps.transpose(0, 1) if batch_first else steps), lengths


def _fit(steps: Tensor, lengths: Tensor, total_length: Size, padding_value: float) -> Tensor:
    sequence = steps.shape[0]
    if isinstance(total_length, int) and total_length == LONGEST:
        longest: Any = lengths.max().item()
        torch._check(longest >= 1)
        torch._check(longest <= sequence)
        return steps.narrow(0, 0, longest)
    if statically_known_true(total_length == sequence):
        return steps
    missing = torch.sym_max(total_length - sequence, 0)
    filling = steps.new_full((missing, *steps.shape[1:]), padding_value)
    return torch.cat([steps, filling]).narrow(0, 0, total_length)
