"""The body of a loop as the combining function of a scan, and what it is to be fed."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

from rnn_edge.capture.rolling.affine import Affine
from rnn_edge.capture.rolling.alignment import NotRollableError
from rnn_edge.capture.rolling.curves import Curve
from rnn_edge.capture.rolling.program import (
    Argument,
    Loop,
    LoopValue,
    Number,
    OwnValue,
    PlainValue,
    RolledStep,
    rebuild,
    replay,
    walk,
)
from rnn_edge.capture.rolling.trace import Source

_ATEN = torch.ops.aten


@dataclass(frozen=True)
class Carry:
    """A value that goes from iteration to iteration, and what it is before the first ones."""

    step: int
    item: int | None
    initial: tuple[Any, ...]


@dataclass(frozen=True)
class Selected:
    """A scanned input: slice ``index`` of ``x`` along ``dim``."""

    x: Any
    dim: int
    index: Affine | Curve


@dataclass
class Body:
    """``module`` takes carries, scanned inputs and invariants, and gives the next carries and the
    collected values."""

    carries: dict[Carry, list[Node]] = field(default_factory=dict)
    scanned: dict[Selected | LoopValue | Number, Node] = field(default_factory=dict)
    invariants: dict[Any, Node] = field(default_factory=dict)
    collected: list[tuple[int, int | None]] = field(default_factory=list)
    module: GraphModule | None = None


@dataclass(frozen=True)
class Buffer:
    """A tensor that a loop only writes into: value ``source`` to place ``index`` along ``dim``.

    Without an ``index`` it grows: at its end, or at its beginning.
    """

    initial: Any
    source: OwnValue | LoopValue
    dim: int
    index: Affine | Curve | None
    at_end: bool = True


def find_buffers(loop: Loop, wanted: Sequence[tuple[int, int | None]]) -> dict[int, Buffer]:
    """The steps of ``loop`` that write into a tensor which nothing in the loop reads.

    ``wanted`` are the steps whose results are used outside: a read that serves none counts not.
    """
    found = {}
    live = _find_live(loop, [step for step, _ in wanted])
    for number, step in enumerate(loop.body):
        target, buffer = _read_write(step)
        written = isinstance(target, OwnValue) and (target.step, target.delay) == (number, 1)
        readers = [
            value
            for place, other in enumerate(loop.body)
            if place in live
            for value in walk((other.args, other.kwargs))
            if isinstance(value, OwnValue) and value.step == number
        ]
        if buffer and written and len(readers) == 1 and _is_of_iteration(buffer.source):
            found[number] = buffer
    return found


def _read_write(step: RolledStep) -> tuple[Any, Buffer | None]:
    """What ``step`` writes into, and how."""
    if step.target is _ATEN.select_scatter.default:
        target, source, dim, index = step.args
        initial = target.initial[0] if getattr(target, "initial", ()) else None
        return target, Buffer(initial, source, dim.value.constant, index.value)
    if step.target is _ATEN.cat.default and len(step.args[0]) == 2:
        dim = step.args[1].value.constant if len(step.args) > 1 else 0
        for at_end, (target, source) in ((True, step.args[0]), (False, step.args[0][::-1])):
            if isinstance(target, OwnValue) and target.delay == 1:
                return target, Buffer(target.initial[0], source, dim, None, at_end)
    return None, None


def _is_of_iteration(value: Any) -> bool:
    """Whether ``value`` is a result of the present iteration."""
    if isinstance(value, OwnValue):
        return value.delay == 0
    return isinstance(value, LoopValue) and bool(value.iteration.by_iteration)


def _find_live(loop: Loop, wanted: Sequence[int]) -> set[int]:
    live: set[int] = set()
    pending = list(wanted)
    while pending:
        number = pending.pop()
        if number in live:
            continue
        live.add(number)
        step = loop.body[number]
        pending += [v.step for v in walk((step.args, step.kwargs)) if isinstance(v, OwnValue)]
    return live


class BodyBuilder:
    """Builds the body of one loop; loops without carries are written into those that use them."""

    def __init__(
        self, loop: Loop, loops: dict[int, Loop], sizes: int, here: Affine | None = None
    ) -> None:
        self._loop = loop
        self._loops = loops
        # Iteration j of the scan runs iteration ``here`` of the loop.
        self._here = here or Affine(0, (0,) * sizes, 1)
        self._graph = Graph()
        self._done: dict[tuple[int, int, Affine], Node] = {}
        self.body = Body()

    def build(self, collected: list[tuple[int, int | None]]) -> Body:
        """``collected`` names the (step, item) whose results of all iterations are wanted."""
        body = self.body
        values = [self._value(self._loop.number, *what, self._here) for what in collected]
        done: set[Carry] = set()
        following: list[Node] = []
        # What a carry becomes may need further carries: until there are no new ones.
        while pending := [carry for carry in body.carries if carry not in done]:
            for carry in pending:
                done.add(carry)
                self._value(self._loop.number, carry.step, carry.item, self._here)
        for carry, slots in body.carries.items():
            value = self._value(self._loop.number, carry.step, carry.item, self._here)
            following += [value, *slots[:-1]]
        # A scan must not give back what it was given.
        outputs = [self._call(_ATEN.clone.default, node) for node in [*following, *values]]
        body.collected = collected
        self._graph.output(outputs)
        body.module = GraphModule(torch.nn.Module(), self._in_order())
        return body

    def _in_order(self) -> Graph:
        """The graph with its placeholders first, in the order in which a scan gives them."""
        body = self.body
        placeholders = [
            *(slot for slots in body.carries.values() for slot in slots),
            *body.scanned.values(),
            *body.invariants.values(),
        ]
        ordered = Graph()
        moved: dict[Node, Node] = {}
        for node in placeholders:
            moved[node] = ordered.node_copy(node, lambda n: moved[n])
        for node in self._graph.nodes:
            if node not in moved:
                moved[node] = ordered.node_copy(node, lambda n: moved[n])
        return ordered

    def _placeholder(self) -> Node:
        return self._graph.placeholder(f"given_{len(self._graph.nodes)}")

    def _call(self, target: Any, *args: Any) -> Node:
        return self._graph.call_function(target, args)

    def _value(self, loop: int, step: int, item: int | None, iteration: Affine) -> Node:
        key = (loop, step, iteration)
        if key not in self._done:
            self._done[key] = self._emit(self._loops[loop], step, iteration)
        node = self._done[key]
        if item is None:
            return node
        return self._call(operator.getitem, node, item)

    def _emit(self, loop: Loop, number: int, iteration: Affine) -> Node:
        step = loop.body[number]
        moving = self._moving_select(loop, step, iteration)
        if moving is not None:
            return moving
        if step.target is _ATEN.slice.Tensor and self._moves(step, iteration):
            return self._emit_window(loop, step, iteration)
        if step.target is _ATEN.select_scatter.default:
            return self._emit_write(loop, step, iteration)
        args, kwargs = rebuild(
            (step.args, step.kwargs), lambda leaf: self._leaf(loop, leaf, iteration)
        )
        numbers_given = any(
            isinstance(value, Number)
            and Number(value.value.substitute(iteration), value.whole).is_given
            for value in walk((step.args, step.kwargs))
        )
        target = replay(step.target, numbers_given)
        return self._graph.call_function(target, tuple(args), kwargs)

    def _follows(self, value: Any, iteration: Affine) -> bool:
        return isinstance(value, Number) and bool(value.value.substitute(iteration).by_iteration)

    def _moving_select(self, loop: Loop, step: RolledStep, iteration: Affine) -> Node | None:
        """x.select(dim, t): a scanned input where x is the same in every iteration."""
        if step.target is not _ATEN.select.int or not self._follows(step.args[2], iteration):
            return None
        x, dim, index = step.args[0], step.args[1].value.constant, step.args[2]
        place = index.value.substitute(iteration)
        if isinstance(x, (Source, PlainValue)):
            return self._scanned(Selected(x, dim, place))
        position = self._scanned(Number(place, True))
        chosen = self._call(
            _ATEN.index_select.default, self._leaf(loop, x, iteration), dim,
            self._call(_ATEN.unsqueeze.default, position, 0),
        )  # fmt: skip
        return self._call(_ATEN.squeeze.dim, chosen, dim)

    def _moves(self, step: RolledStep, iteration: Affine) -> bool:
        return any(self._follows(value, iteration) for value in step.args[1:])

    def _emit_window(self, loop: Loop, step: RolledStep, iteration: Affine) -> Node:
        """x[:, t : t + 2]: a window of fixed width that moves."""
        x, dim, *ends = step.args
        given = [end.value.substitute(iteration) for end in ends if isinstance(end, Number)]
        places = [place for place in given if isinstance(place, Affine)]
        width = places[1].minus(places[0]) if len(places) == 2 and len(ends) == 2 else None
        if width is None or not width.is_constant:
            raise NotRollableError(
                "a slice that moves with a loop must have one width and step 1 to be exported, "
                f"got another one at {step.line}. Mask what is not to be used."
            )
        dim = dim.value.constant
        if width.constant == 1 and isinstance(x, (Source, PlainValue)):
            chosen = self._scanned(Selected(x, dim, places[0]))
            return self._call(_ATEN.unsqueeze.default, chosen, dim)
        inside = self._call(_ATEN.arange.default, width.constant)
        position = self._call(_ATEN.add.Tensor, inside, self._scanned(Number(places[0], True)))
        return self._call(_ATEN.index_select.default, self._leaf(loop, x, iteration), dim, position)

    def _emit_write(self, loop: Loop, step: RolledStep, iteration: Affine) -> Node:
        """select_scatter at a place that moves, for a buffer that the loop also reads."""
        target, source, dim, index = step.args
        buffer = self._leaf(loop, target, iteration)
        value = self._leaf(loop, source, iteration)
        place = self._leaf(loop, index, iteration)
        return self._call(write_at, buffer, value, dim.value.constant, place)

    def _leaf(self, loop: Loop, value: Argument, iteration: Affine) -> Any:
        if isinstance(value, Number):
            found = value.value.substitute(iteration)
            if found.is_constant:
                return found.constant
            number = Number(found, value.whole)
            return self._scanned(number) if found.by_iteration else self._invariant(number)
        if isinstance(value, OwnValue):
            if value.delay == 0:
                return self._value(loop.number, value.step, value.item, iteration)
            return self._carried(loop, value)
        if isinstance(value, LoopValue):
            where = value.iteration.substitute(iteration)
            if not self._loops[value.loop].carries:
                return self._value(value.loop, value.step, value.item, where)
            moved = LoopValue(value.loop, value.step, value.item, where)
            return self._scanned(moved) if where.by_iteration else self._invariant(moved)
        if isinstance(value, (Source, PlainValue)):
            return self._invariant(value)
        return value

    def _carried(self, loop: Loop, value: OwnValue) -> Node:
        if loop is not self._loop:
            raise NotRollableError(
                "a loop must be finished before another one uses it to be exported, "
                f"got one that is not at {loop.body[value.step].line}. Separate the loops."
            )
        for carry, slots in self.body.carries.items():
            same = (carry.step, carry.item) == (value.step, value.item)
            shorter = min(len(carry.initial), value.delay)
            if same and carry.initial[:shorter] == value.initial[:shorter]:
                if value.delay <= len(slots):
                    return slots[value.delay - 1]
                self.body.carries[Carry(value.step, value.item, value.initial)] = slots + [
                    self._placeholder() for _ in range(value.delay - len(slots))
                ]
                del self.body.carries[carry]
                return self._carried(loop, value)
        slots = [self._placeholder() for _ in range(value.delay)]
        self.body.carries[Carry(value.step, value.item, value.initial)] = slots
        return slots[-1]

    def _scanned(self, what: Selected | LoopValue | Number) -> Node:
        if what not in self.body.scanned:
            self.body.scanned[what] = self._placeholder()
        return self.body.scanned[what]

    def _invariant(self, what: Any) -> Node:
        if what not in self.body.invariants:
            self.body.invariants[what] = self._placeholder()
        return self.body.invariants[what]


def write_at(buffer: torch.Tensor, value: torch.Tensor, dim: int, place: torch.Tensor) -> Any:
    """``buffer`` with ``value`` at ``place``, a tensor, along ``dim``."""
    dim = dim % buffer.dim()
    here = torch.arange(buffer.shape[dim], device=buffer.device) == place
    here = here.reshape(-1, *(1,) * (buffer.dim() - dim - 1))
    return torch.where(here, value.unsqueeze(dim), buffer)
