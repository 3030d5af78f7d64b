"""A loop whose body is being changed: steps added, exchanged and left out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from rnn_edge.capture.rolling.program import (
    Collected,
    Loop,
    LoopValue,
    OwnValue,
    RolledProgram,
    RolledStep,
    replace_leaves,
    walk,
)


class Draft:
    """Old steps keep their numbers until the draft is finished, new ones have higher ones."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._steps = dict(enumerate(loop.body))
        self._instead: dict[tuple[int, int | None], tuple[int, int | None]] = {}

    def add(self, step: RolledStep) -> OwnValue:
        number = len(self._steps)
        self._steps[number] = step
        return OwnValue(number, None, 0)

    def exchange(self, number: int, step: RolledStep) -> None:
        self._steps[number] = step

    def use_instead(self, old: int, new: int, item: int | None) -> None:
        """Wherever step ``old`` was used, item ``item`` of step ``new`` is."""
        self._instead[old, None] = (new, item)

    def finish(self, program: RolledProgram) -> RolledProgram:
        """``program`` with the changed loop, without the steps that nothing needs any more."""
        number = self._loop.number
        steps = {n: _change(step, self._redirect) for n, step in self._steps.items()}
        wanted = [self._instead.get(what, what)[0] for what in _uses(program, number)]
        order = _in_order(steps, wanted)
        places = {old: new for new, old in enumerate(order)}

        def move_own(value: Any) -> Any:
            return replace(value, step=places[value.step]) if isinstance(value, OwnValue) else value

        def move(value: Any) -> Any:
            if isinstance(value, OwnValue):
                return replace(value, initial=tuple(replace_leaves(i, move) for i in value.initial))
            if isinstance(value, (LoopValue, Collected)) and value.loop == number:
                step, item = self._instead.get((value.step, value.item), (value.step, value.item))
                return replace(value, step=places[step], item=item)
            return value

        body = tuple(_change(steps[n], move_own) for n in order)
        items = [Loop(number, self._loop.count, body)
                 if isinstance(item, Loop) and item.number == number else item
                 for item in program.items]  # fmt: skip
        moved = tuple(
            replace(item, body=tuple(_change(step, move) for step in item.body))
            if isinstance(item, Loop) else _change(item, move)
            for item in items
        )  # fmt: skip
        return replace(program, items=moved, returned=replace_leaves(program.returned, move))

    def _redirect(self, value: Any) -> Any:
        if isinstance(value, OwnValue) and (value.step, value.item) in self._instead:
            step, item = self._instead[value.step, value.item]
            return replace(value, step=step, item=item)
        return value


def _uses(program: RolledProgram, loop: int) -> Iterable[tuple[int, int | None]]:
    """(step, item) of ``loop`` wherever something outside of it uses them."""
    pending: list[Any] = [program.returned]
    for item in program.items:
        for step in item.body if isinstance(item, Loop) else (item,):
            pending.append((step.args, step.kwargs))
    while pending:
        for value in walk(pending.pop()):
            if isinstance(value, OwnValue):
                pending += value.initial
            elif isinstance(value, (LoopValue, Collected)) and value.loop == loop:
                yield value.step, value.item


def _in_order(steps: dict[int, RolledStep], wanted: Iterable[int]) -> list[int]:
    """What ``wanted`` needs, each step after those of the same iteration that it needs."""
    needed: set[int] = set()
    pending = list(wanted)
    while pending:
        number = pending.pop()
        if number not in needed:
            needed.add(number)
            pending += [value.step for value in _own_values(steps[number])]
    order: dict[int, None] = {}

    def place(number: int) -> None:
        stack = [(number, False)]
        while stack:
            one, is_ready = stack.pop()
            if is_ready:
                order[one] = None
            elif one not in order:
                stack.append((one, True))
                stack += [(value.step, False) for value in _own_values(steps[one])
                          if value.delay == 0]  # fmt: skip

    for number in sorted(needed):
        place(number)
    return list(order)


def _own_values(step: RolledStep) -> list[OwnValue]:
    return [value for value in walk((step.args, step.kwargs)) if isinstance(value, OwnValue)]


def _change(step: RolledStep, change: Any) -> RolledStep:
    args, kwargs = replace_leaves((step.args, step.kwargs), change)
    return replace(step, args=args, kwargs=kwargs)
