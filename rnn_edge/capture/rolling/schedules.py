"""Which iterations of a loop are alike: every k-th one, or all behind the first k."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    """Iterations of one phase do the same; phases are numbered from 0 to ``count`` - 1."""

    @property
    def count(self) -> int: ...

    def phase_of(self, iteration: int) -> int: ...

    def phases_before(self, phase: int, back: int) -> frozenset[int]:
        """The phases that the iteration ``back`` before one of ``phase`` may have."""
        ...


@dataclass(frozen=True)
class Cycle:
    """As in ``if t % period == 0``."""

    count: int

    def phase_of(self, iteration: int) -> int:
        return iteration % self.count

    def phases_before(self, phase: int, back: int) -> frozenset[int]:
        return frozenset({(phase - back) % self.count})


@dataclass(frozen=True)
class Opening:
    """As in ``if t < length``: each of the first iterations is a phase, and all others are one."""

    length: int

    @property
    def count(self) -> int:
        return self.length + 1

    def phase_of(self, iteration: int) -> int:
        return min(iteration, self.length)

    def phases_before(self, phase: int, back: int) -> frozenset[int]:
        latest = phase + back if phase == self.length else phase
        iterations = range(phase, latest + 1)
        return frozenset(self.phase_of(i - back) for i in iterations if i >= back)


def find_stretch(phases: Sequence[int], count: int) -> tuple[int, int] | None:
    """(first, end) where ``phases``, in order, begin or end with those of all ``count``."""
    first, end = phases[0], phases[-1] + 1
    whole = list(phases) == list(range(first, end))
    return (first, end) if whole and (first == 0 or end == count) else None
