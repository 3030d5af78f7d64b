"""What each operator does to complex numbers, in terms of their real and imaginary parts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rnn_edge.capture import doubles
from rnn_edge.capture.rolling.keeping import KEEP

_ATEN = torch.ops.aten
_REAL_TYPES = {
    torch.complex32: torch.float16,
    torch.complex64: torch.float32,
    torch.complex128: torch.float64,
}


class Pair:
    """A complex tensor; a part may be a number, 0.0 where there is none."""

    def __init__(self, real: Any, imag: Any) -> None:
        self.real, self.imag = real, imag

    @property
    def tensor(self) -> Tensor:
        """The part that is a tensor of the shape of the whole."""
        found: Tensor = self.real if isinstance(self.real, Tensor) else self.imag
        return found


def as_pair(value: Any) -> Pair:
    if isinstance(value, Pair):
        return value
    return Pair(value.real, value.imag) if isinstance(value, complex) else Pair(value, 0.0)


def _is_zero(part: Any) -> bool:
    return not isinstance(part, Tensor) and part == 0


def _times(one: Any, other: Any) -> Any:
    return 0.0 if _is_zero(one) or _is_zero(other) else one * other


def full_pair(pair: Pair) -> Pair:
    """Both parts as tensors of one shape."""
    like = pair.tensor
    parts = (
        p if isinstance(p, Tensor) else torch.full_like(like, p) for p in (pair.real, pair.imag)
    )
    return Pair(*parts)


# --- Operators that do the same to both parts ---------------------------------------------------

_LINEAR_NAMES = frozenset(
    (
        "view", "reshape", "_unsafe_view", "permute", "transpose", "t", "select", "slice", "narrow",
        "unsqueeze", "squeeze", "expand", "repeat", "flip", "roll", "clone", "contiguous", "alias",
        "detach", "detach_", "lift_fresh_copy", "flatten", "unflatten", "movedim", "unbind",
        "split", "chunk", "split_with_sizes", "stack", "cat", "concat", "neg", "sum", "mean",
        "cumsum",
        "diagonal", "diag_embed", "tril", "triu", "index", "index_select", "gather", "unfold",
        "constant_pad_nd", "pad", "select_scatter", "slice_scatter", "copy", "expand_as", "view_as",
        "repeat_interleave", "masked_select", "swapaxes", "tile", "reshape_as", "as_strided",
    )
)  # fmt: skip


def is_linear(target: Any) -> bool:
    """Whether ``target`` only moves elements about, or adds them up."""
    schema = getattr(target, "_schema", None)
    return schema is not None and schema.name.rpartition("::")[2] in _LINEAR_NAMES


def apply_to_both(target: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    real = target(*_part(args, True), **_part(kwargs, True))
    imag = target(*_part(args, False), **_part(kwargs, False))
    if isinstance(real, (list, tuple)):
        return [Pair(one, other) for one, other in zip(real, imag, strict=True)]
    return Pair(real, imag)


def _part(value: Any, real: bool) -> Any:
    if isinstance(value, Pair):
        full = full_pair(value)
        return full.real if real else full.imag
    if isinstance(value, dict):
        return {key: _part(item, real) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        # A real tensor among complex ones has no imaginary part.
        joins = any(isinstance(item, Pair) for item in value)
        return type(value)(
            torch.zeros_like(item)
            if not real and _joined(item, joins, value)
            else _part(item, real)
            for item in value
        )
    return value


def _joined(item: Any, joins: bool, among: Any) -> bool:
    return joins and isinstance(among, list) and isinstance(item, Tensor)


# --- Arithmetic ---------------------------------------------------------------------------------


def add(_: Any, one: Any, other: Any, alpha: Any = 1) -> Pair:
    a, b = as_pair(one), as_pair(other)
    return Pair(a.real + _times(alpha, b.real), a.imag + _times(alpha, b.imag))


def subtract(_: Any, one: Any, other: Any, alpha: Any = 1) -> Pair:
    return add(_, one, other, -alpha)


def multiply(_: Any, one: Any, other: Any) -> Pair:
    return bilinear(_times, one, other)


def bilinear(product: Callable[[Any, Any], Any], one: Any, other: Any) -> Pair:
    """A product that is linear in both, of pairs."""
    a, b = as_pair(one), as_pair(other)

    def times(x: Any, y: Any) -> Any:
        return 0.0 if _is_zero(x) or _is_zero(y) else product(x, y)

    return Pair(
        times(a.real, b.real) - times(a.imag, b.imag), times(a.real, b.imag) + times(a.imag, b.real)
    )


def divide(_: Any, one: Any, other: Any) -> Pair:
    a, b = as_pair(one), as_pair(other)
    if _is_zero(b.imag):
        return Pair(a.real / b.real, a.imag if _is_zero(a.imag) else a.imag / b.real)
    return multiply(_, a, invert(_, b))


def invert(_: Any, x: Pair) -> Pair:
    size = x.real * x.real + x.imag * x.imag
    return Pair(x.real / size, -x.imag / size)


def exponential(_: Any, x: Pair) -> Pair:
    x = full_pair(x)
    return polar(_, torch.exp(x.real), x.imag)


def polar(_: Any, size: Tensor, angle: Tensor) -> Pair:
    return Pair(size * torch.cos(angle), size * torch.sin(angle))


def logarithm(_: Any, x: Pair) -> Pair:
    return Pair(torch.log(absolute(_, x)), angle_of(_, x))


def absolute(_: Any, x: Pair) -> Tensor:
    x = full_pair(x)
    return torch.sqrt(x.real * x.real + x.imag * x.imag)


def angle_of(_: Any, x: Pair) -> Tensor:
    x = full_pair(x)
    is_double = x.tensor.dtype == torch.float64
    return (doubles.atan2 if is_double else torch.atan2)(x.imag, x.real)


def square_root(_: Any, x: Pair) -> Pair:
    return polar(_, torch.sqrt(absolute(_, x)), angle_of(_, x) / 2)


# Whole powers up to this one are products, which are the most exact.
_MOST_PRODUCTS = 8


def power(_: Any, base: Any, exponent: Any) -> Pair:
    if isinstance(exponent, int) and 1 <= exponent <= _MOST_PRODUCTS:
        found = as_pair(base)
        for _count in range(exponent - 1):
            found = multiply(_, found, base)
        return found
    if isinstance(base, complex):
        size, angle = abs(base), math.atan2(base.imag, base.real)
        return exponential(_, multiply(_, Pair(math.log(size), angle), exponent))
    return exponential(_, multiply(_, logarithm(_, as_pair(base)), exponent))


def conjugate(_: Any, x: Pair) -> Pair:
    return Pair(x.real, -x.imag) if isinstance(x, Pair) else as_pair(x)


def multiply_matrices(target: Callable[..., Any], one: Any, other: Any) -> Pair:
    return bilinear(target, one, other)


def linear(_: Any, x: Any, weight: Any, bias: Any = None) -> Pair:
    found = bilinear(torch.nn.functional.linear, x, weight)
    return found if bias is None else add(_, found, bias)


def add_product(_: Any, bias: Any, one: Any, other: Any, *, beta: Any = 1, alpha: Any = 1) -> Pair:
    product = bilinear(torch.matmul, one, other)
    return add(_, multiply(_, bias, beta), product, alpha)


def einsum(target: Any, equation: str, tensors: Any, **kwargs: Any) -> Pair:
    if len(tensors) == 1:
        return apply_to_both(target, equation, list(tensors), **kwargs)
    if len(tensors) > 2:
        raise NotImplementedError(equation)
    return bilinear(lambda a, b: torch.einsum(equation, a, b), *tensors)


def choose(target: Callable[..., Any], condition: Tensor, one: Any, other: Any) -> Pair:
    a, b = as_pair(one), as_pair(other)
    return Pair(torch.where(condition, a.real, b.real), torch.where(condition, a.imag, b.imag))


def fill_masked(_: Any, x: Any, mask: Tensor, value: Any) -> Pair:
    x, value = full_pair(as_pair(x)), as_pair(value)
    return Pair(torch.where(mask, value.real, x.real), torch.where(mask, value.imag, x.imag))


# --- From real to complex and back --------------------------------------------------------------


def convert(_: Any, x: Any, dtype: torch.dtype | None = None, *__: Any, **kwargs: Any) -> Any:
    dtype = kwargs.get("dtype", dtype)
    if dtype is None:
        return x
    if not dtype.is_complex:
        return full_pair(x).real.to(dtype)
    pair, real = as_pair(x), _REAL_TYPES[dtype]
    return Pair(*(part.to(real) if isinstance(part, Tensor) else part for part in
                  (pair.real, pair.imag)))  # fmt: skip


def make_filled(target: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """zeros(), full() and their kin of a complex type."""
    args = tuple(arg.tensor if isinstance(arg, Pair) else arg for arg in args)
    dtype = kwargs.get("dtype")
    if dtype is not None and not dtype.is_complex:
        return target(*args, **kwargs)
    if dtype is not None:
        kwargs = {**kwargs, "dtype": _REAL_TYPES[dtype]}
    number = next((arg for arg in args if isinstance(arg, complex)), None)
    if number is None:
        real = target(*args, **kwargs)
        # A tensor: a state that begins as zeros has both parts in each iteration.
        return Pair(real, torch.zeros_like(real))
    parts = (
        target(*(part if isinstance(arg, complex) else arg for arg in args), **kwargs)
        for part in (number.real, number.imag)
    )
    return Pair(*parts)


def view_as_real(_: Any, x: Pair) -> Tensor:
    x = full_pair(x)
    return torch.stack([x.real, x.imag], -1)


def view_as_complex(_: Any, x: Tensor) -> Pair:
    return Pair(x.select(-1, 0), x.select(-1, 1))


def keep(_: Any, x: Pair) -> None:
    KEEP(x.tensor)


def size_of(target: Callable[..., Any], x: Pair, *args: Any) -> Any:
    return target(x.tensor, *args)


_Rule = Callable[..., Any]
RULES: dict[Any, _Rule] = {
    KEEP: keep,
    _ATEN.sym_size.int: size_of,
    _ATEN.add.Tensor: add,
    _ATEN.add.Scalar: add,
    _ATEN.sub.Tensor: subtract,
    _ATEN.sub.Scalar: subtract,
    _ATEN.rsub.Scalar: lambda _, one, other, alpha=1: subtract(_, other, one, alpha),
    _ATEN.mul.Tensor: multiply,
    _ATEN.mul.Scalar: multiply,
    _ATEN.div.Tensor: divide,
    _ATEN.div.Scalar: divide,
    _ATEN.reciprocal.default: invert,
    _ATEN.exp.default: exponential,
    _ATEN.log.default: logarithm,
    _ATEN.abs.default: absolute,
    _ATEN.angle.default: angle_of,
    _ATEN.sqrt.default: square_root,
    _ATEN.square.default: lambda _, x: multiply(_, x, x),
    _ATEN.pow.Tensor_Scalar: power,
    _ATEN.pow.Tensor_Tensor: power,
    _ATEN.pow.Scalar: power,
    _ATEN.conj.default: conjugate,
    _ATEN._conj.default: conjugate,
    _ATEN.conj_physical.default: conjugate,
    _ATEN.resolve_conj.default: lambda _, x: x,
    _ATEN.resolve_neg.default: lambda _, x: x,
    _ATEN.matmul.default: multiply_matrices,
    _ATEN.mm.default: multiply_matrices,
    _ATEN.bmm.default: multiply_matrices,
    _ATEN.mv.default: multiply_matrices,
    _ATEN.linear.default: linear,
    _ATEN.addmm.default: add_product,
    _ATEN.einsum.default: einsum,
    _ATEN.where.self: choose,
    _ATEN.masked_fill.Scalar: fill_masked,
    _ATEN.masked_fill.Tensor: fill_masked,
    _ATEN.to.dtype: convert,
    _ATEN._to_copy.default: convert,
    _ATEN.zeros.default: make_filled,
    _ATEN.ones.default: make_filled,
    _ATEN.full.default: make_filled,
    _ATEN.zeros_like.default: make_filled,
    _ATEN.ones_like.default: make_filled,
    _ATEN.full_like.default: make_filled,
    _ATEN.new_zeros.default: make_filled,
    _ATEN.new_ones.default: make_filled,
    _ATEN.new_full.default: make_filled,
    _ATEN.scalar_tensor.default: make_filled,
    _ATEN.empty.memory_format: make_filled,
    _ATEN.real.default: lambda _, x: full_pair(x).real if isinstance(x, Pair) else x,
    _ATEN.imag.default: lambda _, x: full_pair(x).imag,
    _ATEN.view_as_real.default: view_as_real,
    _ATEN.view_as_complex.default: view_as_complex,
    _ATEN.complex.default: lambda _, real, imag: Pair(real, imag),
    _ATEN.polar.default: polar,
}
