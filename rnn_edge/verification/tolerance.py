"""How far an answer may be from the truth: a small multiple of what its dtype itself loses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# An error may be this many times the module's own, plus a floor, per dtype.
FACTOR = 4.0
FLOOR = {"float16": 1e-3, "float32": 1e-6, "float64": 1e-12}


@dataclass(frozen=True)
class Deviation:
    """One output compared: largest absolute error, noise of the dtype, tolerance."""

    error: float
    noise: float
    tolerance: float

    @property
    def allowed(self) -> bool:
        return self.error <= self.tolerance

    @property
    def ratio(self) -> float:
        return self.error / self.tolerance if self.tolerance else float(self.error > 0)


def compare(
    found: np.ndarray,
    own: np.ndarray,
    truth: np.ndarray,
    sensitivity: Callable[[], float] = lambda: 0.0,
) -> Deviation:
    """Compare ``found`` with ``truth``, the float64 answer; ``own`` is torch's in its own dtype.

    The noise is torch's own error there, or what rounding the truth to the dtype loses, whichever
    is more. Where that does not do, ``sensitivity`` is asked for torch's error under other
    roundings of the same inputs and weights.

    Shapes must be equal, and infinities and NaNs at the same places, or the error is infinite.
    Integers and booleans must equal ``own``: their error is a count.
    """
    if found.shape != own.shape or found.dtype != own.dtype:
        return Deviation(float("inf"), 0.0, 0.0)
    if own.dtype.kind != "f":
        return Deviation(float(np.count_nonzero(found != own)), 0.0, 0.0)
    finite = np.isfinite(own)
    if not np.array_equal(found[~finite], own[~finite], equal_nan=True):
        return Deviation(float("inf"), 0.0, 0.0)
    exact = truth[finite].astype(np.float64)
    rounding = np.finfo(own.dtype).eps / 2 * _largest(exact)
    noise = max(_largest(own[finite] - exact), float(rounding))
    error = _largest(found[finite] - exact)
    if error > tolerance_for(noise, str(own.dtype)):
        noise = max(noise, sensitivity())
    return Deviation(error, noise, tolerance_for(noise, str(own.dtype)))


def tolerance_for(noise: float, dtype: str) -> float:
    return FACTOR * noise + FLOOR[dtype]


def _largest(values: np.ndarray) -> float:
    return float(np.max(np.abs(values))) if values.size else 0.0
