"""What a file from elsewhere answers itself: the truth for what is made of it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from rnn_edge.contract import AxisLimits, GraphContract
from rnn_edge.errors import InputError
from rnn_edge.profiling.inputs import random_inputs
from rnn_edge.runtime import Session
from rnn_edge.verification.cases import Answer, Case
from rnn_edge.verification.golden import run_at

_SEED = 23
# Rows and steps of the sequences that are compared.
_SIZES = ((2, 11), (1, 1), (5, 2), (2, 70), (1, 7))
# The graph's own rounding, asked with inputs moved by a unit in the last place.
_ROUNDINGS = range(4)
Arrays = dict[str, np.ndarray]


def file_cases(
    whole: Session, contract: GraphContract, time: tuple[str, int | None], batch: str | None
) -> Iterator[Case]:
    """Random inputs with the answers of the whole-sequence graph, at sizes that it takes.

    ``time`` is the axis' name, and its length where the file takes no other.
    """
    axis, length = time
    least = max(1, contract.axes.get(axis, AxisLimits()).minimum)
    for number, (rows, more) in enumerate(_SIZES):
        # Where many steps make a frame, several frames.
        steps = least + (more - 1) * max(1, least // 2)
        sizes = sizes_at(contract, axis, batch, rows, steps)
        if length is not None:
            sizes[axis] = length
        inputs = random_inputs(contract, sizes, np.random.default_rng([_SEED, number]))
        for spec in contract.inputs:
            if spec.lengths_of is not None:
                inputs[spec.name] = np.full_like(inputs[spec.name], sizes[spec.lengths_of])
        try:
            answers = run_at(whole, inputs)
        except InputError:
            continue
        yield Case(sizes, inputs, _known(whole, inputs, answers))


class FileOracle:
    """The answers of a file itself, where others have those of an eager module."""

    def __init__(self, whole: Session) -> None:
        self._whole = whole

    def answer(self, inputs: Arrays, exact: Arrays | None = None) -> list[Answer]:
        """The outputs for ``inputs``, which are in the order of the contract; these are the truth,
        so that ``exact`` holds the same."""
        return _known(self._whole, inputs, run_at(self._whole, inputs))


def _known(whole: Session, inputs: Arrays, answers: list[np.ndarray]) -> list[Answer]:
    spread = _Spread(whole, inputs, answers)
    return [Answer(array, array, partial(spread.of, place)) for place, array in enumerate(answers)]


class _Spread:
    """How far the graph's own answers move when its inputs do by a unit in the last place."""

    def __init__(self, whole: Session, inputs: Arrays, answers: list[np.ndarray]) -> None:
        self._whole, self._inputs, self._answers = whole, inputs, answers

    def of(self, place: int) -> float:
        worst = 0.0
        for seed in _ROUNDINGS:
            random = np.random.default_rng(seed)
            moved = {
                name: np.nextafter(array, random.choice((-np.inf, np.inf), array.shape)).astype(
                    array.dtype
                )
                if array.dtype.kind == "f"
                else array
                for name, array in self._inputs.items()
            }
            found = run_at(self._whole, moved)[place].astype(np.float64)
            error = np.abs(found - self._answers[place])
            worst = max(worst, float(np.max(error[np.isfinite(error)], initial=0.0)))
        return worst


def sizes_at(
    contract: GraphContract, axis: str, batch: str | None, rows: int, steps: int
) -> dict[str, int]:
    """Every dynamic axis of the inputs; other ones have 3 elements."""
    names = [d for spec in contract.inputs for d in spec.dims if isinstance(d, str)]
    return {name: steps if name == axis else rows if name == batch else 3 for name in names}
