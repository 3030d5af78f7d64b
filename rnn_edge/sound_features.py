"""Features of sound: spectra, bands on the mel scale, and cepstral coefficients, as numbers alone.

The one place that knows the formula; modules and graphs take their constants from here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from rnn_edge.errors import InputError
from rnn_edge.near_names import suggest
from rnn_edge.sound_constants import (
    MEL_SCALES,
    WINDOWS,
    bands,
    cosine_transform,
    frame_filter,
    transform,
    window,
)

LOG_MEL, MFCC, SPECTRUM = "log-mel", "mfcc", "spectrogram"
_KINDS = (LOG_MEL, MFCC, SPECTRUM)
# Other kinds of front ends that a person names.
BYTES, SAMPLES, SERIES = "bytes", "samples", "series"
NONE, ZEROS, REFLECT = "none", "zeros", "reflect"
ADD, MAX, ONE = "add", "max", "one"
NATURAL, TEN, DECIBEL = "natural", "log10", "db"
MEAN, ALL = "mean", "all"
# Options that are words, and the words.
_WORDS: Mapping[str, tuple[str, ...]] = {
    "window_fn": WINDOWS,
    "center": (NONE, ZEROS, REFLECT),
    "mel_scale": MEL_SCALES,
    "norm": (NONE, "slaney"),
    "floor_by": (ADD, MAX),
    "log": (NATURAL, TEN, DECIBEL, NONE),
    "ref": (ONE, MAX),
    "cmvn": (NONE, MEAN, ALL),
}
_WHOLE = (
    "rate", "n_mels", "window", "hop", "n_fft", "padding", "n_mfcc", "lifter", "power", "remove_dc",
    "deltas",
)  # fmt: skip
_COEFFICIENTS = "n_mfcc"
_POSITIVE = ("rate", "n_mels", "window", "hop", "n_fft", "n_mfcc")
_NOT_NEGATIVE = ("padding", "lifter")
_ALONE = {SPECTRUM: {"n_mels", "low", "high", "mel_scale", "norm", "n_mfcc", "lifter"}}
_ALONE[LOG_MEL] = {"n_mfcc", "lifter"}
# No deviation is less; of logarithms that stay the same over a row, rounding leaves more.
TINY, _LEAST_DEVIATION = 1e-30, 1e-4
# Frames on either side that slopes are taken over.
SLOPES = 2
# The log-probability of what a frame behind the end of a row does not say.
NEVER = -100.0


@dataclass(frozen=True)
class SoundFeatures:
    """Logarithms of the energies in ``n_mels`` bands of every frame of ``window`` samples.

    Frames begin every ``hop`` samples, the first ``padding`` zeros before the first sample; there
    are no frames beyond the last sample. With ``center`` they stand as of ``n_fft`` samples around
    every ``hop``th one instead, the window in their middle, zeros or the sound turned round before
    its beginning and behind its end. ``gain`` multiplies the samples; from each, the one before is
    taken by ``preemphasis``. From each frame ``remove_dc`` takes the mean, then
    ``frame_preemphasis`` does the same within the frame, its first sample standing before itself.
    A frame is weighted with ``window_fn`` (periodic, but for "-symmetric" and "povey"), filled up
    with zeros to ``n_fft`` samples (None: the window), and the ``power`` of its spectrum, 2 or 1,
    summed by triangles between ``low`` and ``high`` hertz (None: half the rate), evenly spaced on
    the ``mel_scale``, of height 1 or, with the ``norm`` "slaney", of one area. ``n_mels`` None is
    the spectrum itself.

    ``floor`` is added to each, or with ``floor_by`` "max" the least; then comes the logarithm,
    natural, "log10", "db" (10 times that of a power, 20 times that of an amplitude) or "none". With
    ``ref`` "max" the row's largest is taken away, and nothing is less than that less ``top_db``.

    With ``n_mfcc``, the first so many coefficients of the orthonormal discrete cosine transform
    (type 2) instead: mel-frequency cepstral coefficients, weighted by
    1 + lifter / 2 * sin(pi * n / lifter) where ``lifter`` is not 0.

    ``cmvn`` takes from each feature its mean over the row's frames, "all" divides it by its
    standard deviation too, of logarithms at least 1e-4 of the largest in the first frame. ``mean``
    is taken away and ``std`` divides what is left. ``deltas`` 1 or 2 put the slopes over five
    frames behind the features, and the slopes of these; the first and the last frame stand beyond
    the ends.
    """

    rate: int
    n_mels: int | None = 40
    window: int = 400
    hop: int = 160
    n_fft: int | None = None
    low: float = 0.0
    high: float | None = None
    floor: float = 1e-6
    padding: int = 0
    n_mfcc: int | None = None
    lifter: int = 0
    window_fn: str = "hann"
    center: str = NONE
    mel_scale: str = "htk"
    norm: str = NONE
    power: int = 2
    floor_by: str = ADD
    log: str = NATURAL
    ref: str = ONE
    top_db: float | None = None
    preemphasis: float = 0.0
    frame_preemphasis: float = 0.0
    remove_dc: int = 0
    gain: float = 1.0
    cmvn: str = NONE
    mean: float = 0.0
    std: float = 1.0
    deltas: int = 0

    def __post_init__(self) -> None:
        most, size = self.rate / 2, self.size
        high = most if self.high is None else self.high
        orders, mels = self.n_mfcc or 1, self.n_mels or 1
        rules = [
            (size >= self.window, f"n_fft must be at least the window, {self.window}", size),
            (0 <= self.low < high <= most, f"low and high must rise to {most:g} at most", high),
            (orders <= mels, f"n_mfcc must be at most n_mels, {mels}", orders),
            (self.floor > 0 or self.log == NONE, "floor must be above 0", self.floor),
            (self.power in (1, 2), "power must be 1 or 2", self.power),
            (self.deltas in (0, 1, 2), "deltas must be 0, 1 or 2", self.deltas),
            (self.std > 0, "std must be above 0", self.std),
            (self.top_db is None or self.top_db > 0, "top_db must be above 0", self.top_db),
            (
                self.center == NONE or not self.padding,
                "padding must be 0 with center",
                self.padding,
            ),
        ]
        for name, words in _WORDS.items():
            value = getattr(self, name)
            rules.append((value in words, f"{name} must be one of {', '.join(words)}", value))
        for right, must, found in rules:
            if not right:
                raise InputError(f"{must}, got {found}. Correct the front end.")

    @property
    def size(self) -> int:
        """Samples of the transform."""
        return self.n_fft or self.window

    @property
    def width(self) -> int:
        """Numbers a frame."""
        return (self.n_mfcc or self.n_mels or self.size // 2 + 1) * (1 + self.deltas)

    @property
    def edges(self) -> tuple[int, int]:
        """What stands before the first sample and behind the last, in samples."""
        if self.center == NONE:
            return self.padding, 0
        half, before = self.size // 2, (self.size - self.window) // 2
        return half - before, half - (self.size - self.window - before)

    @property
    def shortest(self) -> int:
        """Samples that the first frame needs."""
        if self.center == REFLECT:
            return self.size // 2 + 1
        return max(1, self.window - sum(self.edges))

    @property
    def least_deviation(self) -> float:
        """The least standard deviation that ``cmvn`` divides by, of the largest in a frame."""
        return 0.0 if self.log == NONE else _LEAST_DEVIATION

    @property
    def kind(self) -> str:
        if self.n_mels is None:
            return SPECTRUM
        return LOG_MEL if self.n_mfcc is None else MFCC

    @property
    def text(self) -> str:
        """What read_sound_features() reads these from."""
        told = [
            f"{field.name}={value if isinstance(value, str) else repr(value)}"
            for field in fields(self)
            for value in [getattr(self, field.name)]
            if field.name != "rate" and value is not None and value != field.default
        ]
        return ",".join([f"{self.kind}:{self.rate}", *told])

    def basis(self) -> np.ndarray:
        """float64[2 * bins, window]: weighted cosines, then sines, of the transform."""
        filters = frame_filter(self.window, bool(self.remove_dc), self.frame_preemphasis)
        weighted = transform(self.window, self.size) * window(self.window_fn, self.window)
        return np.asarray(self.gain * weighted @ filters)

    def bands(self) -> np.ndarray | None:
        """float64[bins, n_mels]: triangles; None where the spectrum is the feature."""
        if self.n_mels is None:
            return None
        high = self.rate / 2 if self.high is None else self.high
        frequencies = np.arange(self.size // 2 + 1) * (self.rate / self.size)
        return bands(
            self.mel_scale, self.n_mels, self.low, high, frequencies, self.norm == "slaney"
        )

    def cosines(self) -> np.ndarray | None:
        """float64[n_mels, n_mfcc]; None where bands are the features."""
        if self.n_mfcc is None or self.n_mels is None:
            return None
        found = cosine_transform(self.n_mels, self.n_mfcc)
        if self.lifter:
            orders = np.arange(self.n_mfcc)
            found = found * (1 + self.lifter / 2 * np.sin(np.pi * orders / self.lifter))
        return np.asarray(found)

    def log_factor(self) -> float | None:
        """What the natural logarithm is multiplied by; None where there is none."""
        if self.log == NONE:
            return None
        ten = 1 / np.log(10)
        return float({NATURAL: 1.0, TEN: ten, DECIBEL: 20 / self.power * ten}[self.log])


def read_sound_features(text: str) -> SoundFeatures:
    """``log-mel:16000,n_mels=40,window=400`` or ``mfcc:16000,n_mfcc=13``. Raises InputError."""
    kind, _, rest = text.partition(":")
    rate, *pairs = rest.split(",")
    options: dict[str, Any] = {_COEFFICIENTS: 13} if kind == MFCC else {}
    if kind == SPECTRUM:
        options["n_mels"] = None
    if kind not in _KINDS:
        raise InputError(
            f"a front end must be {BYTES}, {SAMPLES}:RATE, {SERIES}:FILE, or {', '.join(_KINDS)} "
            f"with a rate, such as log-mel:16000,n_mels=40,window=400,hop=160, got {text!r}."
            + (suggest(kind, (BYTES, SAMPLES, SERIES, *_KINDS)) or " Correct it.")
        )
    known = {field.name for field in fields(SoundFeatures)} - {"rate", *_ALONE.get(kind, ())}
    for place, pair in enumerate([f"rate={rate}", *pairs]):
        name, _, value = pair.partition("=")
        if place and name not in known:
            raise InputError(
                f"options of {kind} must be among {', '.join(sorted(known))}, got {name!r}."
                + (suggest(name, known) or " Correct it.")
            )
        try:
            options[name] = _read(name, value)
        except ValueError:
            raise InputError(
                f"{name} of {kind} must be {_told(name)}, got {value!r}. Correct it."
            ) from None
    return SoundFeatures(**options)


def _read(name: str, value: str) -> Any:
    if name in _WORDS:
        return value
    number = int(value) if name in _WHOLE else float(value)
    if not math.isfinite(number) or number < _least(name):
        raise ValueError
    return number


def _told(name: str) -> str:
    kind = "a whole number" if name in _WHOLE else "a number"
    least = _least(name)
    return kind if least == -math.inf else f"{kind} of at least {least:g}"


def _least(name: str) -> float:
    return 1 if name in _POSITIVE else 0 if name in _NOT_NEGATIVE else -math.inf
