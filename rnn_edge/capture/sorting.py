"""torch's stable sorting: ONNX's TopK gives equal elements in the order of their places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnxscript
import torch

# The stubs of onnxscript know tensors only, where constants are as good.
op: Any = onnxscript.opset18


def translate_stable_sort(
    x: Any, stable: bool | None = None, dim: int = -1, descending: bool = False
) -> tuple[Any, Any]:
    if not x.shape.rank():
        return x, op.Constant(value_int=0)
    axis = dim % x.shape.rank()
    size = op.Shape(x, start=axis, end=axis + 1)
    values, places = op.TopK(x, size, axis=axis, largest=int(descending), sorted=1)
    return values, places


def translate_stable_argsort(
    x: Any, stable: bool = True, dim: int = -1, descending: bool = False
) -> Any:
    return translate_stable_sort(x, stable, dim, descending)[1]


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.sort.stable: translate_stable_sort,
    torch.ops.aten.argsort.stable: translate_stable_argsort,
}
