"""Numbers that follow the sizes and the iteration, but not in a straight line.

1 / (t + 1), 0.9 ** t, t % 4, max(0, t - 2): what Python computed is known at every size that was
traced. A form from this list that has far fewer factors than there are values, and gives them all,
is what it is taken for; the verification tries it at other sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from rnn_edge.capture.rolling.affine import Affine, fit

Points: TypeAlias = Sequence[tuple[Sequence[int], int]]

# How many values more than factors there must be.
_SPARE = 2
_PERIODS = range(2, 9)


@dataclass(frozen=True)
class Curve:
    """What ``form`` makes of ``parts``, straight lines, and of ``factors``."""

    form: str
    parts: tuple[Affine, ...]
    factors: tuple[float, ...] = ()

    @property
    def is_constant(self) -> bool:
        return all(part.is_constant for part in self.parts)

    @property
    def by_iteration(self) -> float:
        """Not a number, but for 0 where the iteration is of no account: there is no one slope."""
        return math.nan if any(part.by_iteration for part in self.parts) else 0

    @property
    def constant(self) -> float:
        return math.nan

    @property
    def by_size(self) -> tuple[float, ...]:
        return (math.nan,) * len(self.parts[0].by_size)

    def at(self, sizes: Sequence[Any], iteration: Any = 0) -> Any:
        """The value, for numbers, symbolic sizes or tensors."""
        return _FORMS[self.form](*(part.at(sizes, iteration) for part in self.parts), *self.factors)

    def substitute(self, iteration: Affine) -> Curve:
        """With ``iteration`` in the place of j."""
        return replace(self, parts=tuple(part.substitute(iteration) for part in self.parts))


def _root(x: Any, scale: float, exponent: float) -> Any:
    return scale * x**exponent


def _logarithm(x: Any, scale: float, _: float = 0) -> Any:
    return scale * (x.log() if isinstance(x, Tensor) else math.log(x))


def _exponential(x: Any, constant: float, scale: float) -> Any:
    return constant + scale * (x.exp() if isinstance(x, Tensor) else math.exp(x))


def _wave(x: Any, constant: float, cosine: float, sine: float) -> Any:
    library: Any = torch if isinstance(x, Tensor) else math
    return constant + cosine * library.cos(x) + sine * library.sin(x)


def _polynomial(*given: Any) -> Any:
    """The sum of all products of two of 1 and the variables, each with its factor."""
    count = next(n for n in range(len(given)) if n + len(_pairs(n)) == len(given))
    variables, factors = (1, *given[:count]), given[count:]
    value: Any = 0
    for (one, other), factor in zip(_pairs(count), factors, strict=True):
        if factor:
            value = value + factor * variables[one] * variables[other]
    return value


def _pairs(variables: int) -> list[tuple[int, int]]:
    return list(combinations_with_replacement(range(variables + 1), 2))


def _smaller(x: Any, y: Any) -> Any:
    if isinstance(x, Tensor) or isinstance(y, Tensor):
        dtype = x.dtype if isinstance(x, Tensor) else y.dtype
        return torch.minimum(*(torch.as_tensor(value, dtype=dtype) for value in (x, y)))
    return torch.sym_min(x, y)


def _larger(x: Any, y: Any) -> Any:
    return -_smaller(-x, -y)


def _look_up(x: Any, *values: float) -> Any:
    if not isinstance(x, Tensor):
        return values[int(x)]
    dtype = torch.int64 if all(isinstance(value, int) for value in values) else torch.float64
    return torch.tensor(values, dtype=dtype, device=x.device)[x.long()]


_FORMS: dict[str, Callable[..., Any]] = {
    "ratio": lambda x, y: x / y,
    "power": _root,
    "logarithm": _logarithm,
    "exponential": _exponential,
    "wave": _wave,
    "polynomial": _polynomial,
    "smaller": _smaller,
    "larger": _larger,
    "quotient": lambda x, period: x // period,
    "remainder": lambda x, period: x % period,
    "table": _look_up,
}


def tabulate(points: Points, values: Sequence[float]) -> Curve | None:
    """What each iteration has been given; None where it depends on the sizes."""
    table: dict[int, float] = {}
    for (_, iteration), value in zip(points, values, strict=True):
        if table.setdefault(iteration, value) != value:
            return None
    if sorted(table) != list(range(len(table))):
        return None
    line = _variables(len(points[0][0]))[-1]
    return Curve("table", (line,), tuple(table[place] for place in range(len(table))))


def fit_curve(points: Points, values: Sequence[float]) -> Curve | None:
    """The first form that gives ``values`` at (sizes, iteration); None when there is none."""
    whole = all(isinstance(value, int) for value in values)
    for curve in _whole_candidates(points, values) if whole else _candidates(points, values):
        found = [curve.at(*point) for point in points]
        scale = max(abs(value) for value in values)
        if np.allclose(found, values, rtol=1e-9, atol=1e-12 * scale):
            return curve
    return None


def _candidates(points: Points, values: Sequence[float]) -> Iterator[Curve]:
    with np.errstate(all="ignore"):
        yield from _fit_powers(points, np.array(values, dtype=np.float64))
        yield from _fit_clamps(points, values)
        yield from _fit_ratio(points, np.array(values, dtype=np.float64))
        yield from _fit_polynomial(points, values)
        yield from _fit_recurrences(points, values)


def _whole_candidates(points: Points, values: Sequence[float]) -> Iterator[Curve]:
    yield from _fit_clamps(points, values)
    yield from _fit_periods(points, [int(value) for value in values])
    yield from _fit_polynomial(points, values)


def _line(points: Points, values: Any) -> Affine | None:
    """A straight line through numbers that need be no integers."""
    if len(values) < len(points[0][0]) + 2 or not np.isfinite(values).all():
        return None
    return fit(points, [float(value) for value in values])


def _fit_powers(points: Points, values: np.ndarray) -> Iterator[Curve]:
    for exponent in (-1.0, 0.5, -0.5, 2.0, -2.0):
        for sign in (1.0, -1.0):
            line = _line(points, (sign * values) ** (1 / exponent))
            if line:
                yield Curve("power", (line,), (sign, exponent))
    line = _line(points, np.exp(values))
    if line:
        yield Curve("logarithm", (line,), (1.0,))
    for sign in (1.0, -1.0):
        line = _line(points, np.log(sign * values))
        if line:
            yield Curve("exponential", (line,), (0.0, sign))


def _fit_clamps(points: Points, values: Sequence[float]) -> Iterator[Curve]:
    for form, end in (("larger", min(values)), ("smaller", max(values))):
        free = [place for place, value in enumerate(values) if value != end]
        if len(free) < len(points[0][0]) + 2 + _SPARE:
            continue
        line = fit([points[place] for place in free], [values[place] for place in free])
        if line:
            yield Curve(form, (line, Affine(end, (0,) * len(points[0][0]))))


def _fit_ratio(points: Points, values: np.ndarray) -> Iterator[Curve]:
    """One straight line by another: values * below - above = 0, but for a scale."""
    rows = np.array([[1, *sizes, iteration] for sizes, iteration in points], dtype=np.float64)
    width = rows.shape[1]
    if len(rows) < 2 * width + _SPARE:
        return
    matrix = np.concatenate([values[:, None] * rows, -rows], axis=1)
    scales = np.abs(matrix).max(axis=0)
    scales[scales == 0] = 1
    _, singular, basis = np.linalg.svd(matrix / scales)
    if singular[-2] < 1e-10 * singular[0]:
        return  # two ways to write it: something simpler gives it as well
    found = basis[-1] / scales
    found = found / np.abs(found).max()
    found[np.abs(found) < 1e-9] = 0
    below, above = found[:width], found[width:]
    yield Curve("ratio", (_as_affine(above), _as_affine(below)))


def _as_affine(factors: np.ndarray) -> Affine:
    constant, *by_size, by_iteration = (float(factor) for factor in factors)
    return Affine(constant, tuple(by_size), by_iteration)


def _variables(sizes: int) -> tuple[Affine, ...]:
    """Each size, and the iteration, as straight lines."""
    each = [Affine(0, tuple(int(own == n) for n in range(sizes))) for own in range(sizes)]
    return (*each, Affine(0, (0,) * sizes, 1))


def _fit_polynomial(points: Points, values: Sequence[float]) -> Iterator[Curve]:
    variables = _variables(len(points[0][0]))
    pairs = _pairs(len(variables))
    given = [(1, *sizes, iteration) for sizes, iteration in points]
    rows = np.array([[row[a] * row[b] for a, b in pairs] for row in given], dtype=np.float64)
    if np.linalg.matrix_rank(rows) + _SPARE > len(rows):
        return
    factors, *_ = np.linalg.lstsq(rows, np.array(values, dtype=np.float64), rcond=None)
    found = [0.0 if abs(factor) < 1e-9 else float(factor) for factor in factors]
    if all(isinstance(value, int) for value in values):
        if any(abs(2 * factor - round(2 * factor)) > 1e-6 for factor in found):
            return
        if any(round(2 * factor) % 2 for factor in found):
            return
        found = [round(factor) for factor in found]
    yield Curve("polynomial", variables, tuple(found))


def _fit_recurrences(points: Points, values: Sequence[float]) -> Iterator[Curve]:
    """Powers that start from something, sines: what follows from the one or two values before."""
    run = [value for (sizes, _), value in zip(points, values, strict=True)
           if sizes == points[-1][0]]  # fmt: skip
    steps = np.diff(np.array(run, dtype=np.float64))
    if len(steps) < 2 + _SPARE or not steps.any():
        return
    base = float(steps[1:] @ steps[:-1] / (steps[:-1] @ steps[:-1]))
    line = np.array(values, dtype=np.float64)
    if base > 0 and base != 1:
        constant = run[0] - steps[0] / (base - 1)
        for sign in (1.0, -1.0):
            exponent = _line(points, np.log(sign * (line - constant)))
            if exponent:
                yield Curve("exponential", (exponent,), (float(constant), sign))
    middle, ends = steps[1:-1], steps[2:] + steps[:-2]
    cosine = float(middle @ ends / (2 * middle @ middle)) if middle.any() else 2.0
    if abs(cosine) >= 1:
        return
    pace = math.acos(cosine)
    angles = pace * np.array([iteration for _, iteration in points], dtype=np.float64)
    rows = np.stack([np.ones_like(angles), np.cos(angles), np.sin(angles)], axis=1)
    factors, *_ = np.linalg.lstsq(rows, line, rcond=None)
    angle = Affine(0, (0,) * len(points[0][0]), pace)
    yield Curve("wave", (angle,), tuple(float(factor) for factor in factors))


def _fit_periods(points: Points, values: Sequence[int]) -> Iterator[Curve]:
    rows = np.array([[*sizes, iteration] for sizes, iteration in points], dtype=np.int64)
    known = np.array(values, dtype=np.int64)
    if len(rows) < rows.shape[1] + 1 + _SPARE:
        return
    slopes, *_ = np.linalg.lstsq(np.c_[rows, np.ones(len(rows))], known, rcond=None)
    for period in _PERIODS:
        counted = np.round(slopes[:-1] * period).astype(np.int64)
        rest = rows @ counted - period * known
        first, last = -int(rest.min()), period - 1 - int(rest.max())
        if first <= last:
            yield Curve("quotient", (_whole_line(first, counted),), (period,))
    for period in range(max(2, int(known.max()) + 1), max(_PERIODS) + 1):
        for factors in _slopes(rows, known, period):
            constants = (known - rows @ factors) % period
            if (constants == constants[0]).all():
                yield Curve("remainder", (_whole_line(constants[0], factors),), (period,))


def _slopes(rows: np.ndarray, known: np.ndarray, period: int) -> Iterator[np.ndarray]:
    """Slopes below ``period`` that the first neighbouring values show."""
    same = (np.diff(rows, axis=0)[:, :-1] == 0).all(axis=1)
    paces = {int(step) % period for step in np.diff(known)[same]} or {0}
    if len(paces) > 1:
        return
    for by_size in range(period):
        yield np.array([*[by_size] * (rows.shape[1] - 1), paces.copy().pop()], dtype=np.int64)


def _whole_line(constant: Any, factors: np.ndarray) -> Affine:
    *by_size, by_iteration = (int(factor) for factor in factors)
    return Affine(int(constant), tuple(by_size), by_iteration)
