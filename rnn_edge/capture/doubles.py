"""Functions of float64 tensors that ONNX Runtime has no kernel for, or that lose digits in a file.

ONNX keeps numbers of its operators as float32, which costs a float64 module half of its digits:
such functions are written out, their numbers as float64 constants. Where a kernel knows float32
alone its answer is refined. All are exact to about 1e-15 of the largest value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

# The places and weights of a Gauss-Legendre rule on [0, 1], enough for erf up to where it is 1.
_RULE = np.polynomial.legendre.leggauss(40)
_ERF_IS_ONE = 6.0
_LARGEST = 1e300


def erf(input: Tensor) -> Tensor:
    """The integral of exp(-t^2) from 0 on, by a rule that is exact to double precision."""
    places = torch.tensor((_RULE[0] + 1) / 2, dtype=torch.float64)
    weights = torch.tensor(_RULE[1] / math.sqrt(math.pi), dtype=torch.float64)
    x = input.clamp(-_ERF_IS_ONE, _ERF_IS_ONE)
    inside = x.unsqueeze(-1) * places
    found = x * torch.matmul(torch.exp(-inside * inside), weights)
    return torch.where(input.abs() < _ERF_IS_ONE, found, torch.sign(input))


def erfc(input: Tensor) -> Tensor:
    return 1 - erf(input)


def gelu(input: Tensor, *, approximate: str = "none") -> Tensor:
    if approximate == "tanh":
        inner = math.sqrt(2 / math.pi) * (input + 0.044715 * input * input * input)
        return 0.5 * input * (1 + torch.tanh(inner))
    return 0.5 * input * (1 + erf(input * math.sqrt(0.5)))


def atan(input: Tensor) -> Tensor:
    """float32's answer and the angle that is left: its tangent is that angle, so small it is."""
    x = input.clamp(-_LARGEST, _LARGEST)
    near = torch.atan(x.to(torch.float32)).to(torch.float64)
    cosine, sine = torch.cos(near), torch.sin(near)
    return near + (x * cosine - sine) / (cosine + x * sine)


def atan2(input: Tensor, other: Any) -> Tensor:
    y, x = torch.broadcast_tensors(input, torch.as_tensor(other, dtype=input.dtype))
    angle = atan(y / torch.where(x == 0, torch.ones_like(x), x))
    half = math.pi * torch.where(y < 0, -1.0, 1.0).to(x.dtype)
    angle = torch.where(x < 0, angle + half, angle)
    return torch.where(x == 0, torch.sign(y) * (math.pi / 2), angle)


def asin(input: Tensor) -> Tensor:
    return atan(input / torch.sqrt((1 - input) * (1 + input)))


def acos(input: Tensor) -> Tensor:
    return math.pi / 2 - asin(input)


def tan(input: Tensor) -> Tensor:
    return torch.sin(input) / torch.cos(input)


def sinh(input: Tensor) -> Tensor:
    return (torch.exp(input) - torch.exp(-input)) / 2


def cosh(input: Tensor) -> Tensor:
    return (torch.exp(input) + torch.exp(-input)) / 2


def asinh(input: Tensor) -> Tensor:
    size = input.abs()
    return torch.sign(input) * torch.log(size + torch.sqrt(size * size + 1))


def acosh(input: Tensor) -> Tensor:
    return torch.log(input + torch.sqrt(input * input - 1))


def atanh(input: Tensor) -> Tensor:
    return torch.log((1 + input) / (1 - input)) / 2


def log2(input: Tensor) -> Tensor:
    return torch.log(input) * (1 / math.log(2))


def log10(input: Tensor) -> Tensor:
    return torch.log(input) * (1 / math.log(10))


def deg2rad(input: Tensor) -> Tensor:
    return input * (math.pi / 180)


def rad2deg(input: Tensor) -> Tensor:
    return input * (180 / math.pi)


def sinc(input: Tensor) -> Tensor:
    turned = math.pi * torch.where(input == 0, torch.ones_like(input), input)
    return torch.where(input == 0, torch.ones_like(input), torch.sin(turned) / turned)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    scale, alpha = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
    return scale * celu_like(input, alpha, 1.0)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    return celu_like(input, alpha, 1.0)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    return celu_like(input, alpha, 1 / alpha)


def celu_like(x: Tensor, height: float, steepness: float) -> Tensor:
    below = height * (torch.exp(x.clamp(max=0) * steepness) - 1)
    return torch.where(x > 0, x, below)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    return torch.where(input > 0, input, input * negative_slope)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    return (input / 6 + 0.5).clamp(0, 1)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    return input * hardsigmoid(input)


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    return input + tensor1 * tensor2 * value


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    return input + tensor1 / tensor2 * value


def addmm(
    input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    return input * beta + torch.matmul(mat1, mat2) * alpha


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """torch.nn.functional.scaled_dot_product_attention in eval mode."""
    if enable_gqa:
        times = query.shape[-3] // key.shape[-3]
        key, value = (each.repeat_interleave(times, -3) for each in (key, value))
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = torch.matmul(query * factor, key.transpose(-1, -2))
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, float("-inf"))
    elif attn_mask is not None:
        scores = scores + attn_mask
    return torch.matmul(torch.softmax(scores, -1), value)


# --- Norms --------------------------------------------------------------------------------------


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    grouped = input.reshape(input.shape[0], num_groups, -1)
    found = _standardise(grouped, eps).reshape(input.shape)
    return _weigh(found, weight, bias)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not use_input_stats:
        return functional.batch_norm(
            input, running_mean, running_var, weight, bias, False, momentum, eps
        )
    flat = input.reshape(input.shape[0], input.shape[1], -1)
    return _weigh(_standardise(flat, eps).reshape(input.shape), weight, bias)


def _standardise(x: Tensor, eps: float) -> Tensor:
    apart = x - x.mean(-1, keepdim=True)
    return apart / torch.sqrt((apart * apart).mean(-1, keepdim=True) + eps)


def _weigh(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    shape = (-1, *[1] * (x.dim() - 2))
    if weight is not None:
        x = x * weight.view(shape)
    return x if bias is None else x + bias.view(shape)


def _elementwise() -> Iterator[tuple[Callable[..., Any], Callable[..., Any]]]:
    """Each function by all of its names."""
    own = (
        erf, erfc, atan, atan2, asin, acos, tan, sinh, cosh, asinh, acosh, atanh, log2, log10,
        deg2rad, rad2deg, sinc, addcmul, addcdiv, addmm,
    )  # fmt: skip
    other_names = {"atan": "arctan", "atan2": "arctan2", "asin": "arcsin", "acos": "arccos",
                   "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh"}  # fmt: skip
    for function in own:
        for name in (function.__name__, other_names.get(function.__name__)):
            for space in (torch, Tensor, torch.special):
                if name is not None and hasattr(space, name):
                    yield getattr(space, name), function


DOUBLES: dict[Callable[..., Any], Callable[..., Any]] = {
    **dict(_elementwise()),
    functional.gelu: gelu,
    functional.selu: selu,
    functional.elu: elu,
    functional.celu: celu,
    functional.leaky_relu: leaky_relu,
    functional.hardsigmoid: hardsigmoid,
    functional.hardswish: hardswish,
    functional.scaled_dot_product_attention: attend,
    functional.group_norm: group_norm,
    functional.instance_norm: instance_norm,
}
