"""Functions of torch that torch.onnx has no form for, or a wrong one, in terms of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def search_sorted(
    sorted_sequence: Tensor,
    input: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """torch.searchsorted: as many elements of the sequence as are smaller, or not larger."""
    values = torch.as_tensor(input, dtype=sorted_sequence.dtype)
    if sorter is not None:
        sorted_sequence = sorted_sequence.gather(-1, sorter)
    if sorted_sequence.dim() > 1:
        sorted_sequence = sorted_sequence.unsqueeze(-2)
    places = values.unsqueeze(-1)
    takes_equal = right or side == "right"
    before = sorted_sequence <= places if takes_equal else sorted_sequence < places
    return before.sum(-1).to(torch.int32 if out_int32 else torch.int64)


def is_in(
    elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False
) -> Tensor:
    """torch.isin by comparing all pairs."""
    one, other = torch.as_tensor(elements), torch.as_tensor(test_elements)
    found = (one.unsqueeze(-1) == other.flatten()).any(-1)
    return ~found if invert else found


def kth_value(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """torch.kthvalue by sorting."""
    values, places = (each.narrow(dim, k - 1, 1) for each in torch.sort(input, dim=dim))
    if not keepdim:
        values, places = values.squeeze(dim), places.squeeze(dim)
    return torch.return_types.kthvalue((values, places))


def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """torch.scatter_reduce; a mean is a sum over a count."""
    if reduce != "mean":
        return torch.scatter_reduce(input, dim, index, src, reduce, include_self=include_self)
    zeros = torch.zeros_like(input)
    count = zeros.scatter_add(dim, index, torch.ones_like(src))
    total = zeros.scatter_add(dim, index, src)
    if include_self:
        return (input + total) / (count + 1)
    return torch.where(count > 0, total / count.clamp(min=1), input)


def randomised_leaky_relu(
    input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, *_: Any, **__: Any
) -> Tensor:
    """torch.rrelu in eval mode."""
    return torch.where(input > 0, input, input * ((lower + upper) / 2))


def hypotenuse(input: Tensor, other: Tensor) -> Tensor:
    """torch.hypot; large numbers do not overflow."""
    one, two = input.abs(), other.abs()
    largest = torch.maximum(one, two)
    unit = torch.where(largest > 0, largest, torch.ones_like(largest))
    return largest * torch.sqrt((one / unit) ** 2 + (two / unit) ** 2)


def copy_sign(input: Tensor, other: Any) -> Tensor:
    """torch.copysign, with the plain zero for one without a sign."""
    size = input.abs()
    return torch.where(torch.as_tensor(other) < 0, -size, size)


def larger(input: Tensor, other: Tensor) -> Tensor:
    """torch.fmax, which prefers numbers to NaN."""
    return _prefer_numbers(torch.maximum(input, other), input, other)


def smaller(input: Tensor, other: Tensor) -> Tensor:
    """torch.fmin, which prefers numbers to NaN."""
    return _prefer_numbers(torch.minimum(input, other), input, other)


def _prefer_numbers(found: Tensor, one: Tensor, other: Tensor) -> Tensor:
    return torch.where(torch.isnan(one), other, torch.where(torch.isnan(other), one, found))


def kronecker(input: Tensor, other: Tensor) -> Tensor:
    """torch.kron of tensors that have as many axes."""
    if input.dim() != other.dim():
        return torch.kron(input, other)
    for axis in range(input.dim()):
        input, other = input.unsqueeze(2 * axis + 1), other.unsqueeze(2 * axis)
    product = input * other
    for axis in range(product.dim() // 2):
        product = product.flatten(axis, axis + 1)
    return product


def multiply_all(tensors: Any) -> Tensor:
    """torch.linalg.multi_dot from left to right: its own order compares sizes."""
    found, *others = tensors
    for other in others:
        found = torch.matmul(found, other)
    return found


RARE: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.searchsorted: search_sorted,
    torch.isin: is_in,
    torch.kthvalue: kth_value,
    Tensor.kthvalue: kth_value,
    torch.scatter_reduce: scatter_reduce,
    Tensor.scatter_reduce: scatter_reduce,
    torch.rrelu: randomised_leaky_relu,
    functional.rrelu: randomised_leaky_relu,
    torch.hypot: hypotenuse,
    Tensor.hypot: hypotenuse,
    torch.copysign: copy_sign,
    Tensor.copysign: copy_sign,
    torch.fmax: larger,
    Tensor.fmax: larger,
    torch.fmin: smaller,
    Tensor.fmin: smaller,
    torch.kron: kronecker,
    Tensor.kron: kronecker,
    torch.linalg.multi_dot: multiply_all,
}
