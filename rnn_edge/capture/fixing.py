"""Stop a trace where forward() turns a size into a number: what follows would be in vain.

A loop over time fixes its axis before the first step. All of its steps would be traced, only to
learn that the axis is fixed and that the loop is to be traced at other lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class FixedAxesError(Exception):
    """Tracing has set ``axes`` to numbers, and went no further."""

    def __init__(self, axes: Sequence[str]) -> None:
        super().__init__(f"forward() fixes {', '.join(axes)}")
        self.axes = tuple(axes)


class StopWhereFixed(TorchFunctionMode):
    """While active, a torch call after one of ``sizes`` became a number raises FixedAxesError."""

    def __init__(self, sizes: Mapping[str, int | torch.SymInt]) -> None:
        super().__init__()
        self._nodes = {
            axis: size.node for axis, size in sizes.items() if isinstance(size, torch.SymInt)
        }

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        fixed = [axis for axis, node in self._nodes.items() if node.expr.is_number]
        # torch.vmap takes its level back on the way out.
        if fixed and getattr(func, "__name__", "") != "_vmap_decrement_nesting":
            raise FixedAxesError(fixed)
        return func(*args, **(kwargs or {}))
