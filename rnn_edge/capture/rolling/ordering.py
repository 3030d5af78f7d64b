"""The same steps in another order, in which the iterations of a loop are more alike."""

from __future__ import annotations

from collections.abc import Collection

import torch

from rnn_edge.capture.rolling.steps import arrange, leaves_of
from rnn_edge.capture.rolling.trace import Place, Trace

_ATEN = torch.ops.aten
_TAKING = (_ATEN.select.int, _ATEN.slice.Tensor)


def take_where_used(trace: Trace) -> Trace:
    """``trace`` with every part of a tensor taken right before its first use.

    zip() over three tensors takes all of the first one apart, then the second: the iterations of
    its loop begin with them.
    """
    order: dict[int, None] = {}

    def place(number: int) -> None:
        pending = [(number, False)]
        while pending:
            one, is_ready = pending.pop()
            if is_ready:
                order[one] = None
            elif one not in order:
                pending.append((one, True))
                step = trace.steps[one]
                needed = [leaf.index for leaf in leaves_of((step.args, step.kwargs))
                          if isinstance(leaf, Place)]  # fmt: skip
                pending += [(other, False) for other in reversed(needed)]

    for number, step in enumerate(trace.steps):
        if step.target not in _TAKING:
            place(number)
    for number in range(len(trace.steps)):
        place(number)
    return arrange(trace, list(order))


def put_early(trace: Trace, early: Collection[int]) -> Trace:
    """The steps ``early`` right behind what they need, the others as they are."""
    following: dict[int, list[int]] = {}
    for number in sorted(early):
        step = trace.steps[number]
        needed = [leaf.index for leaf in leaves_of((step.args, step.kwargs))
                  if isinstance(leaf, Place)]  # fmt: skip
        following.setdefault(max(needed, default=-1), []).append(number)
    order: list[int] = []

    def place(number: int) -> None:
        if number >= 0:
            order.append(number)
        for other in following.get(number, ()):
            place(other)

    place(-1)
    for number in range(len(trace.steps)):
        if number not in early:
            place(number)
    return arrange(trace, order)
