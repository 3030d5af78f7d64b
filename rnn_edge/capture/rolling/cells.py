"""Loops around torch's standard cells: each cell a loop of its own, run by a recurrent operator.

A cell that is fed by the input, or by a cell like itself, needs nothing else of the loop around it.
It is split off, so that what is left are loops of one step, which are whole recurrent layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rnn_edge.capture import operators
from rnn_edge.capture.rolling.affine import Affine
from rnn_edge.capture.rolling.program import (
    Argument,
    Collected,
    Loop,
    LoopValue,
    OwnValue,
    PlainValue,
    RolledProgram,
    RolledStep,
    replace_leaves,
    walk,
)
from rnn_edge.capture.rolling.trace import Source

_ATEN = torch.ops.aten
_STANDARD: dict[Any, Callable[..., tuple[Tensor, ...]]] = {
    _ATEN.lstm_cell.default: operators.lstm,
    _ATEN.gru_cell.default: operators.gru,
    _ATEN.rnn_tanh_cell.default: partial(operators.rnn, nonlinearity="tanh"),
    _ATEN.rnn_relu_cell.default: partial(operators.rnn, nonlinearity="relu"),
}


@dataclass(frozen=True)
class WrittenCell:
    """The target of a step that is a cell recognised by its equations.

    Called as torch's cells are, with the weights of its node behind the states.
    """

    operator: Callable[..., tuple[Tensor, ...]]

    def __call__(self, x: Tensor, hx: Any, *weights: Tensor) -> Any:
        states = [hx] if isinstance(hx, Tensor) else list(hx)
        rows = x.shape[0]
        initial = [state.expand(rows, -1).unsqueeze(0) for state in states]
        _, *last = self.operator(x.unsqueeze(0), None, *initial, list(weights), bidirectional=False)
        following = [state.squeeze(0) for state in last]
        return following[0] if isinstance(hx, Tensor) else following


@dataclass(frozen=True)
class Cell:
    """A loop that is one recurrent layer; ``x`` is what an iteration is fed."""

    operator: Callable[..., tuple[Tensor, ...]]
    x: Argument
    initial: tuple[Argument, ...]
    weights: tuple[Argument, ...]

    def run(
        self, x: Tensor, initial: Sequence[Tensor], weights: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """[count, batch, features], states [batch, hidden] -> all outputs, last states."""
        states = [_for_every_row(state, x.shape[1]).unsqueeze(0) for state in initial]
        y, *last = self.operator(x, None, *states, list(weights), bidirectional=False)
        return y, [state.squeeze(0) for state in last]


def _for_every_row(state: Tensor, rows: Any) -> Tensor:
    """A state of one row may stand for that of all."""
    is_one = isinstance(state.shape[0], int) and state.shape[0] == 1
    return state.expand(rows, -1) if is_one else state


def read_cell(loop: Loop) -> Cell | None:
    """What ``loop`` is as a recurrent layer, if it is one."""
    return _read_step(loop.body[0], 0) if len(loop.body) == 1 else None


def _read_step(step: RolledStep, number: int) -> Cell | None:
    """A standard cell, step ``number`` of a loop's body, that is fed its own states."""
    target = step.target
    run = target.operator if isinstance(target, WrittenCell) else _STANDARD.get(target)
    if run is None or step.kwargs:
        return None
    x, hx, *given = step.args
    is_lstm = isinstance(hx, tuple)
    states = hx if is_lstm else (hx,)
    for item, state in enumerate(states):
        own = (number, item if is_lstm else None, 1)
        if not isinstance(state, OwnValue) or (state.step, state.item, state.delay) != own:
            return None
    weights = tuple(weight for weight in given if weight is not None)
    if not all(isinstance(weight, (Source, PlainValue)) for weight in weights):
        return None
    initial = tuple(state.initial[0] for state in states)
    return Cell(run, x, initial, weights)


def all_stand_alone(loop: Loop, program: RolledProgram) -> bool:
    """Whether every written cell of ``loop`` can be split off."""
    written = {n for n, step in enumerate(loop.body) if isinstance(step.target, WrittenCell)}
    return written <= {*_find_cells(loop, program)[0]}


def split_off_cells(program: RolledProgram) -> RolledProgram:
    """``program`` with each standard cell that stands on its own in a loop of its own.

    Such a loop becomes: what feeds the cells, which carries nothing; the cells; what is left.
    """
    items: list[RolledStep | Loop] = []
    moved: dict[tuple[int, int], tuple[int, int]] = {}
    free_number = 1 + max((i.number for i in program.items if isinstance(i, Loop)), default=0)
    for item in program.items:
        parts = _split(item, program, free_number) if isinstance(item, Loop) else None
        if parts is None:
            items.append(item)
            continue
        items += parts.loops
        moved.update(parts.moved)
        free_number += len(parts.loops)

    def move(value: Any) -> Any:
        if isinstance(value, OwnValue):
            return replace(value, initial=tuple(replace_leaves(i, move) for i in value.initial))
        if isinstance(value, (LoopValue, Collected)) and (value.loop, value.step) in moved:
            loop, step = moved[value.loop, value.step]
            return replace(value, loop=loop, step=step)
        return value

    return RolledProgram(
        tuple(_change(item, move) for item in items),
        replace_leaves(program.returned, move),
        program.sources,
    )


@dataclass(frozen=True)
class _Parts:
    """``moved`` tells where each step of the loop has gone."""

    loops: list[Loop]
    moved: dict[tuple[int, int], tuple[int, int]]


def _split(loop: Loop, program: RolledProgram, free_number: int) -> _Parts | None:
    cells, feeding = _find_cells(loop, program)
    if not cells:
        return None
    carried = {v.step for step in loop.body for v in _own_values(step) if v.delay > 0}
    rest = [n for n in range(len(loop.body)) if n not in cells
            and (n not in feeding or n in carried)]  # fmt: skip
    groups = [feeding, *([cell] for cell in cells), rest]
    moved: dict[tuple[int, int], tuple[int, int]] = {}
    numbered = list(enumerate((group for group in groups if group), free_number))
    for number, group in reversed(numbered):
        moved.update({(loop.number, n): (number, place) for place, n in enumerate(group)})
    loops = []
    for number, group in numbered:
        body = [_change(loop.body[n], partial(_move_own, loop, number, group, moved))
                for n in group]  # fmt: skip
        loops.append(Loop(number, loop.count, tuple(body)))
    return _Parts(loops, moved)


def _move_own(
    loop: Loop, number: int, group: Sequence[int],
    moved: dict[tuple[int, int], tuple[int, int]], value: Any,
) -> Any:  # fmt: skip
    """A value of the same loop, as the loop ``number``, which has taken ``group``, is to see it."""
    if not isinstance(value, OwnValue):
        return value
    if value.step in group:
        return replace(value, step=group.index(value.step))
    other, place = moved[loop.number, value.step]
    return LoopValue(other, place, value.item, Affine(0, (0,) * len(loop.count.by_size), 1))


def _find_cells(loop: Loop, program: RolledProgram) -> tuple[list[int], list[int]]:
    """The steps that are cells of their own, and those that need nothing but them."""
    cells: list[int] = []
    feeding: list[int] = []
    for number, step in enumerate(loop.body):
        known = [value.delay == 0 and value.step in (*cells, *feeding)
                 for value in _own_values(step) if value.step != number]  # fmt: skip
        if not all(known):
            continue
        if _read_step(step, number) is not None and _gives_enough(loop, number, program):
            cells.append(number)
        elif all(value.step != number for value in _own_values(step)):
            feeding.append(number)
    return cells, feeding


def _gives_enough(loop: Loop, number: int, program: RolledProgram) -> bool:
    """Whether a layer gives what is used of the cell: all its outputs and its last states."""
    last = loop.count.minus(Affine(1, (0,) * len(loop.count.by_size)))
    for place, step in enumerate(loop.body):
        for value in _own_values(step):
            if value.step == number and place != number and (value.delay > 0 or value.item == 1):
                return False
    for outer in _outer_values(program):
        if (outer.loop, outer.step, outer.item) == (loop.number, number, 1) and not (
            isinstance(outer, LoopValue) and outer.iteration == last
        ):
            return False
    return True


def _own_values(step: RolledStep) -> list[OwnValue]:
    return [value for value in walk((step.args, step.kwargs)) if isinstance(value, OwnValue)]


def _outer_values(program: RolledProgram) -> Iterator[LoopValue | Collected]:
    """Every use of a loop's results from outside of it."""
    pending = [program.returned]
    for item in program.items:
        steps = item.body if isinstance(item, Loop) else (item,)
        pending += [(step.args, step.kwargs) for step in steps]
    while pending:
        for value in walk(pending.pop()):
            if isinstance(value, OwnValue):
                pending += value.initial
            elif isinstance(value, (LoopValue, Collected)):
                yield value


def _change(item: Any, change: Callable[[Any], Any]) -> Any:
    """A step or a loop with every leaf of its arguments changed."""
    if isinstance(item, Loop):
        return replace(item, body=tuple(_change(step, change) for step in item.body))
    args, kwargs = replace_leaves((item.args, item.kwargs), change)
    return replace(item, args=args, kwargs=kwargs)
