"""What a loop computes anew in every iteration though it is always the same, taken out of it.

Masks, zeros, one hot tables: they are often shaped by the length of the loop, which its body does
not know.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from rnn_edge.capture.rolling.program import (
    Argument,
    Collected,
    Loop,
    LoopValue,
    Number,
    OwnValue,
    PlainValue,
    RolledProgram,
    RolledStep,
    replace_leaves,
    walk,
)
from rnn_edge.capture.rolling.pruning import prune


def take_out(program: RolledProgram) -> RolledProgram:
    """``program`` with the steps of its loops that give the same in every iteration before them."""
    changed = _Changed()
    for item in program.items:
        if isinstance(item, RolledStep):
            changed.add_plain(item)
        else:
            changed.add_loop(item)
    moved = changed.finish(program)
    return prune(moved) if changed.has_moved else program


class _Changed:
    """The new items; numbers of plain steps are new ones once they are in ``places``."""

    def __init__(self) -> None:
        self.has_moved = False
        self._items: list[RolledStep | Loop] = []
        self._count = 0
        self._places: list[int] = []
        self._outside: dict[tuple[int, int], int] = {}

    def add_plain(self, step: RolledStep) -> None:
        self._places.append(self._count)
        self._append(self._step(step, None))

    def add_loop(self, loop: Loop) -> None:
        body = []
        for number, step in enumerate(loop.body):
            moved = self._step(step, loop.number)
            if _is_same(moved):
                self._outside[loop.number, number] = self._count
                self._append(moved)
                self.has_moved = True
            body.append(moved)
        self._items.append(replace(loop, body=tuple(body)))

    def finish(self, program: RolledProgram) -> RolledProgram:
        # A carried value may begin with something that stands behind in the list.
        items = tuple(
            replace(item, body=tuple(self._with_starts(step) for step in item.body))
            if isinstance(item, Loop) else item
            for item in self._items
        )  # fmt: skip
        returned = replace_leaves(program.returned, lambda leaf: self._leaf(leaf, None))
        return replace(program, items=items, returned=returned)

    def _append(self, step: RolledStep) -> None:
        self._items.append(step)
        self._count += 1

    def _step(self, step: RolledStep, loop: int | None) -> RolledStep:
        args, kwargs = replace_leaves((step.args, step.kwargs), lambda leaf: self._leaf(leaf, loop))
        return replace(step, args=args, kwargs=kwargs)

    def _with_starts(self, step: RolledStep) -> RolledStep:
        def change(leaf: Any) -> Any:
            if not isinstance(leaf, OwnValue):
                return leaf
            starts = tuple(
                replace_leaves(start, lambda inner: self._leaf(inner, None))
                for start in leaf.initial
            )
            return replace(leaf, initial=starts)

        args, kwargs = replace_leaves((step.args, step.kwargs), change)
        return replace(step, args=args, kwargs=kwargs)

    def _leaf(self, leaf: Any, loop: int | None) -> Any:
        match leaf:
            case PlainValue():
                return replace(leaf, index=self._places[leaf.index])
            case OwnValue() if leaf.delay == 0 and (loop, leaf.step) in self._outside:
                assert loop is not None
                return PlainValue(self._outside[loop, leaf.step], leaf.item)
            case LoopValue() if (leaf.loop, leaf.step) in self._outside:
                return PlainValue(self._outside[leaf.loop, leaf.step], leaf.item)
            case LoopValue() if isinstance(leaf.otherwise, PlainValue):
                return replace(leaf, otherwise=self._leaf(leaf.otherwise, None))
        return leaf


def _is_same(step: RolledStep) -> bool:
    """Whether ``step`` needs nothing of its loop, nor chance."""
    if torch.Tag.nondeterministic_seeded in getattr(step.target, "tags", ()):
        return False
    return not any(map(_moves, walk((step.args, step.kwargs))))


def _moves(leaf: Argument) -> bool:
    if isinstance(leaf, Number):
        return bool(leaf.value.by_iteration)
    if isinstance(leaf, LoopValue):
        return bool(leaf.iteration.by_iteration)
    return isinstance(leaf, (OwnValue, Collected))
