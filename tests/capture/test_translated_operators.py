"""Operators that torch.onnx has no form for, or a form that loses digits: as eager torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rnn_edge
from rnn_edge.errors import ExportError

DIGITS = {torch.float32: 3e-6, torch.float64: 1e-13}


class Applying(nn.Module):
    def __init__(self, functions: list[Callable[[Tensor], Any]]) -> None:
        super().__init__()
        self._functions = functions

    def forward(self, x: Tensor) -> list[Tensor]:
        found: list[Tensor] = []
        for function in self._functions:
            given = function(x)
            found += [given] if isinstance(given, Tensor) else given
        return found


def matrices(x: Tensor) -> Tensor:
    """Rows in an order that needs a pivot other than the first."""
    return (x[:, :3, :3] + 4 * torch.eye(3, dtype=x.dtype)).flip(1)


CUMULATIVE = [
    lambda x: torch.cumsum(1000 + x, 1),
    lambda x: (x > 0).cumsum(-1),
    lambda x: x[:, 0].mean().cumsum(0),
    lambda x: torch.cumprod(x, 1),
    lambda x: torch.cumprod(x[..., :1].round().long(), -1),
    lambda x: torch.cummax(x.round(), 1),
    lambda x: x.cummin(-1),
    lambda x: torch.cummax((9 * x).long(), 0),
    lambda x: torch.logcumsumexp(200 * x, 1),
    lambda x: torch.logcumsumexp(x.masked_fill(x < 1, float("-inf")), 1),
    lambda x: torch.logaddexp(300 * x, x),
]
SYSTEMS = [
    lambda x: torch.linalg.inv(matrices(x)),
    lambda x: matrices(x).inverse(),
    lambda x: torch.linalg.solve(matrices(x), x[:, :3]),
    lambda x: torch.linalg.solve(matrices(x), x[:, :3, 0]),
    lambda x: torch.linalg.solve(matrices(x)[0], x[:, :3]),
    lambda x: torch.linalg.solve(matrices(x), x[:, :, :3], left=False),
]
NUMBERS = [
    lambda x: x * 0.3 - 0.7,
    lambda x: x + torch.full((x.shape[0], 1, 1), 0.3, dtype=x.dtype),
    lambda x: torch.full_like(x, 0.1) + x.new_full((1, 1), 0.7),
    lambda x: x + torch.linspace(0.1, 1, x.shape[1], dtype=x.dtype)[:, None],
    lambda x: x + torch.linspace(-1, 1, 4, dtype=x.dtype),
    lambda x: torch.where(x > 0.3, x, 0.3),
]
PICKED = [
    lambda x: torch.take_along_dim(x, x.argsort(1), 1),
    lambda x: x.take_along_dim(x.argmax(1, keepdim=True), dim=1),
    lambda x: torch.take_along_dim(x, x[:, :, :1].argmax(1, keepdim=True), -2),
    lambda x: torch.take_along_dim(x, x[0].argmax()),
]
SPREAD = [
    lambda x: torch.median(x, 1).values,
    lambda x: x.median(-2, keepdim=True),
    lambda x: x[:, 0].median(),
    lambda x: torch.cdist(x, x[:, :1] + 1),
    lambda x: torch.cdist(x, -x, p=1),
    lambda x: (x[:, 1:] - x[:, :-1]).sum(-1),
]
FOURIER = [
    lambda x: torch.fft.rfft(x, dim=1).abs(),
    lambda x: torch.view_as_real(torch.fft.fft(x, dim=1, norm="ortho")),
    lambda x: torch.fft.irfft(torch.fft.rfft(x, dim=1) * 1j, n=x.shape[1], dim=1),
    lambda x: torch.fft.irfft(torch.fft.rfft(x, norm="forward"), norm="forward"),
    lambda x: torch.fft.irfft(torch.fft.rfft(x, n=7), n=5),
    lambda x: torch.fft.ifft(torch.fft.fft(x, n=16, dim=1), n=3, dim=1).imag,
    lambda x: torch.fft.irfft2(torch.fft.rfft2(x) * 2, s=(x.shape[1], 4)),
    lambda x: torch.view_as_real(torch.fft.fft2(x)),
    lambda x: torch.fft.ifftn(torch.fft.fftn(x, dim=(1, 2)), dim=(1, 2)).real,
    lambda x: torch.fft.rfft(x, dim=1).abs().topk(2, dim=1).values,
    lambda x: x + torch.fft.rfftfreq(6, d=0.5, dtype=x.dtype),
    lambda x: x + torch.fft.fftfreq(x.shape[1], dtype=x.dtype)[:, None],
]


def mask_spectrum(x: Tensor, **options: Any) -> Tensor:
    """Through the frequencies and back, by windows that are shorter than the frame."""
    window = torch.hann_window(6, dtype=x.dtype) + 0.1
    shape: dict[str, Any] = {"n_fft": 8, "hop_length": 2, "win_length": 6, "window": window}
    signal = x.flatten(1)
    spectrum = torch.stft(signal, **shape, return_complex=True, **options)
    masked = spectrum * torch.sigmoid(spectrum.abs()) * (1 - 0.5j)
    return torch.istft(masked, **shape, length=signal.shape[1], **options)


SHORT_TIME = [
    lambda x: mask_spectrum(x),
    lambda x: mask_spectrum(x, normalized=True),
    lambda x: mask_spectrum(x, onesided=True),
]
RARE = [
    lambda x: torch.searchsorted(torch.tensor([-1.0, 0.0, 1.0], dtype=x.dtype), x),
    lambda x: torch.searchsorted(x.sort(-1).values, x.round(), right=True),
    lambda x: torch.isin(x.long(), torch.tensor([0, 1])),
    lambda x: x.kthvalue(2, dim=-1),
    lambda x: torch.scatter_reduce(x, 2, bins(x), x, "mean"),
    lambda x: x.scatter_reduce(2, bins(x), x, "mean", include_self=False),
    lambda x: x.scatter_reduce(2, bins(x), x, "amax"),
    lambda x: torch.masked_select(x, x[:, :, :1] > 0).sum(),
    lambda x: torch.masked_select(x[:, :, :1], x > -9).mean(),
    lambda x: torch.nn.functional.rrelu(x),
    lambda x: torch.hypot(x, x.flip(1)) + torch.copysign(x, x.flip(1)),
    lambda x: torch.fmax(x, torch.where(x > 0, x.flip(1), float("nan"))),
    lambda x: torch.kron(x[0], torch.eye(2, dtype=x.dtype)),
    lambda x: torch.linalg.multi_dot([x[0].t(), x[0], x[0].t()]),
]


def bins(x: Tensor) -> Tensor:
    return (x.abs() * 2).long().clamp(max=3)


@pytest.mark.parametrize("dtype", DIGITS, ids=str)
@pytest.mark.parametrize(
    "functions",
    [CUMULATIVE, SYSTEMS, NUMBERS, PICKED, SPREAD, FOURIER, SHORT_TIME, RARE],
    ids=["cumulative", "systems", "numbers", "picked", "spread", "fourier", "short time", "rare"],
)
def test_operators_equal_eager_torch_at_unseen_sizes(
    functions: list[Callable[[Tensor], Any]], dtype: torch.dtype, tmp_path: Path
) -> None:
    module = Applying(functions).eval()
    example = torch.randn(2, 6, 4, dtype=dtype)
    axes = [("batch", "time", None)]
    bundle = rnn_edge.export(module, example, tmp_path / "bundle", axes=axes)
    session = rnn_edge.Session(bundle)
    for batch, steps in ((3, 11), (1, 4), (5, 3)):
        x = torch.randn(
            batch, steps, 4, dtype=dtype, generator=torch.Generator().manual_seed(steps)
        )
        expected = module(x)
        for array, tensor in zip(session.run(x.numpy()), expected, strict=True):
            found = torch.from_numpy(array)
            tolerance = DIGITS[dtype]
            torch.testing.assert_close(found, tensor, rtol=tolerance, atol=tolerance)


def test_half_precision_keeps_its_type_and_sums(tmp_path: Path) -> None:
    """Answers of float16 that torch computes in float32, and sums at scattered places."""
    module = Applying([
        lambda x: x.abs(), lambda x: x.cumsum(1), lambda x: x.prod(-1),
        lambda x: torch.zeros_like(x).scatter_add(2, bins(x), x),
        lambda x: torch.zeros_like(x).index_add(2, torch.tensor([0, 0, 1, 3]), x),
    ])  # fmt: skip
    axes = [("batch", "time", None)]
    bundle = rnn_edge.export(module, torch.randn(2, 6, 4).half(), tmp_path / "bundle", axes=axes)
    x = torch.randn(3, 11, 4).half()
    for array, tensor in zip(rnn_edge.Session(bundle).run(x.numpy()), module(x), strict=True):
        torch.testing.assert_close(torch.from_numpy(array), tensor, rtol=3e-3, atol=3e-3)


def test_operator_without_a_form_is_named_without_torch_s_own_text(tmp_path: Path) -> None:
    module = Applying([lambda x: torch.linalg.pinv(x[:, :3, :3])])
    with pytest.raises(ExportError) as caught:
        rnn_edge.export(
            module, torch.randn(2, 6, 4), tmp_path / "b", axes=[("batch", "time", None)]
        )
    message = str(caught.value)
    assert "every operator of Applying must have an ONNX form" in message
    assert "there is none for aten.linalg_pinv" in message
    assert not any(part in message for part in ("OpOverload", "File", "/", "\n"))
