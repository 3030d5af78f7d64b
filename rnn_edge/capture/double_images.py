"""Pooling, resizing and transposed convolution of float64 tensors.

ONNX Runtime has no such kernels: all are written as sums, products and picked elements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_AVERAGES = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def _each(given: Any, rank: int) -> list[Any]:
    if not isinstance(given, Sequence):
        return [given] * rank
    return list(given) * rank if len(given) == 1 else list(given)


# --- Pooling ------------------------------------------------------------------------------------


def average(
    rank: int,
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window, as the sum of what each of its places sees."""
    if ceil_mode:
        plain = _AVERAGES[rank]
        return plain(input, kernel_size, stride, padding, True, count_include_pad)
    size = _each(kernel_size, rank)
    step = size if stride is None or stride in ([], ()) else _each(stride, rank)
    pads = _each(padding, rank)
    ones = input.new_ones((*[1] * (input.dim() - rank), *input.shape[-rank:]))
    counted, x = _pad(ones, pads, float(count_include_pad)), _pad(input, pads, 0.0)
    for place, dim in enumerate(range(-rank, 0)):
        x, counted = (each.unfold(dim - place, size[place], step[place]) for each in (x, counted))
    inside = list(range(-rank, 0))
    x, counted = x.sum(inside), counted.sum(inside)
    return x / (counted if divisor_override is None else divisor_override)


def _pad(x: Tensor, pads: Sequence[Any], value: float) -> Tensor:
    if not any(pads):
        return x
    return functional.pad(x, [pad for pad in reversed(pads) for _ in range(2)], value=value)


# --- Resizing -----------------------------------------------------------------------------------


def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """torch.nn.functional.interpolate by nearest places or lines, axis by axis."""
    linear = mode in ("linear", "bilinear", "trilinear")
    if antialias or not (linear or mode in ("nearest", "nearest-exact")):
        return functional.interpolate(
            input, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias
        )
    rank = input.dim() - 2
    sizes, factors = _each(size, rank), _each(scale_factor, rank)
    for dim, count, factor in zip(range(2, rank + 2), sizes, factors, strict=True):
        length = input.shape[dim]
        if count is None:
            count = torch.sym_int(length * factor)
            if recompute_scale_factor:
                factor = None
        step = 1 / factor if factor is not None else _ratio(length, count)
        places = torch.arange(count).to(input.dtype)
        if linear:
            input = _draw_lines(input, dim, _source(places, step, length, count, align_corners))
        else:
            at = (places + 0.5) * step if mode == "nearest-exact" else places * step
            index = torch.floor(at).to(torch.int64).clamp(max=length - 1)
            input = input.index_select(dim, index)
    return input


def _ratio(one: Any, other: Any) -> Tensor:
    first, second = (torch.scalar_tensor(each, dtype=torch.float64) for each in (one, other))
    return first / second


def _source(places: Tensor, step: Any, length: Any, count: Any, align_corners: Any) -> Tensor:
    if align_corners:
        return places * _ratio(length - 1, torch.sym_max(count - 1, 1))
    return ((places + 0.5) * step - 0.5).clamp(min=0)


def _draw_lines(x: Tensor, dim: int, at: Tensor) -> Tensor:
    last = x.shape[dim] - 1
    left = torch.floor(at).to(torch.int64).clamp(max=last)
    right = (left + 1).clamp(max=last)
    share = (at - left.to(at.dtype)).view([-1 if n == dim else 1 for n in range(x.dim())])
    return x.index_select(dim, left) * (1 - share) + x.index_select(dim, right) * share


# --- Transposed convolution ---------------------------------------------------------------------


def convolve_back(
    rank: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """The convolution of the input, zeros between its elements, with the kernel turned about."""
    strides, pads = _each(stride, rank), _each(padding, rank)
    more, gaps = _each(output_padding, rank), _each(dilation, rank)
    batched = input.dim() == rank + 2
    x = input if batched else input.unsqueeze(0)
    amounts: list[int] = []
    for place in range(rank):
        dim = place + 2
        x = _spread(x, dim, strides[place])
        reach = gaps[place] * (weight.shape[dim] - 1) - pads[place]
        amounts = [reach, reach + more[place], *amounts]
    x = functional.pad(x, amounts)
    turned = weight.flip([*range(2, rank + 2)])
    # [in, out of a group, *kernel] -> [out, in of a group, *kernel]
    by_group = turned.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    found = _CONVOLUTIONS[rank](x, by_group, bias, 1, 0, dilation, groups)
    return found if batched else found.squeeze(0)


def _spread(x: Tensor, dim: int, stride: int) -> Tensor:
    if stride == 1:
        return x
    parted = x.unsqueeze(dim + 1)
    zeros = torch.zeros_like(parted).repeat_interleave(stride - 1, dim + 1)
    whole = torch.cat([parted, zeros], dim + 1).flatten(dim, dim + 1)
    return whole.narrow(dim, 0, (x.shape[dim] - 1) * stride + 1)


def _of_rank(function: Callable[..., Tensor], rank: int) -> Callable[..., Tensor]:
    return lambda *args, **kwargs: function(rank, *args, **kwargs)


DOUBLES: dict[Callable[..., Any], Callable[..., Any]] = {
    functional.interpolate: interpolate,
    functional.avg_pool1d: _of_rank(average, 1),
    functional.avg_pool2d: _of_rank(average, 2),
    functional.avg_pool3d: _of_rank(average, 3),
    functional.conv_transpose1d: _of_rank(convolve_back, 1),
    functional.conv_transpose2d: _of_rank(convolve_back, 2),
    functional.conv_transpose3d: _of_rank(convolve_back, 3),
}
