"""Numbers that only a run knows, such as a length: no state that a loop can carry."""

from __future__ import annotations

from typing import Any

import torch

from rnn_edge.capture.rolling.alignment import NotRollableError
from rnn_edge.capture.rolling.program import Loop, OwnValue, RolledProgram, walk


def gives_number(target: Any) -> bool:
    """Whether a step of this operator gives a number of Python, not a tensor."""
    if target in (torch.ops.aten.item.default, torch.ops.aten._local_scalar_dense.default):
        return True
    return not isinstance(target, torch._ops.OperatorBase) and (
        getattr(target, "__module__", "") in ("_operator", "torch", "math")
    )


def refuse_carried_numbers(program: RolledProgram) -> None:
    """Raise NotRollableError where an iteration takes a number from one before it.

    Other cuts between the iterations may carry tensors alone.
    """
    for loop in program.items:
        if not isinstance(loop, Loop):
            continue
        for step in loop.body:
            for value in walk((step.args, step.kwargs)):
                if not isinstance(value, OwnValue) or value.delay == 0:
                    continue
                if value.item is None and gives_number(loop.body[value.step].target):
                    raise NotRollableError(
                        "what a loop carries from one iteration to the next must be tensors to be "
                        f"exported, got a number at {step.line}. Keep it a tensor."
                    )
