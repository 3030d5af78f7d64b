"""Numbers that depend on sizes, and on the iteration, in a straight line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Affine:
    """constant + sum(by_size * sizes) + by_iteration * j."""

    constant: float
    by_size: tuple[float, ...]
    by_iteration: float = 0

    @property
    def is_constant(self) -> bool:
        return not any(self.by_size) and not self.by_iteration

    def at(self, sizes: Sequence[Any], iteration: Any = 0) -> Any:
        """The value, for numbers, symbolic sizes or a tensor as the iteration."""
        value: Any = self.constant
        for factor, size in zip(self.by_size, sizes, strict=True):
            if factor:
                value = value + factor * size
        if self.by_iteration:
            value = value + self.by_iteration * iteration
        return value

    def substitute(self, iteration: Affine) -> Affine:
        """With ``iteration`` in the place of j."""
        k = self.by_iteration
        return Affine(
            self.constant + k * iteration.constant,
            tuple(a + k * b for a, b in zip(self.by_size, iteration.by_size, strict=True)),
            k * iteration.by_iteration,
        )

    def minus(self, other: Affine) -> Affine:
        return self.plus(Affine(-other.constant, tuple(-b for b in other.by_size),
                                -other.by_iteration))  # fmt: skip

    def plus(self, other: Affine) -> Affine:
        return Affine(
            self.constant + other.constant,
            tuple(a + b for a, b in zip(self.by_size, other.by_size, strict=True)),
            self.by_iteration + other.by_iteration,
        )


def fit(points: Sequence[tuple[Sequence[int], int]], values: Sequence[float]) -> Affine | None:
    """The straight line through ``values`` at (sizes, iteration); None when there is none.

    Integers must be met by integer factors.
    """
    if all(value == values[0] for value in values):
        return Affine(values[0], (0,) * len(points[0][0]))
    rows = np.array([[1, *sizes, iteration] for sizes, iteration in points], dtype=np.float64)
    targets = np.array(values, dtype=np.float64)
    factors, *_ = np.linalg.lstsq(rows, targets, rcond=None)
    found: list[float] = [float(factor) for factor in factors]
    if all(isinstance(value, int) for value in values):
        found = [round(factor) for factor in found]
    else:
        found = [0.0 if abs(factor) < 1e-12 else factor for factor in found]
    scale = max(1.0, float(np.abs(targets).max()))
    if np.abs(rows @ np.array(found) - targets).max() > 1e-9 * scale:
        return None
    constant, *by_size, by_iteration = found
    return Affine(constant, tuple(by_size), by_iteration)
