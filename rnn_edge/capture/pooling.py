"""Max pooling over time: torch.export takes the length for a constant in the form for one axis."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def max_pool1d(
    input: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """torch.max_pool1d, or the function of torch.nn, in the form for two axes: one row."""
    assert not return_indices, "torch.nn calls another function for indices"
    size = _as_number(kernel_size)
    step = size if stride is None or stride in ([], ()) else _as_number(stride)
    pooled = torch.max_pool2d(
        input.unsqueeze(-2),
        (1, size),
        (1, step),
        (0, _as_number(padding)),
        (1, _as_number(dilation)),
        ceil_mode,
    )
    return pooled.squeeze(-2)


def _as_number(given: int | Sequence[int]) -> int:
    return given if isinstance(given, int) else given[0]
