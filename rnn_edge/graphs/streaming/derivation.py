"""A graph on its way from whole sequences to chunks: kinds of its values, new nodes, states."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import onnx_ir as ir

from rnn_edge.errors import StreamError
from rnn_edge.graphs.origin import describe_node, find_origin
from rnn_edge.graphs.streaming.kinds import Clock, Count, Kind, Static, Timed, difference
from rnn_edge.graphs.streaming.rows import find_merged_rows

RESET = "reset"
STEP = "step"


@dataclass(frozen=True)
class State:
    """A value that goes from one chunk to the next; ``batch_axis`` is None where rows share it."""

    input: str
    output: str
    batch_axis: int | None


class Derivation:
    """The graph that is being changed, node by node, and what is known of its values.

    New nodes are put before ``node``, the one that is looked at.
    """

    def __init__(self, model: ir.Model, batch: str | None, always_reset: bool = False) -> None:
        self.graph = model.graph
        self.batch = batch
        self.kinds: dict[ir.Value, Kind] = {}
        self.states: list[State] = []
        self.node: ir.Node | None = None
        self.reset: ir.Value | None = None
        # Whether reset clears states that start with zeros too, which a caller could do itself.
        self.always_reset = always_reset
        # The length of every sequence, where the graph was made for one length.
        self.fixed: int | None = None
        # Frames joined with those before them, which several operators may want.
        self.joined: dict[tuple[ir.Value, int, int], ir.Value] = {}
        # What stands behind the last frames of a sequence, for all frames so far.
        self.tails: dict[ir.Value, ir.Value] = {}
        self.in_step = False
        # Axes that hold several rows of each sequence, and the sizes that they are merged of.
        self.merged_rows = find_merged_rows(model.graph, batch) if batch else {}
        # The rows of a graph whose batch has no name.
        self._rows: int | str | None = 1
        self._constants: dict[Any, ir.Value] = {}
        self._seen: dict[int, ir.Value] = {}
        self._names = {value.name for value in _all_values(model.graph)}

    # --- what is known ---------------------------------------------------------------------

    def kind(self, value: ir.Value | None) -> Kind:
        return Static() if value is None else self.kinds.get(value, Static())

    def array(self, value: ir.Value | None) -> np.ndarray | None:
        """The numbers of a constant."""
        tensor = None if value is None else ir.convenience.get_const_tensor(value)
        return None if tensor is None else tensor.numpy()

    def rank(self, value: ir.Value) -> int:
        if value.shape is None:
            self.refuse(f"the number of axes of {value.name} must be known")
        return len(value.shape)

    def dims(self, value: ir.Value) -> list[int | str | None]:
        """A number, a name or None for each axis."""
        if value.shape is None:
            self.refuse(f"the shape of {value.name} must be known")
        return [dim if isinstance(dim, int) else dim.value for dim in value.shape]

    def refuse(self, reason: str, cure: str = "") -> NoReturn:
        node = self.node
        assert node is not None
        where = describe_node(node)
        origin = find_origin(node).tell(where)
        place = f", {origin}" if origin else ""
        raise StreamError(
            f"every step must be computable from the frames so far, {where} is not: {reason}"
            f"{place}. " + (cure or "Change the model, or run it on whole sequences.")
        )

    # --- new nodes -------------------------------------------------------------------------

    def emit(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Any] | None = None,
        like: ir.Value | None = None,
    ) -> ir.Value:
        """A new node with one output, of the dtype of ``like``."""
        assert self.node is not None
        node = ir.node(op_type, inputs, attributes=attributes or {})
        (output,) = node.outputs
        output.name = self.name_for(f"stream_{op_type.lower()}")
        if like is not None:
            output.type = like.type
            output.shape = None
        self.insert(node)
        return output

    def insert(self, node: ir.Node) -> None:
        assert self.node is not None
        self.graph.insert_before(self.node, node)

    def numbers(self, *values: int) -> ir.Value:
        """A constant int64 [n]."""
        return self.constant(np.array(values, np.int64))

    def constant(self, array: np.ndarray) -> ir.Value:
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = self.name_for("stream_constant")
            value = ir.val(name, const_value=ir.tensor(array, name=name))
            self.graph.initializers[name] = value
            self._constants[key] = value
        return self._constants[key]

    def replace(self, old: ir.Value, new: ir.Value, kind: Kind) -> None:
        """Let what uses ``old`` use ``new``, which is of ``kind``."""
        if new is not old and self.kinds.get(new, kind) is not kind:
            # One value can be several tensors: x[1:] and x[:-1] are the same frames.
            new = self.emit("Identity", [new], like=new)
        self.kinds[new] = kind
        if new.shape is None and old.shape is not None:
            new.shape = old.shape
        if new.type is None:
            new.type = old.type
        if old is new:
            return
        if old.is_graph_output():
            # The name of an output is the contract's; a graph input cannot be one.
            name = old.name
            old.name = self.name_for(f"{name}_whole")
            if new.is_graph_output() or new.is_graph_input() or new.is_initializer():
                alias = self.emit("Identity", [new], like=old)
                alias.shape = old.shape
                self.kinds[alias] = kind
                new = alias
            new.name = name
        old.replace_all_uses_with(new, replace_graph_outputs=True)

    def name_for(self, stem: str) -> str:
        """``stem``, with a number where it is taken."""
        name, number = stem, 0
        while name in self._names:
            number += 1
            name = f"{stem}_{number}"
        self._names.add(name)
        return name

    # --- time ------------------------------------------------------------------------------

    def slice_frames(
        self, value: ir.Value, axis: int, start: ir.Value | int, end: ir.Value | int | None = None
    ) -> ir.Value:
        """Frames from ``start`` to ``end`` along ``axis``; negative numbers count from the end."""
        first = self.numbers(start) if isinstance(start, int) else start
        last = (
            self.numbers(np.iinfo(np.int64).max)
            if end is None
            else self.numbers(end)
            if isinstance(end, int)
            else end
        )
        return self.emit("Slice", [value, first, last, self.numbers(axis)], like=value)

    def concat(self, values: Sequence[ir.Value], axis: int) -> ir.Value:
        return self.emit("Concat", values, {"axis": axis}, like=values[0])

    def seen(self, clock: Clock) -> ir.Value:
        """How many frames of ``clock`` came before this chunk: int64 [1]."""
        if id(clock) not in self._seen:
            if clock.parent is None:
                self._seen[id(clock)] = self._count_steps(clock)
            else:
                self._seen[id(clock)] = self.frames_after(clock, self.seen(clock.parent))
        return self._seen[id(clock)]

    def frames_after(self, clock: Clock, parent_frames: ir.Value) -> ir.Value:
        """How many frames of ``clock`` there are after so many of its parent."""
        if clock.repeat > 1:
            factor = self.numbers(clock.repeat)
            return self.emit("Mul", [parent_frames, factor], like=parent_frames)
        left = self.emit("Sub", [parent_frames, self.numbers(clock.dropped)], like=parent_frames)
        if clock.stride > 1:
            # Those that fill a whole window: floor((n - dropped - 1) / stride) + 1, at least 0.
            left = self.emit("Add", [left, self.numbers(clock.stride - 1)], like=left)
            left = self.emit("Max", [left, self.numbers(0)], like=left)
            return self.emit("Div", [left, self.numbers(clock.stride)], like=left)
        return self.emit("Max", [left, self.numbers(0)], like=left)

    def clocks(self) -> list[Clock]:
        """The clocks of all tensors so far, the input's first."""
        found = {id(k.clock): k.clock for k in self.kinds.values() if isinstance(k, Timed)}
        return list(found.values())

    def clock_of(self, count: Count) -> Clock | None:
        """The clock whose total is ``count``, give or take a constant."""
        for clock in self.clocks():
            if difference(count, clock.total) is not None:
                return clock
        return None

    def child_clock(self, parent: Clock, dropped: int, stride: int) -> Clock:
        """The clock of every ``stride``-th frame of ``parent``, ``dropped`` ones left out."""
        if parent.parent is not None and parent.repeat == stride > 1 and 0 <= dropped < stride:
            # One of the frames that each was repeated to.
            return parent.parent
        total = np.maximum(parent.total - dropped + stride - 1, 0) // stride
        for kind in self.kinds.values():
            clock = kind.clock if isinstance(kind, Timed) else None
            if clock is None or clock.parent is not parent:
                continue
            if (clock.dropped, clock.stride, clock.repeat) == (dropped, stride, 1):
                return clock
        before = self.seen(parent)
        frames = self.emit("Add", [before, parent.frames], like=before)
        draft = Clock(total, parent.frames, parent, dropped, stride)
        both = self.frames_after(draft, frames), self.frames_after(draft, before)
        return Clock(total, self.emit("Sub", list(both), like=before), parent, dropped, stride)

    def repeated_clock(self, parent: Clock, repeat: int) -> Clock:
        """The clock of ``repeat`` frames for each of ``parent``."""
        for kind in self.kinds.values():
            clock = kind.clock if isinstance(kind, Timed) else None
            if clock is not None and clock.parent is parent and clock.repeat == repeat:
                return clock
        like = parent.frames
        frames = self.emit("Mul", [like, self.numbers(repeat)], like=like)
        return Clock(parent.total * repeat, frames, parent, repeat=repeat)

    def _count_steps(self, clock: Clock) -> ir.Value:
        self.in_step = True
        step = self.add_state(STEP, "int64", [1], None, None)
        after = self.emit("Add", [step, clock.frames], like=step)
        self.keep_state(after)
        return step

    # --- states ----------------------------------------------------------------------------

    def add_state(
        self,
        name: str,
        dtype: str,
        dims: Sequence[int | str | None],
        batch_axis: int | None,
        initial: ir.Value | None,
    ) -> ir.Value:
        """A new state ``name_0``; where a row starts anew it is ``initial``, or zero.

        Rows that are merged with others are an axis of their own outside the graph. keep_state()
        must follow.
        """
        merged, split = tuple(dims), self._split_rows(dims, batch_axis)
        if split is not None:
            assert batch_axis is not None
            dims, batch_axis = split, split.index(self.batch)
        value = ir.val(
            self.name_for(f"{name}_0"),
            ir.DataType.from_numpy(np.dtype(dtype)),
            ir.Shape([dim if dim is not None else f"{name}.{n}" for n, dim in enumerate(dims)]),
        )
        self.graph.inputs.append(value)
        if batch_axis is None:
            self.in_step = True
        elif self.batch is None:
            self._tell_rows(dims[batch_axis])
        self._pending = (name, value, batch_axis, split)
        if initial is None and self.always_reset:
            initial = self.constant(np.zeros((), np.dtype(dtype)))
        if initial is not None and split is not None:
            initial = self._split(initial, self._reshaped(value, merged), split)
        current = value if initial is None else self.cleared(value, dims, batch_axis, initial)
        return current if split is None else self._reshaped(current, merged)

    def _tell_rows(self, rows: int | str | None) -> None:
        """A state has a fixed number of rows, which those before it may not have told."""
        self._rows = rows
        if self.reset is not None:
            self.reset.shape = ir.Shape([rows])

    def _split_rows(
        self, dims: Sequence[int | str | None], batch_axis: int | None
    ) -> tuple[int | str | None, ...] | None:
        """``dims`` with the sizes that the axis of rows is merged of, where it is."""
        rows = None if batch_axis is None else dims[batch_axis]
        if batch_axis is None or not isinstance(rows, str) or rows not in self.merged_rows:
            return None
        return (*dims[:batch_axis], *self.merged_rows[rows], *dims[batch_axis + 1 :])

    def _split(
        self, initial: ir.Value, state: ir.Value, split: Sequence[int | str | None]
    ) -> ir.Value:
        """What a state starts from, in the shape of ``split``; ``state`` has its rows merged."""
        dims = self.dims(initial)
        if not dims:
            return initial
        if dims != self.dims(state):
            shape = self.emit("Shape", [state], like=self.numbers(0))
            initial = self.emit("Expand", [initial, shape], like=initial)
        return self._reshaped(initial, split)

    def _reshaped(self, value: ir.Value, dims: Sequence[int | str | None]) -> ir.Value:
        """``value`` in a shape of which one axis, the rows', is known by name alone."""
        target = self.numbers(*(dim if isinstance(dim, int) else -1 for dim in dims))
        result = self.emit("Reshape", [value, target], like=value)
        result.shape = ir.Shape(dims)
        return result

    def cleared(
        self,
        state: ir.Value,
        dims: Sequence[int | str | None],
        batch_axis: int | None,
        initial: ir.Value,
    ) -> ir.Value:
        """``state``, but ``initial`` in the rows that start anew."""
        starts = self._starts(batch_axis, dims)
        current = self.emit("Where", [starts, initial, state], like=state)
        current.shape = state.shape
        return current

    def keep_state(self, value: ir.Value) -> None:
        """Let ``value`` be what the state that was added last holds in the next chunk."""
        assert self.node is not None
        self._keep(value, self.insert)

    def keep_state_after(self, node: ir.Node, value: ir.Value) -> None:
        """As keep_state(), for an output of ``node`` itself."""
        self._keep(value, lambda new: self.graph.insert_after(node, new))

    def _keep(self, value: ir.Value, insert: Callable[[ir.Node], None]) -> None:
        name, before, batch_axis, split = self._pending
        if split is None:
            node = ir.node("Identity", [value])
        else:
            sizes = self.numbers(*(dim if isinstance(dim, int) else -1 for dim in split))
            node = ir.node("Reshape", [value, sizes])
        (output,) = node.outputs
        output.type = before.type
        insert(node)
        output.name = self.name_for(f"{name}_n")
        output.shape = before.shape
        self.graph.outputs.append(output)
        self.states.append(State(str(before.name), output.name, batch_axis))

    def held(self, value: ir.Value, dims: Sequence[int | str | None], name: str) -> ir.Value:
        """What ``value`` was in the chunk in which the stream started."""
        batch_axis = self.batch_axis(dims)
        assert value.dtype is not None
        state = self.add_state(name, str(value.dtype.numpy()), dims, batch_axis, value)
        self.keep_state(state)
        return state

    def batch_axis(self, dims: Sequence[int | str | None]) -> int | None:
        """The axis of rows: the one that the inputs call so, or that it is merged into."""
        rows = {self.batch, *self.merged_rows} - {None}
        return next((axis for axis, dim in enumerate(dims) if dim in rows), None)

    def _starts(self, batch_axis: int | None, dims: Sequence[int | str | None]) -> ir.Value:
        """Where a row starts anew, to be broadcast over a state."""
        if self.reset is None:
            rows = self.batch or self._rows
            self.reset = ir.val(self.name_for(RESET), ir.DataType.BOOL, ir.Shape([rows]))
        if batch_axis is None:
            first = self.slice_frames(self.reset, 0, 0, 1)
            # Beside one number, an axis of size 1 would be one more than the state has.
            return first if dims else self.emit("Squeeze", [first, self.numbers(0)], like=first)
        shape = [1] * len(dims)
        shape[batch_axis] = -1
        return self.emit("Reshape", [self.reset, self.numbers(*shape)], like=self.reset)


def _all_values(graph: ir.Graph) -> list[ir.Value]:
    values = [*graph.inputs, *graph.initializers.values()]
    for node in graph.all_nodes():
        values += node.outputs
    return values
