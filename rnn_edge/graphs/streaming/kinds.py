"""What a value of a whole-sequence graph becomes when the sequence arrives in chunks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

# The lengths of whole sequences at which numbers in a graph are worked out. Two numbers that are
# alike at all of them are taken for one; the derived graph is compared with the whole one anyway.
TOTALS = np.arange(1, 8193)

# A number as a function of the length of the whole sequence: its value at each of TOTALS.
Count: TypeAlias = np.ndarray


def constant(number: float) -> Count:
    return np.full(TOTALS.shape, number)


def same(one: Count, other: Count) -> bool:
    return bool(np.array_equal(one, other))


# Why attention over all frames so far has no stream.
EVERY_PAIR = "it pairs every frame with every other, so that all of them would have to be kept"

# Why a last step, or a mean, cannot be among what a frame's answer is made of.
TO_EVERY_STEP = "it brings a result of the whole sequence to every step"

# Lengths grow by as much again after so many steps more, whatever small strides there are.
_PERIOD = 120


def at(count: Count, total: int) -> int:
    """``count`` for a sequence of ``total`` steps, longer ones than TOTALS too."""
    more = max(0, -(-(total - len(TOTALS)) // _PERIOD))
    near = total - _PERIOD * more - 1
    growth = count[near] - count[near - _PERIOD] if more else 0
    return int(count[near] + more * growth)


def difference(one: Count, other: Count) -> int | None:
    """``one - other`` where that is a constant; short sequences, where it is cut at 0, apart."""
    steady = (one - other)[len(TOTALS) // 2 :]
    return int(steady[0]) if np.all(steady == steady[0]) else None


def lags(one: Count, other: Count) -> int | None:
    """The most by which ``one`` is ahead of ``other``, where it is never behind and it is bounded.

    So does ``time`` run ahead of ``time // 3 * 3``.
    """
    ahead = one - other
    most = int(ahead.max())
    bounded = most == int(ahead[: len(TOTALS) // 2].max()) and most < len(TOTALS) // 4
    return most if bounded and ahead.min() >= 0 else None


@dataclass(frozen=True, eq=False)
class Clock:
    """A rate at which frames come: that of the input, or that of a strided convolution after it.

    ``frames`` (int64 [1]) is how many come in a chunk, ``total`` how many of the whole sequence.
    A clock other than the input's may give none in a chunk.
    """

    total: Count
    frames: ir.Value
    parent: Clock | None = None
    # Frames of the parent clock that are dropped at the start, and taken for one frame.
    dropped: int = 0
    stride: int = 1
    # Frames that are made of each frame of the parent clock.
    repeat: int = 1

    @property
    def may_pause(self) -> bool:
        parent = self.parent
        return parent is not None and (self.repeat == 1 or parent.may_pause)


@dataclass(frozen=True)
class Static:
    """Does not change while a stream runs: a parameter, or made of inputs that have no time."""


@dataclass(frozen=True)
class Carried:
    """Made of a state input that the model itself declares."""


@dataclass(frozen=True)
class Final:
    """The answer for all frames so far, one a chunk: a last step, a final state, a mean."""


@dataclass(frozen=True)
class Counted:
    """Whole numbers, or arithmetic of them, that follow sizes: shapes, lengths, indices.

    ``items`` are the elements along the last axis, or the one element that all are: a Count, the
    name of a size that is not time's, or None where it is not known.
    """

    items: tuple[Count | str | None, ...]

    @property
    def single(self) -> Count | None:
        item = self.items[0] if len(self.items) == 1 else None
        return item if isinstance(item, np.ndarray) else None


@dataclass(frozen=True)
class Timed:
    """A tensor with frames along ``axis``; a chunk brings as many as ``clock.frames``.

    Of the whole graph's tensor, which has ``length`` frames, a chunk after n frames brings those
    from ``n + offset`` on. So with an offset below 0 the first frames of a stream are not of the
    tensor; with one above 0, ``lead`` stands before the first of them (a number that fills frames,
    or a value). With ``context``, so many frames before the chunk's own stand in front of them.

    ``first`` is set for indices: element j is ``scale * j + first``; with ``spread`` element [j, i]
    is ``scale * j + first + spread[i]``. ``truth`` is set where all elements are known to be True
    or False. ``outer`` and ``inner`` hold the sizes of axes that are merged with time's: it is
    outer x time x inner.
    """

    axis: int
    clock: Clock
    length: Count
    offset: int = 0
    lead: float | ir.Value | None = None
    context: int = 0
    first: int | None = field(default=None)
    scale: int = 1
    spread: tuple[int, ...] | None = None
    truth: bool | None = None
    outer: tuple[int | str, ...] = ()
    inner: tuple[int | str, ...] = ()

    @property
    def plain(self) -> bool:
        return not self.outer and not self.inner

    @property
    def delay(self) -> int | None:
        """Frames by which a stream of it ends before the whole; below 0, frames too many."""
        ahead = difference(self.length, self.clock.total)
        return None if ahead is None else ahead - self.offset


Kind: TypeAlias = Static | Carried | Final | Counted | Timed
