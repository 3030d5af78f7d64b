"""Rows that run through a stream graph together: their states, context and buffers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnn_edge.runtime.providers import runtime_errors
from rnn_edge.runtime.stream_form import Shapes
from rnn_edge.runtime.stream_graph import StreamGraph
from rnn_edge.runtime.stream_plan import Buffer, Plan
from rnn_edge.runtime.stream_quick import quick_push

# Chunk shapes whose buffers are kept; more than these in turn are bound anew.
MOST_PLANS = 16
# Slices that take all of an axis, to stand before an index of rows.
ALL: tuple[Any, ...] = (slice(None),) * 32


class StreamBatch:
    """``rows`` streams in one set of buffers; arrays that come in here have been checked.

    ``fresh`` is True for the rows that start anew in the next run, ``some_fresh`` where there are
    any. ``way`` tells which of the two sets of buffers holds the states.
    """

    def __init__(self, graph: StreamGraph, rows: int, context: Mapping[str, np.ndarray]) -> None:
        form = graph.form
        self.graph = graph
        self.rows = rows
        self.sizes = form.sizes(rows, context)
        self._sets = tuple(
            {
                pair.input: Buffer(
                    form.state_shape(pair, self.sizes),
                    form.contract.input(pair.input).dtype,
                    graph.device,
                )
                for pair in form.states
            }
            for _ in range(2)
        )
        self.way = 0
        self._context = {
            spec.name: Buffer(context[spec.name].shape, spec.dtype, graph.device)
            for spec in form.context
        }
        self._fixed = dict(self._context)
        self.fresh = np.zeros(rows, bool)
        if form.rule.reset is not None:
            flags = Buffer((rows,), "bool", graph.device)
            self._fixed[form.rule.reset] = flags
            self.fresh = flags.array
        self.some_fresh = True
        self._plans: dict[Shapes, Plan] = {}
        self.set_context(context)
        self.start(range(rows))

    def start(self, rows: Sequence[int] | range) -> None:
        """Let ``rows`` start anew; a state that rows share starts with them."""
        every = len(rows) == self.rows
        for pair in self.graph.form.states:
            buffer = self._sets[self.way][pair.input]
            if every or pair.batch_axis is None:
                buffer.array[...] = pair.initial
            else:
                buffer.read()[(*ALL[: pair.batch_axis], list(rows))] = pair.initial
            buffer.upload()
        self.fresh[list(rows)] = True
        self.some_fresh = True

    def plan(self, shapes: Shapes) -> Plan:
        """The plan for chunks of these shapes, made if there is none."""
        plan = self._plans.pop(shapes, None)
        if plan is None:
            graph = self.graph
            session = graph.session(graph.form.frames(shapes), self.rows)
            plan = Plan(
                session, graph.form, self.sizes, shapes, self._sets, self._fixed, graph.device
            )
            plan.quick = quick_push(self, plan)
            if len(self._plans) == MOST_PLANS:
                del self._plans[next(iter(self._plans))]
        self._plans[shapes] = plan
        return plan

    def ready_plan(self, arrays: Sequence[Any]) -> Plan | None:
        """The plan that has taken these arrays as its chunk, if there is one for their shapes."""
        if any(type(array) is not np.ndarray for array in arrays):
            return None
        plan = self._plans.get(tuple(array.shape for array in arrays))
        return plan if plan is not None and plan.take(arrays) else None

    def run(self, plan: Plan, copy: bool = True) -> list[np.ndarray]:
        """Run a plan that holds its chunk; the states move on only when that succeeds."""
        way = self.way
        try:
            plan.runs[way]()
        except runtime_errors() as error:
            raise plan.refusal(error) from None
        self.way = 1 - way
        if self.some_fresh:
            self.fresh[...] = False
            self.some_fresh = False
        return plan.answers(way, copy)

    def context(self) -> dict[str, np.ndarray]:
        """The context as it is held; not to be written into."""
        return {name: buffer.array for name, buffer in self._context.items()}

    def set_context(self, context: Mapping[str, np.ndarray]) -> None:
        """Other values of the same shapes."""
        for name, buffer in self._context.items():
            buffer.array[...] = context[name]
            buffer.upload()

    def states(self) -> dict[str, np.ndarray]:
        """The states as they are held, by input name; not to be written into."""
        return {name: buffer.read() for name, buffer in self._sets[self.way].items()}

    def set_states(self, states: Mapping[str, np.ndarray], fresh: np.ndarray | None) -> None:
        """Other values of the same shapes; ``fresh`` None where a graph takes no reset."""
        for name, buffer in self._sets[self.way].items():
            buffer.array[...] = states[name]
            buffer.upload()
        self.fresh[...] = False if fresh is None else fresh
        self.some_fresh = bool(self.fresh.any())

    def take_rows(self, other: StreamBatch, rows: np.ndarray) -> None:
        """Become a copy of these rows of another batch; states they share are left alone."""
        form = self.graph.form
        mine, theirs = self._sets[self.way], other.states()
        for pair in form.states:
            if pair.batch_axis is not None:
                array = mine[pair.input].array
                np.take(theirs[pair.input], rows, pair.batch_axis, out=array, mode="clip")
                mine[pair.input].upload()
        for spec in form.context:
            axis, buffer = form.row_axis(spec), self._context[spec.name]
            source = other._context[spec.name].array
            buffer.array[...] = source if axis is None else np.take(source, rows, axis)
            buffer.upload()
        if self.some_fresh or other.some_fresh:
            self.fresh[...] = other.fresh[rows]
            self.some_fresh = bool(self.fresh.any())

    def give_rows(self, other: StreamBatch, rows: np.ndarray) -> None:
        """Write all rows back to where they lie in another batch, when they have run."""
        mine, theirs = self.states(), other._sets[other.way]
        for pair in self.graph.form.states:
            if pair.batch_axis is not None:
                target = theirs[pair.input]
                target.read()[(*ALL[: pair.batch_axis], rows)] = mine[pair.input]
                target.upload()
        if other.some_fresh:
            other.fresh[rows] = self.fresh
            other.some_fresh = bool(other.fresh.any())

    def shared_states(self) -> dict[str, np.ndarray]:
        """Copies of the states that all rows share."""
        front = self._sets[self.way]
        shared = [pair.input for pair in self.graph.form.states if pair.batch_axis is None]
        return {name: front[name].read().copy() for name in shared}

    def set_shared_states(self, states: Mapping[str, np.ndarray]) -> None:
        for name, array in states.items():
            buffer = self._sets[self.way][name]
            buffer.array[...] = array
            buffer.upload()
