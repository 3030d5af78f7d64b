"""Batches for training: tensors ready for forward(), sequences of similar length together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

# A pool of this many batches is sorted by length at a time: enough to make lengths alike,
# small enough to leave the order of the data random.
POOL_BATCHES = 50


@dataclass(frozen=True)
class Batch:
    """``inputs`` are forward()'s first arguments in order; ``count`` is the number of predictions
    that the loss averages over (rows, or valid steps where every step predicts)."""

    inputs: tuple[Tensor, ...]
    targets: Tensor
    count: int


class Split(ABC):
    """One part of the data: an iterable of batches, made anew for every pass."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of examples."""

    @abstractmethod
    def batches(self, batch_size: int, generator: torch.Generator | None = None) -> Iterator[Batch]:
        """One pass. With ``generator``, a training pass: it alone decides order and augmentation.

        Without it, an evaluation pass: every example once, always the same, order kept where
        ``report`` needs it.
        """

    @abstractmethod
    def batch_count(self, batch_size: int) -> int:
        """How many batches a pass has, in training and in evaluation alike."""


class ArraySplit(Split):
    """Examples of one shape: each of ``inputs`` is [count, ...], and so is ``targets``.

    ``augment(values, generator)`` changes the first input of a training batch.
    """

    def __init__(
        self,
        inputs: Sequence[Tensor],
        targets: Tensor,
        augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    ) -> None:
        self.inputs = tuple(inputs)
        self.targets = targets
        self.augment = augment

    def __len__(self) -> int:
        return len(self.targets)

    def batch_count(self, batch_size: int) -> int:
        return -(-len(self) // batch_size)

    def batches(self, batch_size: int, generator: torch.Generator | None = None) -> Iterator[Batch]:
        order = torch.arange(len(self))
        if generator is not None:
            order = torch.randperm(len(self), generator=generator)
        for chosen in order.split(batch_size):
            first, *others = (values[chosen] for values in self.inputs)
            if generator is not None and self.augment is not None:
                first = self.augment(first, generator)
            yield Batch((first, *others), self.targets[chosen], len(chosen))


class SequenceSplit(Split):
    """Sequences of different lengths, each [length] or [length, features], with one target a row.

    A batch's inputs are (padded[batch, sequence, ...], lengths int64[batch]); the module packs.
    A training batch holds sequences of similar length; an evaluation pass keeps the order.
    """

    def __init__(self, sequences: Sequence[Tensor], targets: Tensor, padding: float = 0) -> None:
        self.sequences = list(sequences)
        self.targets = targets
        self.padding = padding
        self.lengths = torch.tensor([len(row) for row in self.sequences], dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.sequences)

    def batch_count(self, batch_size: int) -> int:
        return -(-len(self) // batch_size)

    def batches(self, batch_size: int, generator: torch.Generator | None = None) -> Iterator[Batch]:
        if generator is None:
            order = list(torch.arange(len(self)).split(batch_size))
        else:
            order = bucketed_order(self.lengths, batch_size, generator)
        for chosen in order:
            rows = [self.sequences[index] for index in chosen.tolist()]
            padded = pad_sequence(rows, batch_first=True, padding_value=self.padding)
            yield Batch((padded, self.lengths[chosen]), self.targets[chosen], len(chosen))


class SequencePairSplit(SequenceSplit):
    """Sequences whose targets are sequences too, int64[length] each, in a batch filled up with 0.

    A batch's ``count`` is its number of target steps, the filling left out. ``augment(sequence,
    generator)`` changes a sequence of a training batch, its length maybe too.
    """

    def __init__(
        self,
        sequences: Sequence[Tensor],
        targets: Sequence[Tensor],
        padding: float = 0,
        augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    ) -> None:
        super().__init__(sequences, torch.arange(len(sequences)), padding)
        self.target_sequences = list(targets)
        self.augment = augment

    def batches(self, batch_size: int, generator: torch.Generator | None = None) -> Iterator[Batch]:
        for batch in super().batches(batch_size, generator):
            places = batch.targets.tolist()
            rows = [self.target_sequences[place] for place in places]
            inputs = batch.inputs
            if generator is not None and self.augment is not None:
                changed = [self.augment(self.sequences[place], generator) for place in places]
                padded = pad_sequence(changed, batch_first=True, padding_value=self.padding)
                inputs = (padded, torch.tensor([len(row) for row in changed]))
            yield Batch(inputs, pad_sequence(rows, batch_first=True), sum(map(len, rows)))


def bucketed_order(lengths: Tensor, batch_size: int, generator: torch.Generator) -> list[Tensor]:
    """Index tensors of one pass: similar lengths in a batch, batches in random order.

    The examples are shuffled, sorted by length within pools of POOL_BATCHES batches, cut into
    batches, and the batches shuffled. Only one batch may be smaller than ``batch_size``.
    """
    shuffled = torch.randperm(len(lengths), generator=generator)
    batches: list[Tensor] = []
    for pool in shuffled.split(batch_size * POOL_BATCHES):
        by_length = pool[torch.argsort(lengths[pool], stable=True)]
        batches.extend(by_length.split(batch_size))
    order = torch.randperm(len(batches), generator=generator)
    return [batches[index] for index in order.tolist()]
