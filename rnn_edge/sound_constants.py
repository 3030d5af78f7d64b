"""The numbers that features of sound are computed with: windows, bands on mel scales, cosines."""

from __future__ import annotations

import numpy as np

PERIODIC, SYMMETRIC = "", "-symmetric"
WINDOWS = (
    "hann", "hann-symmetric", "hamming", "hamming-symmetric", "blackman", "povey", "rectangular",
)  # fmt: skip
MEL_SCALES = ("htk", "slaney", "kaldi")
# Of the cosines of a window: of 0, 1 and 2 turns.
_COSINES = {"hann": (0.5, 0.5, 0.0), "hamming": (0.54, 0.46, 0.0), "blackman": (0.42, 0.5, 0.08)}
_POVEY = 0.85
# Slaney's scale is even up to here, and then rises by a factor a band.
_EVEN_TO, _HERTZ_A_MEL, _FACTOR = 1000.0, 200.0 / 3, np.log(6.4) / 27


def window(kind: str, size: int) -> np.ndarray:
    """float64[size]; of ``hann``, ``hamming`` and ``blackman`` a period of one sample more."""
    if kind == "rectangular":
        return np.ones(size)
    name, _, symmetric = kind.partition("-")
    symmetric = symmetric or ("yes" if name == "povey" else "")
    turns = 2 * np.pi * np.arange(size) / max(size - 1 if symmetric else size, 1)
    once, first, second = _COSINES["hann" if name == "povey" else name]
    found = once - first * np.cos(turns) + second * np.cos(2 * turns)
    return np.asarray(found**_POVEY if name == "povey" else found)


def transform(size: int, points: int) -> np.ndarray:
    """float64[2 * bins, size]: cosines, then sines, of ``points`` samples, zeros among them."""
    angles = 2 * np.pi / points * np.outer(np.arange(points // 2 + 1), np.arange(size))
    return np.concatenate([np.cos(angles), np.sin(angles)])


def frame_filter(size: int, without_mean: bool, preemphasis: float) -> np.ndarray:
    """float64[size, size]: takes a frame's mean away, then from each sample the one before, by
    ``preemphasis``; before the first it stands itself."""
    centred = np.eye(size) - (1 / size if without_mean else 0.0)
    before = np.eye(size, k=-1)
    before[0, 0] = 1.0
    return np.asarray((np.eye(size) - preemphasis * before) @ centred)


def bands(
    scale: str, count: int, low: float, high: float, frequencies: np.ndarray, equal_area: bool
) -> np.ndarray:
    """float64[bins, count]: triangles that overlap by half, evenly spaced on the scale.

    Their height is 1, or with ``equal_area`` 2 by their width in hertz. Their sides are straight
    over hertz, those of "kaldi" over mels.
    """
    mels = np.linspace(_mel(scale, np.array(low)), _mel(scale, np.array(high)), count + 2)
    hertz = _hertz(scale, mels)
    places = frequencies[:, None]
    corners = hertz
    if scale == "kaldi":
        corners, places = mels, _mel(scale, places)
    rising = (places - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - places) / (corners[2:] - corners[1:-1])
    found = np.maximum(np.minimum(rising, falling), 0.0)
    return np.asarray(found * 2 / (hertz[2:] - hertz[:-2]) if equal_area else found)


def cosine_transform(size: int, count: int) -> np.ndarray:
    """float64[size, count]: orthonormal, type 2, its first coefficients."""
    places, orders = np.arange(size)[:, None], np.arange(count)
    scale = np.where(orders == 0, 1.0, np.sqrt(2)) / np.sqrt(size)
    return np.asarray(np.cos(np.pi * orders * (2 * places + 1) / (2 * size)) * scale)


def _mel(scale: str, hertz: np.ndarray) -> np.ndarray:
    if scale != "slaney":
        return np.asarray(2595 * np.log10(1 + hertz / 700))
    above = np.log(np.maximum(hertz, _EVEN_TO) / _EVEN_TO) / _FACTOR
    return np.asarray(np.minimum(hertz, _EVEN_TO) / _HERTZ_A_MEL + above)


def _hertz(scale: str, mels: np.ndarray) -> np.ndarray:
    if scale != "slaney":
        return np.asarray(700 * (10 ** (mels / 2595) - 1))
    even = _EVEN_TO / _HERTZ_A_MEL
    factor = np.exp(np.maximum(mels - even, 0.0) * _FACTOR)
    return np.asarray(np.minimum(mels, even) * _HERTZ_A_MEL * factor)
