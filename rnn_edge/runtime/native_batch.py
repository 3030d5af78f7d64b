"""Rows that run through a stream graph written as C: the other engine of StreamSession."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from rnn_edge.c99.library import Library, Part
from rnn_edge.contract import StatePair, TensorSpec
from rnn_edge.errors import InputError
from rnn_edge.runtime.stream_form import Shapes, StreamForm
from rnn_edge.runtime.stream_plan import taker_of_all
from rnn_edge.runtime.stream_quick import QuickPush, small_numbers

# What a compiler may take for granted of memory that it was not told about.
_ALIGNMENT = 64
MOST_PLANS = 16


class NativeBatch:
    """As StreamBatch, with states that lie in the structs of the generated C, one a row."""

    def __init__(
        self, library: Library, form: StreamForm, rows: int, context: Mapping[str, np.ndarray]
    ) -> None:
        self.form, self.rows, self.library = form, rows, library
        self.sizes = form.sizes(rows, context)
        self.code = ctypes.CDLL(str(library.path))
        layout = (ctypes.c_size_t * (2 + len(library.states))).in_dll(self.code, "rnn_edge_layout")
        self._bytes, self._start = layout[0], layout[1]
        self._memory = _aligned(rows * max(self._bytes, 1))
        self.states_at = ctypes.c_void_p(self._memory.ctypes.data)
        self._table = table = self._memory.reshape(rows, -1)
        self._fields = {
            part.name: _field(table, part, offset, self._pair(part.name))
            for part, offset in zip(library.states, layout[2:], strict=True)
        }
        self._flags = table[:, self._start] if self._start < self._bytes else None
        self._context = {spec.name: context[spec.name].copy() for spec in form.context}
        self.fresh = np.zeros(rows, bool)
        self.some_fresh = True
        self._plans: dict[Shapes, NativePlan] = {}
        self.start(range(rows))

    def start(self, rows: Sequence[int] | range) -> None:
        """Let ``rows`` start anew."""
        at = self._memory.ctypes.data
        for row in rows:
            self.code.rnn_edge_reset(ctypes.c_void_p(at + row * self._bytes))
        self.fresh[list(rows)] = True
        self.some_fresh = True

    def plan(self, shapes: Shapes) -> NativePlan:
        """The plan for chunks of these shapes, made if there is none."""
        plan = self._plans.pop(shapes, None)
        if plan is None:
            plan = NativePlan(self, shapes, self._context)
            if len(self._plans) == MOST_PLANS:
                del self._plans[next(iter(self._plans))]
        self._plans[shapes] = plan
        return plan

    def ready_plan(self, arrays: Sequence[Any]) -> NativePlan | None:
        """The plan that has taken these arrays as its chunk, if there is one for their shapes."""
        if any(type(array) is not np.ndarray for array in arrays):
            return None
        plan = self._plans.get(tuple(array.shape for array in arrays))
        return plan if plan is not None and plan.take(arrays) else None

    def run(self, plan: NativePlan, copy: bool = True) -> list[np.ndarray]:
        """Run a plan that holds its chunk."""
        begun = self.steps_so_far()
        if plan.run():
            raise InputError(
                f"a chunk must hold what the contract of {self.form.contract.file} allows, "
                "the C code refused it. Check it against `rnn-edge inspect`."
            )
        if self.some_fresh:
            self.fresh[...] = False
            self.some_fresh = False
        return plan.answers(copy, begun)

    def context(self) -> dict[str, np.ndarray]:
        """The context as it is held; not to be written into."""
        return self._context

    def set_context(self, context: Mapping[str, np.ndarray]) -> None:
        """Other values of the same shapes."""
        for name, array in self._context.items():
            array[...] = context[name]
        for plan in self._plans.values():
            plan.put_context(self._context)

    def states(self) -> dict[str, np.ndarray]:
        """The states as they are held, by input name; not to be written into."""
        return {
            pair.input: field[0] if pair.batch_axis is None else field
            for pair in self.form.states
            for field in (self._fields[pair.input],)
        }

    def set_states(self, states: Mapping[str, np.ndarray], fresh: np.ndarray | None) -> None:
        """Other values of the same shapes; ``fresh`` None where a graph takes no reset."""
        counter, frames = self.library.counter, self.library.frames
        if counter is not None and int(states[counter].item()) % frames:
            raise InputError(
                f"a state must be one after a multiple of {frames} frames with the engine 'c', "
                f"{counter} is {int(states[counter].item())}. Use the engine 'onnxruntime'."
            )
        for name, field in self._fields.items():
            field[...] = states[name]
        self.fresh[...] = False if fresh is None else fresh
        self.some_fresh = bool(self.fresh.any())
        if self._flags is not None:
            self._flags[...] = self.fresh

    def take_rows(self, other: NativeBatch, rows: np.ndarray) -> None:
        """Become a copy of these rows of another batch."""
        self._table[...] = other._table[rows]
        self.fresh[...] = other.fresh[rows]
        self.some_fresh = bool(self.fresh.any())
        context = {}
        for spec in self.form.context:
            axis, array = self.form.row_axis(spec), other._context[spec.name]
            context[spec.name] = array if axis is None else np.take(array, rows, axis)
        self.set_context(context)

    def give_rows(self, other: NativeBatch, rows: np.ndarray) -> None:
        """Write all rows back to where they lie in another batch, when they have run."""
        other._table[rows] = self._table
        other.fresh[rows] = self.fresh
        other.some_fresh = bool(other.fresh.any())

    def shared_states(self) -> dict[str, np.ndarray]:
        """Copies of the states that all rows share."""
        shared = [pair.input for pair in self.form.states if pair.batch_axis is None]
        return {name: self._fields[name][0].copy() for name in shared}

    def set_shared_states(self, states: Mapping[str, np.ndarray]) -> None:
        for name, array in states.items():
            self._fields[name][...] = array

    def steps_so_far(self) -> int:
        """How many steps the rows have come, where the library counts them."""
        counter = self.library.counter
        return 0 if counter is None else int(self._fields[counter].flat[0]) // self.library.frames

    def _pair(self, name: str) -> StatePair:
        return next(pair for pair in self.form.states if pair.input == name)


class NativePlan:
    """Buffers for chunks of one shape, as the C takes them: rows, then steps, then one step's."""

    def __init__(
        self, batch: NativeBatch, shapes: Shapes, context: Mapping[str, np.ndarray]
    ) -> None:
        library, form = batch.library, batch.form
        self.shapes, self.frames = shapes, form.frames(shapes)
        if self.frames % library.frames:
            raise InputError(
                f"frames of a chunk must be a multiple of {library.frames} with the engine 'c', "
                f"got {self.frames}. Push more, or use the engine 'onnxruntime'."
            )
        steps = self.frames // library.frames
        specs = {spec.name: spec for spec in (*form.given, *form.outputs)}
        self._blocks = {
            part.name: _Block(
                specs[part.name], part, form, batch.rows, steps, _time_axis(specs[part.name], batch)
            )
            for part in (*library.inputs, *library.outputs)
        }
        self._inputs = [self._blocks[spec.name] for spec in form.chunk if spec.name in self._blocks]
        self._outputs = [self._blocks[spec.name] for spec in form.outputs]
        self._starts = [library.starts.get(spec.name, ()) for spec in form.outputs]
        self._named = {spec.name: self._blocks[spec.name] for spec in form.context}
        self.put_context(context)
        blocks = list(self._blocks.values())
        self._tensors = (ctypes.c_void_p * len(blocks))(*(b.memory.ctypes.data for b in blocks))
        moves = [move for block in blocks for move in block.moves]
        self._moves = (ctypes.c_size_t * len(moves))(*moves)
        self._call = _Call(
            batch.states_at,
            batch.rows,
            steps,
            ctypes.cast(self._tensors, ctypes.c_void_p),
            ctypes.cast(self._moves, ctypes.c_void_p),
        )
        self._call_at = ctypes.c_void_p(ctypes.addressof(self._call))
        self._code = batch.code.rnn_edge_run
        views = [block.view for block in self._inputs if block.view is not None]
        ready = [block.view for block in self._outputs if block.view is not None]
        # Where every array has the contract's shape already.
        direct = len(views) == len(form.chunk)
        self.take: Callable[[Sequence[Any]], bool] = (
            taker_of_all(list(zip(form.chunk, views, strict=True)))
            if direct
            else (lambda arrays: False)
        )
        self.quick: QuickPush = (
            self._quick_push(batch, form.chunk[0], views[0], ready)
            if direct and len(views) == 1 and len(ready) == len(form.outputs) and not library.starts
            else (lambda chunk, copy: None)
        )

    def put(self, arrays: Sequence[np.ndarray]) -> None:
        """Copy a chunk in that has been checked."""
        for block, array in zip(self._inputs, arrays, strict=True):
            block.put(array)

    def put_rows(self, parts: Sequence[Sequence[np.ndarray]], axes: Sequence[int | None]) -> None:
        """Copy the chunks of single rows in, one after the other along each input's ``axes``."""
        self.put(
            [
                parts[0][place]
                if axis is None
                else np.concatenate([part[place] for part in parts], axis)
                for place, axis in enumerate(axes)
            ]
        )

    def put_context(self, context: Mapping[str, np.ndarray]) -> None:
        for name, block in self._named.items():
            block.put(context[name])

    def run(self) -> int:
        """What the C gives: 0 where all is well."""
        found: int = self._code(self._call_at)
        return found

    def answers(self, copy: bool = True, begun: int = 0) -> list[np.ndarray]:
        """What the last run gave; without ``copy``, the buffers that the next run writes into.

        ``begun`` steps came before it: the first ones of a sequence may give fewer frames.
        """
        return [
            block.get(copy) if begun >= len(starts) else block.get_begun(starts[begun:])
            for block, starts in zip(self._outputs, self._starts, strict=True)
        ]

    def _quick_push(
        self, batch: NativeBatch, spec: TensorSpec, target: np.ndarray, arrays: list[np.ndarray]
    ) -> QuickPush:
        """As that of stream_quick; of a single step the C itself refuses what is not finite."""
        code, call = self._code, self._call_at
        shape, dtype = target.shape, target.dtype
        flat = target.reshape(-1)
        unbounded = dtype.kind == "f" and spec.minimum is None and spec.maximum is None
        scales = small_numbers(target) if unbounded else flat
        total = np.empty((), dtype)
        alone = batch.rows == 1 and self.frames == batch.library.frames
        copies = [array.copy for array in arrays]
        first = copies[0] if len(copies) == 1 else None
        array_type, finite = np.ndarray, math.isfinite

        def push(chunk: tuple[Any, ...], copy: bool) -> list[np.ndarray] | None:
            if len(chunk) != 1 or batch.some_fresh:
                return None
            array = chunk[0]
            if type(array) is not array_type or array.shape != shape or array.dtype is not dtype:
                return None
            target[...] = array
            if not alone and not (unbounded and finite(flat.dot(scales, total))):
                return None
            # One step that is refused leaves the state as it was; the checks then find the words.
            if code(call):
                return None
            if not copy:
                return arrays.copy()
            return [first()] if first is not None else [copied() for copied in copies]

        return push


class _Call(ctypes.Structure):
    """The one argument of a run, as engine.c has it."""

    _fields_: ClassVar = [
        ("states", ctypes.c_void_p),
        ("rows", ctypes.c_size_t),
        ("steps", ctypes.c_size_t),
        ("tensors", ctypes.c_void_p),
        ("moves", ctypes.c_void_p),
    ]


class _Block:
    """Memory of one input or output. ``view`` is it in the contract's shape, where that can be.

    A step of several frames, or an axis of time behind others, needs a copy to look like that.
    """

    def __init__(
        self,
        spec: TensorSpec,
        part: Part,
        form: StreamForm,
        rows: int,
        steps: int,
        time: int | None,
    ) -> None:
        row = form.row_axis(spec)
        own_rows, own_steps = (1 if row is None else rows), (1 if time is None else steps)
        self.memory = _aligned(own_rows * own_steps * part.size * part.dtype.itemsize)
        self.moves = (
            0 if row is None else own_steps * part.size,
            0 if time is None else part.size,
        )
        block = self.memory.view(part.dtype).reshape(own_rows, own_steps, *part.shape)
        self._block, self._axes = block, (row, time)
        # Its axes in the contract's order: the rows in the place of the step's one row, the steps
        # before the step's frames.
        order = list(range(2, block.ndim))
        if row is not None:
            order[row] = 0
        places: list[int] = []
        self._shape: list[int] = []
        for axis, size in enumerate(part.shape):
            places += [1, order[axis]] if axis == time else [order[axis]]
            self._shape.append(rows if axis == row else own_steps * size if axis == time else size)
        left = [axis for axis in range(block.ndim) if axis not in places]
        arranged = block.transpose(*left, *places)
        self._arranged = arranged.reshape(arranged.shape[len(left) :])
        merged = self._arranged.reshape(self._shape)
        self.view = merged if np.shares_memory(merged, self.memory) else None

    def put(self, array: np.ndarray) -> None:
        self._arranged[...] = array.reshape(self._arranged.shape)

    def get(self, copy: bool) -> np.ndarray:
        if self.view is not None:
            return self.view.copy() if copy else self.view
        return self._arranged.reshape(self._shape)

    def get_begun(self, starts: Sequence[int]) -> np.ndarray:
        """The frames of steps of which the first give ``starts`` frames, packed in their places."""
        row, time = self._axes
        assert time is not None
        rows, steps, *shape = self._block.shape
        parts = []
        for step in range(steps):
            shape[time] = starts[step] if step < len(starts) else self._block.shape[2 + time]
            flat = self._block[:, step].reshape(rows, -1)[:, : math.prod(shape)]
            part = flat.reshape(rows, *shape)
            parts.append(part[0] if row is None else np.moveaxis(part, 0, row).squeeze(row + 1))
        return np.concatenate(parts, time)


def _time_axis(spec: TensorSpec, batch: NativeBatch) -> int | None:
    """Which axis grows with the steps: that of the stream rule, or one that follows from it."""
    named = {dim: axis for axis, dim in enumerate(spec.dims) if isinstance(dim, str)}
    axis = batch.form.rule.axis
    others = [place for name, place in named.items() if name not in batch.sizes and name != axis]
    return named.get(axis, others[0] if others else None)


def _aligned(size: int) -> np.ndarray:
    """``size`` bytes that are 0, at a multiple of the alignment."""
    memory = np.zeros(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size]


def _field(table: np.ndarray, part: Part, offset: int, pair: StatePair) -> np.ndarray:
    """One state of all rows, in the contract's shape; with the rows first where they share it."""
    rows = len(table)
    flat = table[:, offset : offset + part.size * part.dtype.itemsize].view(part.dtype)
    if pair.batch_axis is None:
        return flat.reshape(rows, *part.shape)
    without = [size for axis, size in enumerate(part.shape) if axis != pair.batch_axis]
    return np.moveaxis(flat.reshape(rows, *without), 0, pair.batch_axis)
