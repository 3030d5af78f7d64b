"""Which results of a loop what stands outside of it needs."""

from __future__ import annotations

from typing import Any

from rnn_edge.capture.rolling.program import Collected, Loop, LoopValue, RolledProgram, walk


def find_wanted(program: RolledProgram) -> dict[int, list[tuple[int, int | None]]]:
    """By loop: the values of which other items need those of single or of all iterations."""
    wanted: dict[int, dict[tuple[int, int | None], None]] = {
        item.number: {} for item in program.items if isinstance(item, Loop)
    }
    for item in program.items:
        steps = item.body if isinstance(item, Loop) else (item,)
        for step in steps:
            for value in walk((step.args, step.kwargs)):
                _want(value, wanted)
    for value in walk(program.returned):
        _want(value, wanted)
    return {number: list(values) for number, values in wanted.items()}


def _want(value: Any, wanted: dict[int, dict[tuple[int, int | None], None]]) -> None:
    if isinstance(value, (LoopValue, Collected)):
        wanted[value.loop][value.step, value.item] = None
    for before in getattr(value, "initial", ()):
        for leaf in walk(before):
            _want(leaf, wanted)
