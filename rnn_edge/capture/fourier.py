"""Fourier transforms as products with matrices of cosines and sines.

ONNX's DFT has no inverse for real signals, and that of ONNX Runtime loses digits where the length
is no power of two. Angles are whole multiples of one part of the circle, so each is exact; sums are
taken in double precision. A matrix has length times frequencies entries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import statically_known_true

from rnn_edge.capture import grids
from rnn_edge.capture.complex_rules import Pair, as_pair, full_pair

_ATEN = torch.ops.aten
_WIDE = torch.float64


def _circle(places: Any, frequencies: Any, length: Any) -> tuple[Tensor, Tensor]:
    """Cosines and sines [places, frequencies] of 2 pi place frequency / length."""
    turns = torch.arange(places).unsqueeze(1) * torch.arange(frequencies)
    size = torch.scalar_tensor(length, dtype=torch.int64)
    parts = torch.remainder(turns, size)
    angles = parts.to(_WIDE) * (2 * math.pi) / size.to(_WIDE)
    # The sine of half a turn is 0, which decides on which side an angle is.
    sines = torch.where(2 * parts == size, torch.zeros_like(angles), torch.sin(angles))
    return torch.cos(angles), sines


def _fit(part: Any, size: Any) -> Any:
    """``part`` with ``size`` elements in its last axis: cut, or filled with zeros."""
    if not isinstance(part, Tensor) or size is None:
        return part
    if statically_known_true(part.shape[-1] == size):
        return part
    return torch.nn.functional.pad(part, (0, size - part.shape[-1]))


def _scale(norm: str | None, length: Any, inverse: bool) -> Any:
    """By what the plain sum is multiplied."""
    if norm == "ortho":
        return torch.scalar_tensor(length, dtype=_WIDE).rsqrt()
    divides = (norm in (None, "backward")) == inverse
    return torch.scalar_tensor(length, dtype=_WIDE).reciprocal() if divides else 1.0


def _along_last(transform: Callable[[Pair], Pair], x: Any, dim: int) -> Pair:
    """``transform`` over the axis ``dim``, in double precision, in the type of ``x`` again."""
    pair = as_pair(x)
    dtype = pair.tensor.dtype
    wide = Pair(
        *(
            part.movedim(dim, -1).to(_WIDE) if isinstance(part, Tensor) else part
            for part in (pair.real, pair.imag)
        )
    )
    found = transform(wide)
    return Pair(
        *(
            part.movedim(-1, dim).to(dtype) if isinstance(part, Tensor) else part
            for part in (found.real, found.imag)
        )
    )


def _times(part: Any, matrix: Tensor) -> Any:
    return torch.matmul(part, matrix) if isinstance(part, Tensor) else 0.0


def _transform(x: Any, n: Any, dim: int, norm: str | None, inverse: bool, half: bool) -> Pair:
    """The transform of one axis; of a real signal the frequencies up to the middle if ``half``."""

    def transform(x: Pair) -> Pair:
        length = x.tensor.shape[-1] if n is None else n
        count = length // 2 + 1 if half else length
        cosines, sines = _circle(length, count, length)
        if inverse:
            sines = -sines
        real, imag = _fit(x.real, n), _fit(x.imag, n)
        scale = _scale(norm, length, inverse)
        found_real = _times(real, cosines) + _times(imag, sines)
        found_imag = _times(imag, cosines) - _times(real, sines)
        return Pair(found_real * scale, found_imag * scale)

    return _along_last(transform, x, dim)


def fft(_: Any, x: Any, n: Any = None, dim: int = -1, norm: str | None = None) -> Pair:
    return _transform(x, n, dim, norm, inverse=False, half=False)


def ifft(_: Any, x: Any, n: Any = None, dim: int = -1, norm: str | None = None) -> Pair:
    return _transform(x, n, dim, norm, inverse=True, half=False)


def rfft(_: Any, x: Any, n: Any = None, dim: int = -1, norm: str | None = None) -> Pair:
    return _transform(x, n, dim, norm, inverse=False, half=True)


def irfft(_: Any, x: Any, n: Any = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The real signal of length ``n``, by default an even one."""

    def transform(x: Pair) -> Pair:
        length = 2 * (x.tensor.shape[-1] - 1) if n is None else n
        count = length // 2 + 1
        x = full_pair(Pair(_fit(x.real, count), _fit(x.imag, count)))
        # Each frequency stands for itself and its mirror, but for the first and the middle one.
        places = torch.arange(count)
        alone = (places == 0) | (2 * places == torch.scalar_tensor(length, dtype=torch.int64))
        weights = torch.where(alone, 1.0, 2.0).to(_WIDE).unsqueeze(1)
        cosines, sines = _circle(count, length, length)
        found = _times(x.real, cosines * weights) - _times(x.imag, sines * weights)
        return Pair(found * _scale(norm, length, inverse=True), 0.0)

    found: Tensor = _along_last(transform, x, dim).real
    return found


def _over_axes(step: Callable[..., Any], last: Callable[..., Any], ends: bool) -> Any:
    """``last`` of the last axis, at the end if ``ends``, and ``step`` of all others."""

    def run(_: Any, x: Any, s: Any = None, dim: Any = None, norm: str | None = None) -> Any:
        rank = as_pair(x).tensor.dim()
        axes = list(dim) if dim is not None else [*range(rank - (len(s) if s else rank), rank)]
        sizes: Sequence[Any] = list(s) if s is not None else [None] * len(axes)
        calls = [(step, *pair) for pair in zip(axes[:-1], sizes[:-1], strict=True)]
        calls.insert(len(calls) if ends else 0, (last, axes[-1], sizes[-1]))
        for transform, axis, size in calls:
            x = transform(_, x, size, axis, norm)
        return x

    return run


def _two(run: Any) -> Any:
    def two(_: Any, x: Any, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Any:
        return run(_, x, s, dim, norm)

    return two


def stft(
    _: Any, x: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
    window: Tensor | None = None, center: bool = True, pad_mode: str = "reflect",
    normalized: bool = False, onesided: bool | None = None, return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> Any:  # fmt: skip
    """aten.stft.center of a real signal [..., samples]: [..., frequencies, frames]."""
    hop = hop_length or n_fft // 4
    if center:
        flat = x.reshape(1, -1, x.shape[-1])
        flat = torch.nn.functional.pad(flat, (n_fft // 2, n_fft // 2), mode=pad_mode)
        x = flat.reshape(*x.shape[:-1], -1) if x.dim() != 1 else flat.reshape(-1)
    frames = x.unfold(-1, n_fft, hop)
    if window is not None or win_length is not None:
        frames = frames * _window(window, win_length or n_fft, n_fft, x.dtype)
    norm = "ortho" if normalized else None
    found = (fft if onesided is False else rfft)(_, frames, None, -1, norm)
    turned = Pair(found.real.transpose(-1, -2), found.imag.transpose(-1, -2))
    if return_complex is False:
        return torch.stack([turned.real, turned.imag], -1)
    return turned


def plain_stft(
    _: Any, x: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
    window: Tensor | None = None, normalized: bool = False, onesided: bool | None = None,
    return_complex: bool | None = None, align_to_window: bool | None = None,
) -> Any:  # fmt: skip
    """aten.stft.default, which torch.stft() calls with the signal padded."""
    return stft(_, x, n_fft, hop_length, win_length, window, False, "reflect", normalized, onesided,
                return_complex)  # fmt: skip


def istft(
    _: Any, x: Any, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
    window: Tensor | None = None, center: bool = True, normalized: bool = False,
    onesided: bool | None = None, length: Any = None, return_complex: bool = False,
) -> Tensor:  # fmt: skip
    """aten.istft: frames back in their places, added up, over the sum of the squared windows."""
    hop = hop_length or n_fft // 4
    pair = full_pair(as_pair(x))
    frames = Pair(pair.real.transpose(-1, -2), pair.imag.transpose(-1, -2))
    norm = "ortho" if normalized else None
    if onesided is False:
        pieces = _transform(frames, None, -1, norm, inverse=True, half=False).real
    else:
        pieces = irfft(_, frames, n_fft, -1, norm)
    weights = _window(window, win_length or n_fft, n_fft, pieces.dtype)
    lead = pieces.shape[:-2]
    count = pieces.shape[-2]
    flat = (pieces * weights).reshape(-1, count, n_fft).transpose(1, 2)
    envelope = (weights * weights).view(1, n_fft, 1).expand(1, n_fft, count)
    total = n_fft + hop * (count - 1)
    signal = _lay(flat, total, n_fft, hop) / _lay(envelope, total, n_fft, hop).clamp(min=1e-11)
    start = n_fft // 2 if center else 0
    signal = signal[:, start:]
    if length is not None:
        signal = _fit(signal, length)
    elif center:
        signal = signal[:, : signal.shape[-1] - n_fft // 2]
    return signal.reshape(*lead, signal.shape[-1])


def invert_stft(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """torch.istft, which takes its length for a constant."""
    return istft(None, Pair(input.real, input.imag), *args, **kwargs)


def _lay(frames: Tensor, total: Any, n_fft: int, hop: int) -> Tensor:
    """[batch, n_fft, frames] added up at their places: [batch, total]."""
    laid = grids.fold(frames, (1, total), (1, n_fft), stride=(1, hop))
    return laid.squeeze(2).squeeze(1)


def _window(window: Tensor | None, size: int, n_fft: int, dtype: torch.dtype) -> Tensor:
    """The window in the middle of ``n_fft`` places."""
    found = torch.ones(size, dtype=dtype) if window is None else window
    left = (n_fft - size) // 2
    return torch.nn.functional.pad(found, (left, n_fft - size - left)) if size < n_fft else found


# By the numbers of torch's own kernels: not at all, by the root, by the length.
_NORMS = ("backward", "ortho", "forward")


def real_to_complex(_: Any, x: Any, dim: Any, normalization: int, onesided: bool) -> Pair:
    transform = _RFFT_ND if onesided else _FFT_ND
    found: Pair = transform(_, x, None, dim, _NORMS[normalization])
    return found


def complex_to_complex(_: Any, x: Any, dim: Any, normalization: int, forward: bool) -> Pair:
    norm = _NORMS[normalization]
    if not forward:
        norm = {"backward": "forward", "forward": "backward"}.get(norm, norm)
    found: Pair = (_FFT_ND if forward else _IFFT_ND)(_, x, None, dim, norm)
    return found


def complex_to_real(_: Any, x: Any, dim: Any, normalization: int, last_dim_size: Any) -> Tensor:
    norm = _NORMS[normalization]
    norm = {"backward": "forward", "forward": "backward"}.get(norm, norm)
    if len(dim) > 1:
        x = _over_axes(ifft, ifft, False)(_, x, None, dim[:-1], norm)
    return irfft(_, x, last_dim_size, dim[-1], norm)


_FFT_ND, _IFFT_ND = _over_axes(fft, fft, False), _over_axes(ifft, ifft, False)
_RFFT_ND, _IRFFT_ND = _over_axes(fft, rfft, False), _over_axes(ifft, irfft, True)

RULES: dict[Any, Callable[..., Any]] = {
    _ATEN.fft_fft.default: fft,
    _ATEN.fft_ifft.default: ifft,
    _ATEN.fft_rfft.default: rfft,
    _ATEN.fft_irfft.default: irfft,
    _ATEN.fft_fftn.default: _FFT_ND,
    _ATEN.fft_ifftn.default: _IFFT_ND,
    _ATEN.fft_rfftn.default: _RFFT_ND,
    _ATEN.fft_irfftn.default: _IRFFT_ND,
    _ATEN.fft_fft2.default: _two(_FFT_ND),
    _ATEN.fft_ifft2.default: _two(_IFFT_ND),
    _ATEN.fft_rfft2.default: _two(_RFFT_ND),
    _ATEN.fft_irfft2.default: _two(_IRFFT_ND),
    _ATEN._fft_r2c.default: real_to_complex,
    _ATEN._fft_c2c.default: complex_to_complex,
    _ATEN._fft_c2r.default: complex_to_real,
    _ATEN.stft.center: stft,
    _ATEN.stft.default: plain_stft,
    _ATEN.istft.default: istft,
}

# What ONNX has an operator for, as long as no more is done than to look at the parts.
SHORT_TIME = (_ATEN.stft.center, _ATEN.stft.default)
