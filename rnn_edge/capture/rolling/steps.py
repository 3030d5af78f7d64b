"""An exported program as a plain list of steps, in the order in which Python ran them."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Graph, Node

from rnn_edge.capture.rolling.functional import decompose_writes, make_functional, writes
from rnn_edge.capture.rolling.keeping import KEEP
from rnn_edge.capture.rolling.lifted import (
    as_empty,
    as_numbers,
    has_values,
    name_constant,
    read_constants,
)
from rnn_edge.capture.rolling.repeated import as_repeated
from rnn_edge.capture.rolling.rows import FlatTables, order_of
from rnn_edge.capture.rolling.trace import Place, Source, Step, Trace
from rnn_edge.code_line import is_foreign

_ATEN = torch.ops.aten
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


def _make_functional(exported: ExportedProgram) -> tuple[ExportedProgram, Graph]:
    """The same with nothing written in place, and its graph."""
    if not any(writes(node) for node in exported.graph.nodes):
        return exported, exported.graph
    graph = make_functional(exported)
    if graph is not None:
        return exported, graph
    decomposed = decompose_writes(exported)
    return decomposed, decomposed.graph


def read_trace(exported: ExportedProgram) -> Trace:
    """The steps of ``exported``, made functional: nothing is written in place.

    What only renames a tensor (a slice of all of it, a copy of the same shape) is no step.
    """
    functional, graph = _make_functional(exported)
    where: dict[Node, Place | Source] = {}
    steps: list[Step] = []
    returned: Any = None
    constants = read_constants(functional)
    tables = FlatTables()
    for node in graph.nodes:
        if node.name in constants and (made := as_numbers(constants[node.name])) is not None:
            where[node] = Place(len(steps))
            steps.append(made)
        elif node.name in constants and has_values(constants[node.name]):
            where[node] = Source(name_constant(constants[node.name]))
        elif node.name in constants:
            steps += as_empty(constants[node.name], functional, len(steps))
            where[node] = Place(len(steps) - 1)
        elif node.op == "placeholder":
            where[node] = Source(node.name)
        elif node.op == "output":
            returned = _replace(node.args[0], where)
        elif node.op != "call_function" or _is_assertion(node) or node.target in _LEFT_OUT:
            continue
        elif (same := _same_tensor(node)) is not None:
            where[node] = where[same]
        elif (item := _item(node, where)) is not None:
            where[node] = item
        elif (repeated := as_repeated(node, where, len(steps))) is not None:
            steps += repeated
            where[node] = Place(len(steps) - 1)
        elif rows := tables.as_row(node, where, len(steps), _source_line(node.stack_trace or "")):
            steps += rows
            where[node] = Place(len(steps) - 1)
        else:
            where[node] = Place(len(steps))
            steps.append(_as_step(node, where))
    trace = Trace(tuple(steps), returned, _read_sources(functional))
    return _with_empty_states_first(arrange(trace, order_of(steps, tables.splitting)))


# What a cell makes where it is given no state: in the first iteration, in the midst of its steps.
_FILLING = (
    _ATEN.zeros.default,
    _ATEN.ones.default,
    _ATEN.full.default,
    _ATEN.new_zeros.default,
    _ATEN.new_ones.default,
    _ATEN.sym_size.int,
)


def _with_empty_states_first(trace: Trace) -> Trace:
    """The same steps, those that fill a tensor with one number before all others."""
    ready: set[int] = set()
    for number, step in enumerate(trace.steps):
        needed = {leaf.index for leaf in leaves_of((step.args, step.kwargs))
                  if isinstance(leaf, Place)}  # fmt: skip
        if step.target in _FILLING and needed <= ready:
            ready.add(number)
    order = sorted(range(len(trace.steps)), key=lambda number: number not in ready)
    return arrange(trace, order)


def without_unused(trace: Trace) -> Trace:
    """The steps that what is returned needs."""
    needed: set[int] = set()
    pending = [leaf.index for leaf in leaves_of(trace.returned) if isinstance(leaf, Place)]
    while pending:
        number = pending.pop()
        if number not in needed:
            needed.add(number)
            step = trace.steps[number]
            pending += [leaf.index for leaf in leaves_of((step.args, step.kwargs))
                        if isinstance(leaf, Place)]  # fmt: skip
    return arrange(trace, sorted(needed))


def share_states(trace: Trace) -> Trace:
    """``trace`` with one step for all that fill a tensor of one shape with one number.

    A loop that begins from zeros in each iteration of another one begins from the same zeros.
    """
    first: dict[str, int] = {}
    same: dict[int, int] = {}
    for number, step in enumerate(trace.steps):
        if step.target in _FILLING:
            args = tuple(
                replace(leaf, index=same.get(leaf.index, leaf.index))
                if isinstance(leaf, Place) else leaf
                for leaf in leaves_of((step.args, step.kwargs))
            )  # fmt: skip
            key = f"{step.target} {args} {[*step.kwargs]}"
            same[number] = first.setdefault(key, number)
    order = [number for number in range(len(trace.steps)) if same.get(number, number) == number]
    return arrange(trace, order, same)


def arrange(trace: Trace, order: Sequence[int], same: Mapping[int, int] | None = None) -> Trace:
    """The steps ``order`` of ``trace``, in that order; ``same`` names steps for some left out."""
    places = {old: new for new, old in enumerate(order)}
    places |= {old: places[other] for old, other in (same or {}).items()}

    def move(value: Any) -> Any:
        if isinstance(value, Place):
            return Place(places[value.index], value.item)
        if isinstance(value, tuple):
            return tuple(move(item) for item in value)
        if isinstance(value, dict):
            return {key: move(item) for key, item in value.items()}
        return value

    steps = [trace.steps[number] for number in order]
    moved = (Step(step.target, move(step.args), move(step.kwargs), step.line) for step in steps)
    return Trace(tuple(moved), move(trace.returned), trace.sources)


def leaves_of(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple):
        return [leaf for item in value for leaf in leaves_of(item)]
    return [value]


# Their items are taken from what they take apart, since there may be as many as there are steps.
_TAKEN_APART = (_ATEN.unbind.int, _ATEN.split.Tensor, _ATEN.chunk.default)
_LEFT_OUT = (*_TAKEN_APART, KEEP)


def _as_step(node: Node, where: dict[Node, Place | Source]) -> Step:
    line = _source_line(node.stack_trace or "")
    if node.target is operator.getitem:
        producer, index = node.args
        assert isinstance(producer, Node)
        x = _replace(producer.args[0], where)
        if producer.target is _ATEN.unbind.int:
            return Step(_ATEN.select.int, (x, _optional(producer, 1, 0), index), {}, line)
        if producer.target in (_ATEN.split.Tensor, _ATEN.chunk.default):
            size = _part_size(producer)
            assert isinstance(index, int)
            assert isinstance(size, int)
            ends = (index * size, (index + 1) * size)
            return Step(_ATEN.slice.Tensor, (x, _optional(producer, 2, 0), *ends), {}, line)
    if node.target is _ATEN.to.dtype:
        cast = {"dtype": node.args[1]}
        return Step(_ATEN._to_copy.default, (_replace(node.args[0], where),), cast, line)
    args, kwargs = _replace(node.args, where), _replace(node.kwargs, where)
    if node.target is _ATEN.flatten.using_ints:
        args = (*args, *(0, -1)[len(args) - 1 :])
    return Step(node.target, args, kwargs, line)  # type: ignore[arg-type]


def _part_size(producer: Node) -> Any:
    """How many elements a part of split() or chunk() has; the last one may have fewer."""
    given = producer.args[1]
    if producer.target is _ATEN.split.Tensor:
        return given
    assert isinstance(given, int)
    whole = _node(producer.args[0]).meta["val"].shape[_optional(producer, 2, 0)]
    return -(-whole // given)


def _item(node: Node, where: dict[Node, Place | Source]) -> Place | None:
    if node.target is not operator.getitem:
        return None
    producer, item = node.args
    place = where.get(_node(producer))
    if isinstance(place, Place) and isinstance(item, int) and place.item is None:
        return Place(place.index, item)
    return None


_COPYING = (
    _ATEN.alias.default,
    _ATEN.detach.default,
    _ATEN.clone.default,
    _ATEN.lift_fresh_copy.default,
)


def _same_tensor(node: Node) -> Node | None:
    """The node that ``node`` has the very values, shape and dtype of."""
    if node.target is _ATEN.slice.Tensor and _takes_all(node, 1):
        return _node(node.args[0])
    if node.target is _ATEN.slice_scatter.default and _takes_all(node, 2):
        return _node(node.args[1])
    if node.target is _ATEN.squeeze.dim:
        # One that is not 1 stays; a scan's body, where sizes are not known, would take it away.
        x, dim = node.args
        size = _node(x).meta["val"].shape[dim]
        return _node(x) if isinstance(size, int) and size != 1 else None
    if node.target is _ATEN.dropout.default and not node.args[2]:
        return _node(node.args[0])
    if node.target is _ATEN.to.dtype and _node(node.args[0]).meta["val"].dtype == node.args[1]:
        return _node(node.args[0])
    if node.target in _COPYING:
        return _node(node.args[0])
    if node.target is _ATEN.copy.default:
        source = _node(node.args[1])
        old, new = source.meta["val"], node.meta["val"]
        if old.dtype == new.dtype and tuple(old.shape) == tuple(new.shape):
            return source
    return None


def _source_line(stack_trace: str) -> str:
    """``net.py:12``: where the innermost call stands that is not torch's or ours."""
    frames = _FRAME.findall(stack_trace)
    found = [frame for frame in frames if is_foreign(frame[0])] or frames
    return f"{Path(found[-1][0]).name}:{found[-1][1]}" if found else ""


def _takes_all(node: Node, place: int) -> bool:
    given = [*node.args[place:]]
    start, end, step = (given + [0, None, None, 1][len(given) :])[1:]
    return bool(start in (0, None) and step == 1 and end in (None, _TO_THE_END))


_TO_THE_END = 2**63 - 1


def _node(value: Any) -> Node:
    assert isinstance(value, Node)
    return value


def _optional(node: Node, place: int, default: Any) -> Any:
    return node.args[place] if len(node.args) > place else node.kwargs.get("dim", default)


def _is_assertion(node: Node) -> bool:
    name = str(node.target)
    return "_assert" in name or "sym_constrain_range" in name


def _replace(value: Any, where: dict[Node, Place | Source]) -> Any:
    if isinstance(value, Node):
        return where[value]
    if isinstance(value, (list, tuple)):
        return tuple(_replace(item, where) for item in value)
    if isinstance(value, dict):
        return {key: _replace(item, where) for key, item in value.items()}
    return value


def _read_sources(exported: ExportedProgram) -> dict[str, Any]:
    """Inputs as numbers, parameters and buffers as paths into the module, constants as tensors."""
    signature = exported.graph_signature
    sources: dict[str, Any] = {
        str(name): number for number, name in enumerate(signature.user_inputs)
    }
    sources.update(signature.inputs_to_parameters)
    sources.update(signature.inputs_to_buffers)
    for constant in read_constants(exported).values():
        if has_values(constant):
            sources[name_constant(constant)] = constant
    return sources
