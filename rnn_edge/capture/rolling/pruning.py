"""Leave out the steps of a rolled program that nothing needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeAlias

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

# (loop, step) of a loop's body, (-1, place) of a plain step.
_Key: TypeAlias = tuple[int, int]


def prune(program: RolledProgram) -> RolledProgram:
    """``program`` with the steps alone that what it returns needs."""
    steps = dict(_steps(program))
    live: set[_Key] = set()
    pending = list(_needs(program.returned, -1))
    while pending:
        key = pending.pop()
        if key not in live:
            live.add(key)
            step = steps[key]
            pending += _needs((step.args, step.kwargs), key[0])
    places: dict[_Key, int] = {}
    counts: dict[int, int] = {}
    for key in steps:
        if key in live:
            places[key] = counts.get(key[0], 0)
            counts[key[0]] = places[key] + 1
    items: list[RolledStep | Loop] = []
    plain = 0
    for item in program.items:
        if isinstance(item, RolledStep):
            if (-1, plain) in live:
                items.append(_move_step(item, -1, places))
            plain += 1
            continue
        body = tuple(_move_step(step, item.number, places) for place, step in enumerate(item.body)
                     if (item.number, place) in live)  # fmt: skip
        if body:
            items.append(replace(item, body=body))
    return replace(program, items=tuple(items), returned=_move(program.returned, -1, places))


def _steps(program: RolledProgram) -> Iterator[tuple[_Key, RolledStep]]:
    plain = 0
    for item in program.items:
        if isinstance(item, RolledStep):
            yield (-1, plain), item
            plain += 1
        else:
            for place, step in enumerate(item.body):
                yield (item.number, place), step


def _needs(argument: Argument, loop: int) -> Iterator[_Key]:
    for value in walk(argument):
        match value:
            case PlainValue():
                yield -1, value.index
            case LoopValue() | Collected():
                yield value.loop, value.step
            case OwnValue():
                yield loop, value.step
                yield from _needs(value.initial, loop)


def _move_step(step: RolledStep, loop: int, places: dict[_Key, int]) -> RolledStep:
    args, kwargs = _move((step.args, step.kwargs), loop, places)
    return replace(step, args=args, kwargs=kwargs)


def _move(argument: Argument, loop: int, places: dict[_Key, int]) -> Argument:
    def change(value: Any) -> Any:
        match value:
            case PlainValue():
                return replace(value, index=places[-1, value.index])
            case LoopValue() | Collected():
                return replace(value, step=places[value.loop, value.step])
            case OwnValue():
                initial = _move(value.initial, loop, places)
                return replace(value, step=places[loop, value.step], initial=initial)
        return value

    return replace_leaves(argument, change)
