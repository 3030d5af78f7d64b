"""Streams that may share a run: each has its row in one set of buffers."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnn_edge.runtime.pool_quick import QuickPool, quick_pool
from rnn_edge.runtime.stream_engine import MakeRows
from rnn_edge.runtime.stream_form import Shapes, StreamForm

# Batches of part of the rows whose buffers are kept, one for each number of rows.
MOST_PARTS = 8


@dataclass(eq=False)
class Row:
    """One stream. ``context`` and ``states`` are what it brings, until its block has taken it in.

    ``shared`` are its own values of the states that the rows of one run share. ``origin`` and
    ``frames`` tell which streams are at one step: those that started anew (None) and have read
    equally many frames.
    """

    id: int
    context: dict[str, np.ndarray]
    states: dict[str, np.ndarray]
    shared: dict[str, np.ndarray]
    fresh: bool
    origin: int | None
    frames: int = 0


@dataclass(frozen=True)
class Task:
    """One chunk for one stream, which starts anew with it when ``start`` is set."""

    row: Row
    chunk: list[np.ndarray]
    start: bool

    def alike(self, form: StreamForm) -> Hashable:
        """Tasks of one block that agree in this may share a run."""
        key: list[Hashable] = [array.shape for array in self.chunk]
        key += [self.chunk[place].tobytes() for place in form.shared_chunk]
        if form.in_step:
            key.append(self.start)
            if not self.start:
                row = self.row
                key.append(row.origin is None and row.frames == 0)
                key += [array.tobytes() for array in row.shared.values()]
                key.append(None if row.shared else (row.origin, row.frames))
        return tuple(key)


class Block:
    """Rows whose context has the same sizes, in one batch; they join and leave between runs.

    When all rows run, their states lie where the graph reads them; when some do, theirs are copied
    to a smaller batch and back.
    """

    def __init__(self, form: StreamForm, make_rows: MakeRows) -> None:
        self._make_rows = make_rows
        self._form = form
        self._axes = _row_axes(form)
        #: Those who are here, and those of them whose place in the batch is known.
        self._rows: list[Row] = []
        self._place: dict[int, int] = {}
        # Batches of either engine; one takes rows from another of its kind alone.
        self._batch: Any = None
        self._parts: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def join(self, row: Row) -> None:
        self._rows.append(row)

    def leave(self, row: Row) -> None:
        self._rows.remove(row)
        self._place.pop(row.id, None)

    def run(self, tasks: Sequence[Task]) -> dict[int, list[np.ndarray]]:
        """One run for tasks that may share it; after an InputError every stream is as it was."""
        whole = self._settled()
        tasks = sorted(tasks, key=lambda task: self._place[task.row.id])
        rows = np.array([self._place[task.row.id] for task in tasks])
        starting = [number for number, task in enumerate(tasks) if task.start]
        batch = whole
        # A row that starts anew loses its state only when the run has succeeded.
        if starting or len(rows) < whole.rows:
            batch = self._part(len(rows))
            batch.take_rows(whole, rows)
        batch.set_shared_states(tasks[0].row.shared)
        if starting:
            batch.start(starting)
        plan = batch.plan(self._shapes(tasks))
        plan.put_rows([task.chunk for task in tasks], [self._axes.get(s.name) for s in self._chunk])
        answers = batch.run(plan)
        if batch is not whole:
            batch.give_rows(whole, rows)
        shared = batch.shared_states()
        for task in tasks:
            row = task.row
            row.shared = shared
            if task.start:
                row.origin, row.frames = None, 0
            row.frames += plan.frames
        return self._split(answers, tasks)

    def quick(self, tasks: Sequence[Task]) -> QuickPool | None:
        """What runs such tasks again in one go, where they are all that is here."""
        batch = self._batch
        if batch is None or not len(tasks) == len(self._rows) == len(self._place) == batch.rows:
            return None
        places = [self._place[task.row.id] for task in tasks]
        plan = batch.plan(self._shapes(tasks))
        push = quick_pool(self._form, plan, [task.row.id for task in tasks], places)
        if push is None:
            return None

        def push_here(chunks: Mapping[int, Any]) -> dict[int, list[np.ndarray]] | None:
            # Once others have come or gone, the rows are in another batch.
            return push(chunks) if self._batch is batch else None

        return push_here

    def state(self, row: Row) -> dict[str, np.ndarray]:
        """What ``StreamSession.state`` would give for this stream."""
        whole, place = self._settled(), self._place[row.id]
        held = {name: array.copy() for name, array in row.shared.items()}
        for name, axis, array in self._row_tensors(whole):
            held[name] = np.take(array, [place], axis)
        for name, array in whole.context().items():
            if name not in held:
                held[name] = array.copy()
        if self._form.rule.reset is not None:
            held[self._form.rule.reset] = whole.fresh[[place]]
        return held

    @property
    def _chunk(self) -> tuple:
        return self._form.chunk

    def _settled(self) -> Any:
        """The batch of all rows, made anew when some have joined or left."""
        old = self._batch
        if old is not None and len(self._rows) == len(self._place) == old.rows:
            return old
        kept = [row for row in self._rows if row.id in self._place]
        joining = [row for row in self._rows if row.id not in self._place]
        parts: dict[str, list[np.ndarray]] = {}
        fresh = [row.fresh for row in joining]
        if old is not None and kept:
            places = [self._place[row.id] for row in kept]
            fresh = [*old.fresh[places], *fresh]
            for name, axis, array in self._row_tensors(old):
                parts[name] = [np.take(array, places, axis)]
        for row in joining:
            for name, array in {**row.states, **row.context}.items():
                parts.setdefault(name, []).append(array)
            row.states, row.context = {}, {}
        held = {} if old is None else old.context()
        stacked = {
            name: np.concatenate(arrays, self._axes[name]) if name in self._axes else arrays[0]
            for name, arrays in parts.items()
        }
        self._rows = [*kept, *joining]
        self._batch = self._make_rows(len(self._rows), {**held, **stacked})
        self._batch.set_states({**stacked, **self._rows[0].shared}, np.array(fresh))
        self._place = {row.id: place for place, row in enumerate(self._rows)}
        return self._batch

    def _part(self, rows: int) -> Any:
        part = self._parts.pop(rows, None)
        if part is None:
            context = self._settled().context()
            for name, array in context.items():
                if name in self._axes:
                    context[name] = np.take(array, [0] * rows, self._axes[name])
            part = self._make_rows(rows, context)
            if len(self._parts) == MOST_PARTS:
                del self._parts[next(iter(self._parts))]
        self._parts[rows] = part
        return part

    def _row_tensors(self, batch: Any) -> Iterator[tuple[str, int, np.ndarray]]:
        """Name, axis of rows and array of all that belongs to single rows."""
        for name, array in {**batch.states(), **batch.context()}.items():
            if name in self._axes:
                yield name, self._axes[name], array

    def _shapes(self, tasks: Sequence[Task]) -> Shapes:
        shapes = []
        for spec, array in zip(self._chunk, tasks[0].chunk, strict=True):
            shape = list(array.shape)
            if spec.name in self._axes:
                shape[self._axes[spec.name]] = len(tasks)
            shapes.append(tuple(shape))
        return tuple(shapes)

    def _split(
        self, answers: Sequence[np.ndarray], tasks: Sequence[Task]
    ) -> dict[int, list[np.ndarray]]:
        """Each stream's answers; a batch axis of 1 stays in them."""
        axes = [self._form.row_axis(spec) for spec in self._form.outputs]
        if all(axis == 0 for axis in axes):
            return {
                task.row.id: [array[number : number + 1] for array in answers]
                for number, task in enumerate(tasks)
            }
        split: dict[int, list[np.ndarray]] = {}
        for number, task in enumerate(tasks):
            split[task.row.id] = [
                array.copy()
                if axis is None
                else array[(slice(None),) * axis + (slice(number, number + 1),)]
                for array, axis in zip(answers, axes, strict=True)
            ]
        return split


def _row_axes(form: StreamForm) -> dict[str, int]:
    """Where the rows lie in each input that has them."""
    axes = {spec.name: form.row_axis(spec) for spec in form.given}
    axes |= {pair.input: pair.batch_axis for pair in form.states}
    return {name: axis for name, axis in axes.items() if axis is not None}
