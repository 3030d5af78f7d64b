"""Loops around cells that are written out: each recognised cell becomes one step of the body."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import permutations
from typing import Any

import torch
from torch import Tensor

from rnn_edge.capture import operators
from rnn_edge.capture.rolling.affine import Affine
from rnn_edge.capture.rolling.cells import WrittenCell, all_stand_alone
from rnn_edge.capture.rolling.drafts import Draft
from rnn_edge.capture.rolling.equations import Equations, NotPolynomialError
from rnn_edge.capture.rolling.gates import WrittenBody, read_activation
from rnn_edge.capture.rolling.hoisting import sink_products
from rnn_edge.capture.rolling.program import (
    Loop,
    Number,
    OwnValue,
    RolledProgram,
    RolledStep,
    walk,
)
from rnn_edge.capture.rolling.recognition import Recurrence, recognise
from rnn_edge.capture.rolling.shapes import find_loop, infer_shapes
from rnn_edge.capture.rolling.trace import Source

_ATEN = torch.ops.aten
# A loop with more states than this is no stack of cells that anyone would write by hand.
_MOST_STATES = 8


@dataclass(frozen=True)
class Example:
    """What a program is looked at with: inputs, and the sizes that it follows."""

    inputs: Sequence[Tensor]
    sizes: Sequence[int]
    read: Callable[[str], Tensor]


def recognise_cells(program: RolledProgram, example: Example) -> RolledProgram:
    """``program`` with every written LSTM, GRU and plain RNN that a node can run as one step."""
    for loop in [item for item in program.items if isinstance(item, Loop) and item.carries]:
        while (found := _recognise_in(program, loop.number, example)) is not None:
            program = found
    return program


def _recognise_in(program: RolledProgram, number: int, example: Example) -> RolledProgram | None:
    """``program`` with one more cell recognised in a loop."""
    loop = find_loop(program, number)
    if not any(read_activation(step) for step in loop.body):
        return None
    shapes = infer_shapes(program, example.inputs, _reader(program, example), example.sizes)
    while (sunk := sink_products(program, find_loop(program, number), shapes)) is not None:
        program = sunk
        shapes = infer_shapes(program, example.inputs, _reader(program, example), example.sizes)
    loop = find_loop(program, number)
    for states in _propose_states(loop):
        equations = Equations(program, loop, shapes, _reader(program, example), example.sizes)
        try:
            with torch.enable_grad():
                body = WrittenBody(equations, states)
                found = recognise(body) if body.is_regular else None
        except (NotPolynomialError, RuntimeError):
            # What torch cannot compute from these shapes is no cell's equation.
            continue
        if found is None:
            continue
        path = _find_path(program, equations.used)
        changed = _replace_cell(program, loop, body, found, path)
        if all_stand_alone(find_loop(changed, number), changed):
            return changed
    return None


def _reader(program: RolledProgram, example: Example) -> Callable[[str], Tensor]:
    def read(name: str) -> Tensor:
        what = program.sources[name]
        return what if isinstance(what, Tensor) else example.read(what)

    return read


def _propose_states(loop: Loop) -> Iterator[tuple[int, ...]]:
    """(h, c) and (h,): the steps whose results of the iteration before are used."""
    delays: dict[int, set[tuple[int, int | None]]] = {}
    initial: dict[int, set[Any]] = {}
    for step in loop.body:
        for value in walk((step.args, step.kwargs)):
            if isinstance(value, OwnValue) and value.delay:
                delays.setdefault(value.step, set()).add((value.delay, value.item))
                initial.setdefault(value.step, set()).add(value.initial)
    states = [number for number, found in sorted(delays.items())
              if found == {(1, None)} and len(initial[number]) == 1]  # fmt: skip
    if len(states) > _MOST_STATES:
        return
    yield from permutations(states, 2)
    yield from ((state,) for state in states)


def _replace_cell(
    program: RolledProgram, loop: Loop, body: WrittenBody, found: Recurrence, path: str
) -> RolledProgram:
    draft = Draft(loop)
    h = body.states[0]
    x = body.roots[0]
    if len(body.roots) > 1:
        dim = Number(Affine(1, (0,) * len(loop.count.by_size)), True)
        x = draft.add(RolledStep(_ATEN.cat.default, (tuple(body.roots), dim), {}, ""))
    sources = dict(program.sources)
    weights = []
    given = {"w": found.w, "r": found.r, "b": found.b, "p": found.p}
    for suffix, weight in given.items():
        if weight is None:
            continue
        name = f"written_{len(sources)}_{suffix}"
        sources[name] = weight.unsqueeze(0).float().contiguous()
        weights.append(Source(name))
    states = tuple(_carried(loop, state) for state in body.states)
    is_lstm = len(states) > 1
    hx = states if is_lstm else states[0]
    target = WrittenCell(_operator(found, path))
    line = loop.body[h].line
    draft.exchange(h, RolledStep(target, (x, hx, *weights), {}, line))
    if is_lstm:
        for item, state in enumerate(body.states):
            draft.use_instead(state, h, item)
    return draft.finish(replace(program, sources=sources))


def _carried(loop: Loop, state: int) -> OwnValue:
    return next(
        value
        for step in loop.body
        for value in walk((step.args, step.kwargs))
        if isinstance(value, OwnValue) and value.delay and value.step == state
    )


def _operator(found: Recurrence, path: str) -> Callable[..., tuple[Tensor, ...]]:
    given: dict[str, Any] = {
        "activations": [kind.name for kind in found.activations],
        "alphas": [kind.alpha for kind in found.activations],
        "betas": [kind.beta for kind in found.activations],
        "path": path,
    }
    if found.kind == "LSTM":
        return partial(operators.written_lstm, **given)
    if found.kind == "GRU":
        return partial(operators.written_gru, **given, resets_after=found.resets_after)
    return partial(operators.written_rnn, **given)


def _find_path(program: RolledProgram, used: set[str]) -> str:
    """The part of the module that holds all weights of a cell: ``module.decoder.cell``."""
    names = [program.sources[name] for name in sorted(used)]
    owners = [name.split(".")[:-1] for name in names if isinstance(name, str)]
    shared = []
    for parts in zip(*owners, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared)
