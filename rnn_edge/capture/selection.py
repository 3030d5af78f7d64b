"""What a mask picks out of a tensor, as ONNX's Compress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnxscript
import torch

# The stubs of onnxscript know tensors only, where constants are as good.
op: Any = onnxscript.opset18


def translate_masked_select(x: Any, mask: Any) -> Any:
    """Both take the shape that they have together; what is left has one axis."""
    spread = op.Expand(x, op.Shape(mask))
    spread_mask = op.Expand(mask, op.Shape(spread))
    flat = op.Constant(value_ints=[-1])
    return op.Compress(op.Reshape(spread, flat), op.Reshape(spread_mask, flat), axis=0)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.masked_select.default: translate_masked_select,
}
