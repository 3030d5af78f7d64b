"""How many frames a model gives for how many steps, found by asking it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# Steps that are tried until a model takes so many, and to see whether the rule holds.
_MOST = 1 << 16
_ALSO = (1, 2, 7, 30)
Count = Callable[[int], int | None]


@dataclass(frozen=True)
class FrameCounts:
    """``steps`` give (steps - first) // stride + frames, as layers with strides do."""

    first: int = 0
    stride: int = 1
    frames: int = 0

    def of(self, steps: Any) -> Any:
        """Frames of integers ``steps``, of ``first`` at least."""
        return (steps - self.first) // self.stride + self.frames


def find_frame_counts(count: Count) -> FrameCounts | None:
    """The rule that ``count`` follows, which is None for steps that a model does not take.

    None where there is no such rule.
    """
    least = 1
    while least <= _MOST and not count(least):
        least *= 2
    start = count(least)
    if least > _MOST or not start:
        return None
    ends = [_first_with(count, start + more, least) for more in (1, 2)]
    if ends[0] is None or ends[1] is None or ends[0] == ends[1]:
        return None
    found = FrameCounts(ends[0], ends[1] - ends[0], start + 1)
    tried = [least, *(ends[0] + more * found.stride + more // 2 for more in _ALSO)]
    return found if all(count(steps) == found.of(steps) for steps in tried) else None


def _first_with(count: Count, frames: int, low: int) -> int | None:
    """The fewest steps that give so many frames; ``low`` give fewer."""
    high = 2 * low
    while (count(high) or 0) < frames:
        low, high = high, 2 * high
        if high > _MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        if (count(middle) or 0) < frames:
            low = middle
        else:
            high = middle
    return high
