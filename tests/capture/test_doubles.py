"""Functions of float64 tensors that are written out: as torch, and as files, to 12 digits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import rnn_edge
from rnn_edge.capture import double_images, doubles, grids

DIGITS: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}
WIDE = torch.tensor([0.0, 1e-9, 0.3, 0.84, 1.0, 1.3, 2.5, 6.5, 30.0, 700.0], dtype=torch.float64)
WIDE = torch.cat([WIDE, -WIDE])
UNIT = torch.linspace(-1, 1, 41, dtype=torch.float64)
IN_UNIT = ("asin", "acos")
INSIDE_UNIT = ("atanh",)


@pytest.mark.parametrize(
    "name",
    [
        "erf",
        "erfc",
        "atan",
        "tan",
        "asin",
        "acos",
        "sinh",
        "cosh",
        "asinh",
        "atanh",
        "deg2rad",
        "rad2deg",
        "sinc",
    ],
)
def test_function_of_one_number_equals_torch(name: str) -> None:
    x = UNIT if name in IN_UNIT else UNIT[1:-1] if name in INSIDE_UNIT else WIDE
    found, expected = getattr(doubles, name)(x), getattr(torch, name)(x)
    torch.testing.assert_close(found, expected, **DIGITS)


@pytest.mark.parametrize("name", ["acosh", "log2", "log10"])
def test_function_of_large_numbers_equals_torch(name: str) -> None:
    x = 1 + WIDE.abs()
    torch.testing.assert_close(getattr(doubles, name)(x), getattr(torch, name)(x), **DIGITS)


def test_angle_equals_torch_on_all_sides() -> None:
    y, x = torch.meshgrid(WIDE, WIDE, indexing="ij")
    expected = torch.atan2(y + 0.0, x + 0.0)
    # Of a zero with a minus sign there is nothing in a graph.
    known = ~((y == 0) & (x <= 0))
    torch.testing.assert_close(doubles.atan2(y, x)[known], expected[known], **DIGITS)
    assert doubles.atan2(y, x)[(y == 0) & (x == 0)].eq(0).all()


@pytest.mark.parametrize("options", [{}, {"alpha": 0.3}])
def test_activations_equal_torch(options: dict[str, Any]) -> None:
    for name in ("elu", "celu", *(() if options else ("selu", "hardsigmoid", "hardswish", "gelu"))):
        expected = getattr(functional, name)(WIDE, **options)
        torch.testing.assert_close(getattr(doubles, name)(WIDE, **options), expected, **DIGITS)


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolution_equals_torch(
    stride: int, padding: int, dilation: int, groups: int
) -> None:
    x = torch.randn(2, 4, 7, 5, dtype=torch.float64)
    weight = torch.randn(4, 3, 3, 2, dtype=torch.float64)
    bias = torch.randn(3 * groups, dtype=torch.float64)
    more = min(stride, dilation) - 1 if stride > 1 else 0
    rest = (stride, padding, more, groups, dilation)
    expected = functional.conv_transpose2d(x, weight, bias, *rest)
    found = double_images.convolve_back(2, x, weight, bias, *rest)
    torch.testing.assert_close(found, expected, **DIGITS)
    expected = functional.conv_transpose1d(x[0, ..., 0], weight[..., 0], bias, *rest)
    found = double_images.convolve_back(1, x[0, ..., 0], weight[..., 0], bias, *rest)
    torch.testing.assert_close(found, expected, **DIGITS)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "linear"])
@pytest.mark.parametrize(
    "wanted",
    [{"scale_factor": 2}, {"scale_factor": 1.7}, {"scale_factor": 0.4}, {"size": 9}, {"size": 3}],
    ids=str,
)
@pytest.mark.parametrize("align_corners", [None, True])
def test_resizing_equals_torch(mode: str, wanted: Any, align_corners: bool | None) -> None:
    if align_corners and mode != "linear":
        return
    x = torch.randn(2, 3, 7, dtype=torch.float64)
    options = {**wanted, "mode": mode, "align_corners": align_corners}
    expected = functional.interpolate(x, **options)
    torch.testing.assert_close(double_images.interpolate(x, **options), expected, **DIGITS)


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("divisor", [None, 5])
def test_averages_equal_torch(counts: bool, divisor: int | None) -> None:
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64)
    rest = ((3, 2), (2, 1), (1, 0), False, counts, divisor)
    expected = functional.avg_pool2d(x, *rest)
    torch.testing.assert_close(double_images.average(2, x, *rest), expected, **DIGITS)


def test_folding_equals_torch() -> None:
    x = torch.randn(2, 3 * 6, 20, dtype=torch.float64)
    options: Any = {"output_size": (9, 7), "kernel_size": (3, 2), "padding": (1, 0),
                    "stride": (2, 2), "dilation": (1, 2)}  # fmt: skip
    patches = functional.unfold(torch.zeros(2, 3, 9, 7), *[options[n] for n in
                                ("kernel_size", "dilation", "padding", "stride")])  # fmt: skip
    x = x[..., :1].expand(-1, -1, patches.shape[-1]).clone()
    torch.testing.assert_close(grids.fold(x, **options), functional.fold(x, **options), **DIGITS)


class Functions(nn.Module):
    """Those that a file would lose digits of, or could not hold, around a GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.AvgPool1d(2, 1, 1), nn.GroupNorm(2, 4), nn.GELU())
        self.up = nn.ConvTranspose1d(4, 4, 3, stride=2, padding=1)
        self.norm = nn.InstanceNorm1d(4, affine=True)
        self.attend = nn.TransformerEncoderLayer(4, 2, 6, 0.0, batch_first=True)
        self.rnn = nn.GRU(4, 3, batch_first=True)

    def forward(self, x: Tensor) -> list[Tensor]:
        y = self.norm(self.up(self.down(x.transpose(1, 2))))
        y = functional.interpolate(y, scale_factor=1.5, mode="linear")
        y = functional.interpolate(y, size=x.shape[1]).transpose(1, 2)
        y = functional.leaky_relu(self.attend(y))
        squares = torch.addcmul(y, y, y, value=0.3)
        scores = torch.softmax(0.3 * torch.matmul(y, y.transpose(1, 2)), -1)
        heads = functional.scaled_dot_product_attention(y, y, y, is_causal=True, scale=0.3)
        spectrum = torch.fft.rfft(y, dim=1)
        return [self.rnn(y)[0], squares, scores, heads, torch.atan2(y, squares), spectrum.angle()]


def test_functions_keep_their_digits_in_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Functions().double().eval()
    example = torch.randn(2, 6, 4, dtype=torch.float64)
    axes = [("batch", "sequence", None)]
    bundle = rnn_edge.export(module, example, tmp_path / "bundle", axes=axes)
    session = rnn_edge.Session(bundle)
    for batch, steps in ((1, 2), (3, 11)):
        x = torch.randn(batch, steps, 4, dtype=torch.float64)
        with torch.no_grad():
            expected = module(x)
        for array, tensor in zip(session.run(x.numpy()), expected, strict=True):
            torch.testing.assert_close(torch.from_numpy(array), tensor, rtol=1e-9, atol=1e-10)


def test_every_function_is_found_by_its_names() -> None:
    names: list[Callable[..., Any]] = [torch.erf, Tensor.erf, torch.special.erf, torch.arctan]
    assert {*names, torch.atan, functional.gelu} <= doubles.DOUBLES.keys()
