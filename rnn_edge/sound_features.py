"""Features of sound: bands on the mel scale, and cepstral coefficients, as numbers alone.

The one place that knows the formula; modules and graphs take their constants from here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from rnn_edge.errors import InputError

LOG_MEL, MFCC, BYTES = "log-mel", "mfcc", "bytes"
_WHOLE = ("n_mels", "window", "hop", "n_fft", "padding", "lifter")
_DECIMAL = ("low", "high", "floor")
_COEFFICIENTS = "n_mfcc"
# The log-probability of what a frame behind the end of a row does not say.
NEVER = -100.0


@dataclass(frozen=True)
class SoundFeatures:
    """Logarithms of the energies in ``n_mels`` bands of every frame of ``window`` samples.

    Frames begin every ``hop`` samples, the first ``padding`` zeros before the first sample; there
    are no frames beyond the last sample. A frame is weighted with a periodic Hann window, filled up
    with zeros to ``n_fft`` samples (None: the window), and its power spectrum summed by triangles
    of height 1 between ``low`` and ``high`` hertz (None: half the rate), evenly spaced on the HTK
    mel scale. ``floor`` is added to each energy; the logarithm is natural.

    With ``n_mfcc``, the first so many coefficients of its orthonormal discrete cosine transform
    (type 2) instead: mel-frequency cepstral coefficients, weighted by
    1 + lifter / 2 * sin(pi * n / lifter) where ``lifter`` is not 0.
    """

    rate: int
    n_mels: int = 40
    window: int = 400
    hop: int = 160
    n_fft: int | None = None
    low: float = 0.0
    high: float | None = None
    floor: float = 1e-6
    padding: int = 0
    n_mfcc: int | None = None
    lifter: int = 0

    def __post_init__(self) -> None:
        most, size = self.rate / 2, self.size
        high = most if self.high is None else self.high
        orders = self.n_mfcc or 1
        for right, must, found in (
            (size >= self.window, f"n_fft must be at least the window, {self.window}", size),
            (0 <= self.low < high <= most, f"low and high must rise to {most:g} at most", high),
            (orders <= self.n_mels, f"n_mfcc must be at most n_mels, {self.n_mels}", orders),
            (self.floor > 0, "floor must be above 0", self.floor),
        ):
            if not right:
                raise InputError(f"{must}, got {found}. Correct the front end.")

    @property
    def size(self) -> int:
        """Samples of the transform."""
        return self.n_fft or self.window

    @property
    def width(self) -> int:
        """Numbers a frame."""
        return self.n_mfcc or self.n_mels

    @property
    def shortest(self) -> int:
        """Samples that the first frame needs."""
        return max(1, self.window - self.padding)

    @property
    def text(self) -> str:
        """What read_sound_features() reads these from."""
        kind = LOG_MEL if self.n_mfcc is None else MFCC
        told = [
            f"{field.name}={value!r}"
            for field in fields(self)
            for value in [getattr(self, field.name)]
            if field.name != "rate" and value != field.default
        ]
        return ",".join([f"{kind}:{self.rate}", *told])

    def basis(self) -> np.ndarray:
        """float64[2 * bins, window]: weighted cosines, then sines, of the transform."""
        steps = np.arange(self.window)
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * steps / self.window)
        angles = 2 * np.pi / self.size * np.outer(np.arange(self.size // 2 + 1), steps)
        return np.concatenate([np.cos(angles), np.sin(angles)]) * hann

    def bands(self) -> np.ndarray:
        """float64[bins, n_mels]: triangles that overlap by half."""
        high = self.rate / 2 if self.high is None else self.high
        corners = _hertz(np.linspace(_mel(self.low), _mel(high), self.n_mels + 2))
        frequencies = np.arange(self.size // 2 + 1)[:, None] * (self.rate / self.size)
        rising = (frequencies - corners[:-2]) / (corners[1:-1] - corners[:-2])
        falling = (corners[2:] - frequencies) / (corners[2:] - corners[1:-1])
        return np.maximum(np.minimum(rising, falling), 0.0)

    def cosines(self) -> np.ndarray | None:
        """float64[n_mels, n_mfcc]; None where bands are the features."""
        if self.n_mfcc is None:
            return None
        places, orders = np.arange(self.n_mels)[:, None], np.arange(self.n_mfcc)
        scale = np.where(orders == 0, 1.0, np.sqrt(2)) / np.sqrt(self.n_mels)
        found = np.cos(np.pi * orders * (2 * places + 1) / (2 * self.n_mels)) * scale
        if self.lifter:
            found = found * (1 + self.lifter / 2 * np.sin(np.pi * orders / self.lifter))
        return np.asarray(found)


def read_sound_features(text: str) -> SoundFeatures:
    """``log-mel:16000,n_mels=40,window=400`` or ``mfcc:16000,n_mfcc=13``. Raises InputError."""
    kind, _, rest = text.partition(":")
    rate, *pairs = rest.split(",")
    options: dict[str, Any] = {_COEFFICIENTS: 13} if kind == MFCC else {}
    known = {_COEFFICIENTS, *_WHOLE, *_DECIMAL} if kind == MFCC else {*_WHOLE[:5], *_DECIMAL}
    try:
        for pair in pairs:
            name, _, value = pair.partition("=")
            if name not in known:
                raise ValueError
            options[name] = float(value) if name in _DECIMAL else int(value)
        positive = (_COEFFICIENTS, *_WHOLE[:4])
        if kind not in (LOG_MEL, MFCC) or min(options.get(name, 1) for name in positive) < 1:
            raise ValueError
        if min(int(rate), 1 + options.get("padding", 0), 1 + options.get("lifter", 0)) < 1:
            raise ValueError
    except ValueError:
        raise InputError(
            f"a front end must be {BYTES}, {LOG_MEL}:RATE with "
            f"{', '.join((*_WHOLE[:5], *_DECIMAL))}, or "
            f"{MFCC}:RATE with {_COEFFICIENTS} and lifter too, such as "
            f"log-mel:16000,n_mels=40,window=400,hop=160, got {text!r}. Correct it."
        ) from None
    return SoundFeatures(int(rate), **options)


def _mel(hertz: float) -> float:
    return float(2595 * np.log10(1 + hertz / 700))


def _hertz(mels: np.ndarray) -> np.ndarray:
    return np.asarray(700 * (10 ** (mels / 2595) - 1))
