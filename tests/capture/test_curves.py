"""Numbers that Python computes from a step's number and a size, put back as formulas.

The oracle is the same Python code at sizes that no formula was found from.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from rnn_edge.capture.rolling.affine import fit
from rnn_edge.capture.rolling.curves import fit_curve

KNOWN = [((size,), step) for size in (8, 9, 11) for step in range(size)]

FORMULAS: dict[str, Callable[[int, int], float]] = {
    "1 / (t + 1)": lambda size, t: 1 / (t + 1),
    "0.1 / (t + 2)": lambda size, t: 0.1 / (t + 2),
    "t / T": lambda size, t: t / size,
    "2 * t / (T + 1) - 1": lambda size, t: 2 * t / (size + 1) - 1,
    "0.9 ** t": lambda size, t: 0.9**t,
    "1 - 0.99 ** (t + 1)": lambda size, t: 1 - 0.99 ** (t + 1),
    "0.99 ** (T - 1 - t)": lambda size, t: 0.99 ** (size - 1 - t),
    "t ** 2": lambda size, t: t**2,
    "t * T + 1": lambda size, t: t * size + 1,
    "sqrt(t + 1)": lambda size, t: math.sqrt(t + 1),
    "log(t + 1)": lambda size, t: math.log(t + 1),
    "sin(t)": lambda size, t: math.sin(t),
    "max(0, t - 2)": lambda size, t: max(0, t - 2),
    "min(t, 3)": lambda size, t: min(t, 3),
    "max(0.1, 1 - 0.2 * t)": lambda size, t: max(0.1, 1 - 0.2 * t),
    "t // 3": lambda size, t: t // 3,
    "t % 4": lambda size, t: t % 4,
    "(T - 1 - t) % 2": lambda size, t: (size - 1 - t) % 2,
}


@pytest.mark.parametrize("formula", FORMULAS.values(), ids=list(FORMULAS))
@pytest.mark.parametrize("size", [1, 2, 5, 40])
def test_a_formula_is_the_same_at_other_sizes(
    formula: Callable[[int, int], float], size: int
) -> None:
    values = [formula(*sizes, step) for sizes, step in KNOWN]
    assert fit(KNOWN, values) is None
    curve = fit_curve(KNOWN, values)
    assert curve is not None
    dtype = torch.int64 if isinstance(values[0], int) else torch.float64
    found = curve.at([torch.scalar_tensor(size, dtype=dtype)], torch.arange(size).to(dtype))
    expected = torch.tensor([formula(size, step) for step in range(size)], dtype=dtype)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    for step in range(size):
        assert curve.at([size], step) == pytest.approx(formula(size, step), abs=1e-12)


def test_values_without_a_formula_have_none() -> None:
    assert fit_curve(KNOWN, [float(step * 7919 % 13) for _, step in KNOWN]) is None
    assert fit_curve(KNOWN, [step * 7919 % 13 for _, step in KNOWN]) is None


def test_few_values_are_not_enough_for_a_formula_with_many_factors() -> None:
    few = [((size,), 0) for size in (8, 9, 11)]
    assert fit_curve(few, [3.1, 2.2, 7.9]) is None
