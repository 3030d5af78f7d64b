"""One call and its right answers; needs numpy alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Answer:
    """One output: ``own`` in the module's dtype, ``truth`` in float64 where that could be had."""

    own: np.ndarray
    truth: np.ndarray
    #: The largest error of the own dtype when inputs and weights are rounded otherwise.
    sensitivity: Callable[[], float] = lambda: 0.0


@dataclass(frozen=True)
class Case:
    """One call: its axis sizes, inputs in order, and the eager module's answers."""

    sizes: Mapping[str, int]
    inputs: dict[str, np.ndarray]
    answers: list[Answer]
