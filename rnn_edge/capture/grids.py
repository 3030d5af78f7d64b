"""Sampling grids and image patches, whose forms in torch settle the sizes that they follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """torch.nn.functional.affine_grid; ``size`` is [batch, channels, *axes], 2 or 3 axes."""
    axes = [_places(count, theta, bool(align_corners)) for count in size[2:]]
    rank = len(axes)
    spread = [
        axis.view([-1 if place == dim else 1 for dim in range(rank)]).expand(list(size[2:]))
        for place, axis in enumerate(axes)
    ]
    # x is the last axis, and 1 stands for the shift.
    points = torch.stack([*reversed(spread), torch.ones_like(spread[0])], -1)
    grid = torch.matmul(points.reshape(1, -1, rank + 1), theta.transpose(1, 2))
    return grid.reshape(size[0], *size[2:], rank)


def _places(count: Any, like: Tensor, align_corners: bool) -> Tensor:
    """``count`` places from -1 to 1: corners, or the middles of as many parts."""
    at = torch.arange(count, dtype=like.dtype, device=like.device)
    if not align_corners:
        return (2 * at + 1) / count - 1
    last = torch.scalar_tensor(count - 1, dtype=like.dtype)
    return torch.where(last > 0, 2 * at / last.clamp(min=1) - 1, torch.zeros_like(at))


def unfold(
    input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """torch.nn.functional.unfold, also with a window that is as long as the input."""
    window = _pair(kernel_size)
    if not any(isinstance(size, torch.SymInt) for size in window):
        return functional.unfold(input, kernel_size, dilation, padding, stride)
    dilations, pads, strides = _pair(dilation), _pair(padding), _pair(stride)
    x = functional.pad(input, (pads[1], pads[1], pads[0], pads[0]))
    for dim, size, step, gap in zip((2, 4), window, strides, dilations, strict=True):
        x = _look(x, dim, size, step, gap)
    # [batch, channels, rows, window, columns, window]
    batch, channels, rows, height, columns, width = x.shape
    patches = x.permute(0, 1, 3, 5, 2, 4)
    return patches.reshape(batch, channels * height * width, rows * columns)


def fold(
    input: Tensor,
    output_size: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
) -> Tensor:
    """torch.nn.functional.fold; in float64 patches are added up at the numbers of their places."""
    if input.dtype != torch.float64:
        return functional.fold(input, output_size, kernel_size, dilation, padding, stride)
    size, window = _pair(output_size), _pair(kernel_size)
    pads, strides, dilations = _pair(padding), _pair(stride), _pair(dilation)
    whole = [count + 2 * pad for count, pad in zip(size, pads, strict=True)]
    rows, columns = (
        gap * torch.arange(size).unsqueeze(1)
        + step * torch.arange((count - gap * (size - 1) - 1) // step + 1)
        for size, step, gap, count in zip(window, strides, dilations, whole, strict=True)
    )
    # [window, window, rows, columns]
    places = rows[:, None, :, None] * whole[1] + columns[None, :, None, :]
    x = input if input.dim() == 3 else input.unsqueeze(0)
    patches = x.reshape(x.shape[0], x.shape[1] // (window[0] * window[1]), -1)
    index = places.reshape(1, 1, -1).expand(patches.shape)
    empty = patches.new_zeros(patches.shape[0], patches.shape[1], whole[0] * whole[1])
    image = empty.scatter_add(2, index, patches).unflatten(2, (whole[0], whole[1]))
    image = image[:, :, pads[0] : pads[0] + size[0], pads[1] : pads[1] + size[1]]
    return image if input.dim() == 3 else image.squeeze(0)


def _look(x: Tensor, dim: int, size: Any, step: Any, gap: Any) -> Tensor:
    """``x`` with its axis ``dim`` as windows, and as places in a window behind it."""
    count = (x.shape[dim] - gap * (size - 1) - 1) // step + 1
    places = step * torch.arange(count).unsqueeze(1) + gap * torch.arange(size)
    found = x.index_select(dim, places.reshape(-1))
    return found.unflatten(dim, (count, size))


def _pair(given: Any) -> list[Any]:
    if not isinstance(given, Sequence):
        return [given, given]
    return [given[0], given[0]] if len(given) == 1 else list(given)
