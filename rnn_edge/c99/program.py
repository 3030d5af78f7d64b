"""A graph whose shapes are all numbers: what the C writer reads."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(eq=False)
class Value:
    """A tensor; ``constant`` is its content where that is known.

    ``root`` is the value whose memory it shares, itself unless it is a reshaped view.
    """

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    constant: np.ndarray | None = None
    view_of: Value | None = None

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def root(self) -> Value:
        return self if self.view_of is None else self.view_of.root


@dataclass(eq=False)
class Operation:
    """One node; an absent optional input or output is None."""

    kind: str
    name: str
    inputs: list[Value | None]
    outputs: list[Value | None]
    attributes: dict[str, Any] = field(default_factory=dict)

    def input(self, place: int) -> Value | None:
        return self.inputs[place] if place < len(self.inputs) else None

    def output(self, place: int) -> Value | None:
        return self.outputs[place] if place < len(self.outputs) else None

    def required(self, place: int) -> Value:
        value = self.input(place)
        assert value is not None
        return value

    @property
    def result(self) -> Value:
        value = self.outputs[0]
        assert value is not None
        return value


@dataclass
class Program:
    """``inputs`` and ``outputs`` in the file's order; ``operations`` in the order they run."""

    inputs: list[Value]
    outputs: list[Value]
    operations: list[Operation]
