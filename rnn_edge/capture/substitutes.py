"""Torch functions in terms of others, which follow every size and have an ONNX form."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import statically_known_true


def invert(a: Tensor, **kwargs: Any) -> Tensor:
    """torch.linalg.inv without its check of every matrix, which is no part of a graph."""
    inverse: Tensor = torch.linalg.inv_ex(a, **kwargs)[0]
    return inverse


def solve(a: Tensor, b: Tensor, *, left: bool = True, **kwargs: Any) -> Tensor:
    """torch.linalg.solve without its check of every matrix, which is no part of a graph."""
    solution: Tensor = torch.linalg.solve_ex(a, b, left=left, **kwargs)[0]
    return solution


def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None, **kwargs: Any) -> Tensor:
    """As gather(): torch's own form compares the sizes of both, which would fix them."""
    if dim is None:
        return torch.gather(input.flatten(), 0, indices.flatten(), **kwargs)
    dim %= input.dim()
    return torch.gather(_spread(input, indices, dim), dim, _spread(indices, input, dim), **kwargs)


def _spread(x: Tensor, other: Tensor, dim: int) -> Tensor:
    """``x`` repeated to the sizes of ``other`` where it has one, but along ``dim``."""
    sizes = [
        theirs if axis != dim and statically_known_true(own == 1) else own
        for axis, (own, theirs) in enumerate(zip(x.shape, other.shape, strict=True))
    ]
    return x.expand(sizes)


def space_evenly(
    start: Any, end: Any, steps: Any, *, dtype: torch.dtype | None = None, **kwargs: Any
) -> Tensor:
    """torch.linspace from positions: its own form takes the number of steps for a constant."""
    if isinstance(start, Tensor) or isinstance(end, Tensor) or not _is_real(dtype):
        return torch.linspace(start, end, steps, dtype=dtype, **kwargs)
    dtype = dtype or torch.get_default_dtype()
    places = torch.arange(steps, dtype=dtype, **kwargs)
    last = torch.scalar_tensor(steps - 1, dtype=dtype)
    step = (end - start) / last.clamp(min=1)
    # From both ends, as torch does it, so that both are exact.
    return torch.where(places < steps / 2, start + step * places, end - step * (last - places))


def _is_real(dtype: torch.dtype | None) -> bool:
    return dtype is None or dtype.is_floating_point


def frequencies(n: Any, d: float = 1.0, **kwargs: Any) -> Tensor:
    """torch.fft.fftfreq from positions."""
    places = torch.arange(n)
    middle = (n + 1) // 2
    turned = torch.where(places < middle, places, places - n)
    return _as_frequencies(turned, n, d, **kwargs)


def half_frequencies(n: Any, d: float = 1.0, **kwargs: Any) -> Tensor:
    """torch.fft.rfftfreq from positions."""
    return _as_frequencies(torch.arange(n // 2 + 1), n, d, **kwargs)


def _as_frequencies(
    places: Tensor, n: Any, d: float, dtype: torch.dtype | None = None, **_: Any
) -> Tensor:
    dtype = dtype or torch.get_default_dtype()
    return places.to(dtype) / (torch.scalar_tensor(n, dtype=dtype) * d)


def distances(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str | None = None) -> Tensor:
    """torch.cdist from the differences of all pairs, which is also its most exact form."""
    return torch.linalg.vector_norm(x1.unsqueeze(-2) - x2.unsqueeze(-3), p, -1)


def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """torch.median by sorting; of two values in the middle torch takes the lower."""
    if dim is None:
        flat = input.flatten()
        return torch.sort(flat)[0].select(0, (flat.shape[0] - 1) // 2)
    middle = (input.shape[dim] - 1) // 2
    values, places = (each.narrow(dim, middle, 1) for each in torch.sort(input, dim=dim))
    if not keepdim:
        values, places = values.squeeze(dim), places.squeeze(dim)
    return torch.return_types.median((values, places))


def squeeze(input: Tensor, *dims: Any, **kwargs: Any) -> Tensor:
    """torch.squeeze; without ``dim``, of the axes that have one element at every size."""
    if dims or kwargs:
        return torch.squeeze(input, *dims, **kwargs)
    single = [dim for dim, size in enumerate(input.shape) if statically_known_true(size == 1)]
    return input.squeeze(single) if single else input


def share_data(input: Tensor, *_: Any) -> Tensor:
    """``input.data``, which tracing would take for a constant: nothing here has a gradient."""
    return input


def assume_valid(_: Tensor) -> bool:
    """torch.distributions asks whether its parameters are allowed: a graph raises no error."""
    return True
