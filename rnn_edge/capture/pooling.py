"""Pooling whose window follows a size, and max pooling in one axis.

torch.export takes a window for a constant: one that is as long as its axis is a reduction instead.
It also takes the length for a constant in max pooling's form for one axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import statically_known_true

from rnn_edge.errors import ExportError

Sizes: TypeAlias = Any  # one number for all axes, or one for each

_avg_pool2d = torch._C._nn.avg_pool2d
# (x, window, stride, padding, ...) -> the pooled x, in two axes
Pool: TypeAlias = Callable[..., Tensor]


def max_pool1d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """torch.max_pool1d, or the function of torch.nn, in the form for two axes: one row."""
    assert not return_indices, "torch.nn calls another function for indices"
    size = _as_number(kernel_size)
    step = size if stride is None or stride in ([], ()) else _as_number(stride)
    if _is_whole(size, input.shape[-1], padding):
        return input.amax(-1, keepdim=True)
    pooled = torch.max_pool2d(
        input.unsqueeze(-2),
        (1, size),
        (1, step),
        (0, _as_number(padding)),
        (1, _as_number(dilation)),
        ceil_mode,
    )
    return pooled.squeeze(-2)


def avg_pool1d(
    input: Tensor, kernel_size: Sizes, stride: Sizes = None, padding: Sizes = 0, *rest: Any,
    **options: Any,
) -> Tensor:  # fmt: skip
    """torch.avg_pool1d; a window as long as the axis is its mean."""
    size = _as_number(kernel_size)
    if _is_whole(size, input.shape[-1], padding):
        return input.mean(-1, keepdim=True)
    given = [] if stride is None else [stride]
    if padding:
        options["padding"] = padding
    if rest:
        return torch.avg_pool1d(input, kernel_size, stride, padding, *rest)
    return torch.avg_pool1d(input, kernel_size, *given, **options)


def max_pool2d(
    input: Tensor, kernel_size: Sizes, stride: Sizes = None, padding: Sizes = 0,
    dilation: Sizes = 1, ceil_mode: bool = False, return_indices: bool = False,
) -> Tensor:  # fmt: skip
    """torch.max_pool2d, or the function of torch.nn."""
    assert not return_indices, "torch.nn calls another function for indices"
    input, size, step = _reduce(input, kernel_size, stride, padding, Tensor.amax)
    return torch.max_pool2d(input, size, step, padding, dilation, ceil_mode)


def avg_pool2d(
    input: Tensor, kernel_size: Sizes, stride: Sizes = None, padding: Sizes = 0, *rest: Any,
    **options: Any,
) -> Tensor:  # fmt: skip
    """torch.nn.functional.avg_pool2d."""
    input, size, step = _reduce(input, kernel_size, stride, padding, Tensor.mean)
    return _avg_pool2d(input, size, step, padding, *rest, **options)


def _reduce(
    x: Tensor, window: Sizes, stride: Sizes, padding: Sizes, reduction: Callable[..., Tensor]
) -> tuple[Tensor, list[int], list[int]]:
    """``x`` with the axes that a symbolic window covers reduced; the window and stride left."""
    size = _as_pair(window)
    step = list(size) if stride is None or stride in ([], ()) else _as_pair(stride)
    for place, dim in enumerate((-2, -1)):
        if _is_whole(size[place], x.shape[dim], _as_pair(padding)[place]):
            x = reduction(x, dim, keepdim=True)
            size[place] = step[place] = 1
    return x, size, step


def _is_whole(size: Any, length: Any, padding: Sizes) -> bool:
    """Whether a window whose size follows the input's covers all of its axis."""
    if not isinstance(size, torch.SymInt):
        return False
    if statically_known_true(size == length) and _as_number(padding) == 0:
        return True
    raise ExportError(
        f"a pooling window must be a number or as long as the axis to be exported, got {size} of "
        f"{length}. Pool over the whole axis, or with a window of fixed size."
    )


def _as_pair(given: Sizes) -> list[Any]:
    if not isinstance(given, Sequence):
        return [given, given]
    return [given[0], given[0]] if len(given) == 1 else list(given)


def _as_number(given: Sizes) -> Any:
    return given[0] if isinstance(given, Sequence) else given
