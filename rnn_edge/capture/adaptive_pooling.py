"""Pooling into a fixed number of parts, whose bounds follow the size of the axis.

ONNX has no such operator. Where the size is a constant torch's own form is as good.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import statically_known_true

# (x, dim, the parts' first places, their ends) -> x with as many places along dim as parts
Pool: TypeAlias = Callable[[Tensor, int, Tensor, Tensor], Tensor]


def _average(x: Tensor, dim: int, first: Tensor, end: Tensor) -> Tensor:
    inside = _inside(first, end, x.shape[dim]).to(x.dtype)
    shares = inside / (end - first).to(x.dtype).unsqueeze(1)
    return torch.matmul(x.movedim(dim, -1), shares.t()).movedim(-1, dim)


def _maximum(x: Tensor, dim: int, first: Tensor, end: Tensor) -> Tensor:
    inside = _inside(first, end, x.shape[dim])
    spread = x.movedim(dim, -1).unsqueeze(-2)
    return spread.masked_fill(~inside, float("-inf")).amax(-1).movedim(-1, dim)


def _inside(first: Tensor, end: Tensor, length: Any) -> Tensor:
    """[parts, length]: which places belong to which part."""
    places = torch.arange(length)
    return (places >= first.unsqueeze(1)) & (places < end.unsqueeze(1))


def _pool(
    plain: Callable[..., Tensor],
    part: Pool,
    whole: Callable[..., Tensor],
    rank: int,
    input: Tensor,
    output_size: Any,
    return_indices: bool = False,
) -> Tensor:
    sizes = list(output_size) if isinstance(output_size, Sequence) else [output_size] * rank
    lengths = input.shape[-rank:]
    if return_indices or not any(isinstance(length, torch.SymInt) for length in lengths):
        return plain(input, output_size)
    for dim, size, length in zip(range(-rank, 0), sizes, lengths, strict=True):
        if size is None or statically_known_true(size == length):
            continue
        if statically_known_true(size == 1):
            input = whole(input, dim, keepdim=True)
            continue
        number = torch.arange(size)
        first = torch.div(number * length, size, rounding_mode="floor")
        end = torch.div((number + 1) * length + size - 1, size, rounding_mode="floor")
        input = part(input, dim, first, end)
    return input


def adaptive_pools() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Stand-ins for the functions of torch.nn.functional, all ranks, averages and maxima."""
    functional = torch.nn.functional
    averages = (
        functional.adaptive_avg_pool1d,
        functional.adaptive_avg_pool2d,
        functional.adaptive_avg_pool3d,
    )
    maxima = (
        functional.adaptive_max_pool1d,
        functional.adaptive_max_pool2d,
        functional.adaptive_max_pool3d,
    )
    found: dict[Callable[..., Any], Callable[..., Any]] = {}
    for rank, (average, maximum) in enumerate(zip(averages, maxima, strict=True), 1):
        found[average] = partial(_pool, average, _average, Tensor.mean, rank)
        found[maximum] = partial(_pool, maximum, _maximum, Tensor.amax, rank)
    return found
