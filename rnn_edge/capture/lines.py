"""The lines of code that each traced operator comes from, written down cheaply.

Where torch.fx writes them itself it reads and formats the whole stack for every operator, a fifth
of what tracing a long loop takes. It takes what stands in the current metadata instead.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import CodeType, FrameType
from typing import Any

import torch
from torch.fx import traceback
from torch.overrides import TorchFunctionMode


class WrittenLines(TorchFunctionMode):
    """While active, what a torch call traces gets the lines of the forward() calls around it.

    They are the same that torch.fx finds, in its format.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        meta = traceback.current_meta
        if not traceback.has_preserved_node_meta() or "stack_trace" in meta:
            return func(*args, **(kwargs or {}))
        text = _write(sys._getframe(1))
        if not text:
            return func(*args, **(kwargs or {}))
        meta["stack_trace"] = text
        try:
            return func(*args, **(kwargs or {}))
        finally:
            meta.pop("stack_trace", None)


def _write(frame: FrameType | None) -> str:
    lines = []
    while frame is not None:
        if frame.f_code.co_name == "forward" and _is_interesting(frame.f_code):
            lines.append(_format(frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return "\n  ".join(reversed(lines))


@cache
def _is_interesting(code: CodeType) -> bool:
    return code.co_filename not in torch.fx.experimental.symbolic_shapes.uninteresting_files()


@cache
def _format(path: str, number: int) -> str:
    text = linecache.getline(path, number).strip()
    return f'File "{path}", line {number}, in forward' + (f"\n    {text}" if text else "")
