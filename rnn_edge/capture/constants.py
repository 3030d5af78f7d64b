"""Numbers in the code of forward() as constants of the type that torch gives them.

torch.onnx writes them as float32 and casts, which costs a float64 module half of its digits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import onnxscript
import torch

# The stubs of onnxscript know tensors only, where constants are as good.
op: Any = onnxscript.opset18


def translate_scalar(value: Any, dtype: int = -1, **_: Any) -> Any:
    return _constant(value, dtype if dtype not in (-1, None) else ir.DataType.FLOAT)


def translate_full(size: Any, value: Any, dtype: int = -1, **_: Any) -> Any:
    if dtype in (-1, None):
        dtype = _default_type(value)
    return op.Expand(_constant(value, dtype), op.Cast(size, to=ir.DataType.INT64))


def translate_full_like(x: Any, value: Any, dtype: int = -1, **_: Any) -> Any:
    return op.Expand(_constant(value, x.dtype if dtype in (-1, None) else dtype), op.Shape(x))


def translate_new_full(x: Any, size: Any, value: Any, dtype: int = -1, **_: Any) -> Any:
    return translate_full(size, value, x.dtype if dtype in (-1, None) else dtype)


def _constant(value: Any, dtype: Any) -> Any:
    if isinstance(value, bool | int | float):
        return op.Constant(value=ir.tensor(value, dtype=ir.DataType(dtype)))
    return op.Cast(value, to=dtype)


def _default_type(value: Any) -> Any:
    if isinstance(value, bool):
        return ir.DataType.BOOL
    if isinstance(value, int):
        return ir.DataType.INT64
    return getattr(value, "dtype", None) or ir.DataType.FLOAT


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.scalar_tensor.default: translate_scalar,
    torch.ops.aten.full.default: translate_full,
    torch.ops.aten.full_like.default: translate_full_like,
    torch.ops.aten.new_full.default: translate_new_full,
}
