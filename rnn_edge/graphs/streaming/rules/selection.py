"""Operators that take some frames, or put frames in front or behind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from rnn_edge.graphs.streaming.derivation import Derivation
from rnn_edge.graphs.streaming.kinds import (
    TO_EVERY_STEP,
    Count,
    Counted,
    Final,
    Static,
    Timed,
    at,
    constant,
    difference,
    lags,
    same,
)
from rnn_edge.graphs.streaming.leads import lead_after
from rnn_edge.graphs.streaming.rules.counting import items_of, places_from
from rnn_edge.graphs.streaming.rules.gathering import gather_frames
from rnn_edge.graphs.streaming.rules.layout import refuse_lead_value
from rnn_edge.graphs.streaming.rules.pointwise import combine_still
from rnn_edge.graphs.streaming.rules.windows import subsample
from rnn_edge.graphs.streaming.shifting import join_context, unfold

_NO_END = 2**31 - 1


def derive_slice(derivation: Derivation, node: ir.Node) -> None:
    value, (output,) = node.inputs[0], node.outputs
    assert value is not None
    kind = derivation.kind(value)
    if isinstance(kind, Counted):
        _slice_numbers(derivation, node, kind)
        return
    bounds = _bounds(derivation, node, derivation.rank(value))
    if isinstance(kind, Timed) and kind.axis in bounds and derivation.fixed is not None:
        start, end, step = bounds[kind.axis]
        start, end = (_from_end(derivation, kind, number) for number in (start, end))
        bounds[kind.axis] = start, end, step
    if isinstance(kind, Timed) and kind.axis in bounds:
        if len(bounds) > 1:
            derivation.refuse("it takes parts of time and of another axis at once")
        _slice_frames(derivation, node, kind, *bounds[kind.axis])
    elif isinstance(kind, Timed) or not any(_moves(bound) for bound in bounds.values()):
        derivation.kinds[output] = kind
    else:
        _slice_table(derivation, node, bounds)


def _bounds(
    derivation: Derivation, node: ir.Node, rank: int
) -> dict[int, tuple[Count, Count, int]]:
    """Start, end and step by axis, axes that are taken whole left out."""
    starts, ends = (items_of(derivation, value) for value in node.inputs[1:3])
    if starts is None or ends is None:
        derivation.refuse("where it starts and ends is computed from values")
    given = derivation.array(node.inputs[3]) if len(node.inputs) > 3 else None
    axes = [int(a) % rank for a in given.ravel()] if given is not None else list(range(len(starts)))
    strides = derivation.array(node.inputs[4]) if len(node.inputs) > 4 else None
    steps = [int(s) for s in strides.ravel()] if strides is not None else [1] * len(axes)
    found = {}
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if not isinstance(start, np.ndarray) or not isinstance(end, np.ndarray):
            continue  # a size that is not time's
        if step == 1 and np.all(start == 0) and np.all(end >= _NO_END):
            continue
        found[axis] = (start, end, step)
    return found


def _from_end(derivation: Derivation, kind: Timed, number: Count) -> Count:
    """``number`` as a place behind the last frames, where all sequences have one length."""
    assert derivation.fixed is not None
    length = at(kind.length, derivation.fixed)
    if _moves((number, number, 1)) or 2 * number[0] <= length or number[0] >= _NO_END:
        return number
    return kind.length + min(int(number[0]) - length, 0)


def _moves(bound: tuple[Count, Count, int]) -> bool:
    return any(not np.all(number == number[-1]) for number in bound[:2])


def _slice_frames(
    derivation: Derivation, node: ir.Node, kind: Timed, start: Count, end: Count, step: int
) -> None:
    value, (output,) = node.inputs[0], node.outputs
    assert value is not None
    kind = unfold(derivation, kind)
    length = kind.length
    first = np.clip(np.where(start < 0, start + length, start), 0, length)
    last = np.clip(np.where(end < 0, end + length, end), first, length)
    if step < 1:
        derivation.refuse("it runs backwards through time")
    if not kind.plain:
        derivation.refuse("it takes parts of an axis that is merged with time")
    begun, left = difference(first, constant(0)), difference(last, length)
    if begun is not None and (left is not None or lags(length, last) is not None):
        taken = replace(
            kind, length=last - first, offset=kind.offset - begun,
            lead=kind.lead if kind.offset > begun else None,
            first=None if kind.first is None else kind.first + kind.scale * begun,
        )  # fmt: skip
        if step > 1:
            subsample(derivation, node, value, taken, step)
        else:
            derivation.replace(output, value, taken)
    elif difference(first, length) is not None and left == 0 and step == 1:
        take_last(derivation, node, kind, -int(difference(first, length) or 0))
    elif begun == 0 and difference(last, constant(0)) == 1:
        _hold_first(derivation, node, kind)
    else:
        derivation.refuse("which frames it takes depends on the length of the whole sequence")


def take_last(derivation: Derivation, node: ir.Node, kind: Timed, frames: int) -> None:
    """The last ``frames`` frames so far, with their axis."""
    value, (output,) = node.inputs[0], node.outputs
    assert value is not None
    tail = derivation.tails.get(value)
    if tail is not None and derivation.dims(tail)[kind.axis] == frames:
        derivation.replace(output, derivation.emit("Identity", [tail], like=tail), Final())
        return
    up_to_date(derivation, kind)
    if kind.clock.may_pause or frames > 1 + kind.context:
        dims = derivation.dims(value)
        joined = join_context(derivation, value, kind, frames)
        last = derivation.slice_frames(joined, kind.axis, -frames)
        last.shape = ir.Shape([frames if n == kind.axis else d for n, d in enumerate(dims)])
    else:
        last = derivation.slice_frames(value, kind.axis, -frames)
    derivation.replace(output, last, Final())


def up_to_date(derivation: Derivation, kind: Timed) -> None:
    """Refuse where a chunk's last frame is not the sequence's last so far."""
    if kind.delay != 0 or not kind.plain:
        derivation.refuse("its last step is not the last one that is known")


def _hold_first(derivation: Derivation, node: ir.Node, kind: Timed) -> None:
    value, (output,) = node.inputs[0], node.outputs
    assert value is not None
    if kind.offset != 0 or kind.context or kind.clock.may_pause:
        derivation.refuse("the first step is not in the first chunk")
    first = derivation.slice_frames(value, kind.axis, 0, 1)
    if _only_shape_counts(output):
        derivation.replace(output, first, Static())
        return
    dims = [1 if n == kind.axis else dim for n, dim in enumerate(derivation.dims(value))]
    derivation.replace(output, derivation.held(first, dims, f"{value.name}.first"), Static())


# Operators that make of a shape another.
_RESHAPING = ("Squeeze", "Unsqueeze", "Transpose", "Identity", "Cast", "Gather", "Slice")


def _only_shape_counts(value: ir.Value) -> bool:
    """Whether nothing reads the elements of ``value``."""
    return not value.is_graph_output() and all(
        node.op_type == "Shape"
        or (node.op_type in _RESHAPING and place == 0 and _only_shape_counts(node.outputs[0]))
        for node, place in value.uses()
    )


def _slice_table(
    derivation: Derivation, node: ir.Node, bounds: dict[int, tuple[Count, Count, int]]
) -> None:
    """``table[:length]``: a row for each step."""
    value, (output,) = node.inputs[0], node.outputs
    assert value is not None
    moving = [axis for axis, bound in bounds.items() if _moves(bound)]
    start, end, step = bounds[moving[0]]
    clock = derivation.clock_of(end - start)
    if len(bounds) > 1 or step != 1 or clock is None or _moves((start, start, 1)):
        derivation.refuse("which part it takes depends on the length of the whole sequence")
    if start[0] < 0 or not same(end - start, clock.total):
        derivation.refuse("which part it takes depends on the length of the whole sequence")
    axis = moving[0]
    seen = derivation.seen(clock)
    first = derivation.emit("Add", [seen, derivation.numbers(int(start[0]))], like=seen)
    places = places_from(derivation, first, clock.frames)
    rows = derivation.emit("Gather", [value, places], {"axis": axis}, like=value)
    derivation.replace(output, rows, Timed(axis, clock, end - start))


def _slice_numbers(derivation: Derivation, node: ir.Node, kind: Counted) -> None:
    arrays = [derivation.array(value) for value in node.inputs[1:3]]
    step = derivation.array(node.inputs[4]) if len(node.inputs) > 4 else np.array([1])
    if any(a is None or a.size != 1 for a in (*arrays, step)):
        derivation.refuse("it takes sizes that are not known")
    start, end = (int(array.item()) for array in arrays if array is not None)
    derivation.kinds[node.outputs[0]] = Counted(kind.items[start:end])


def derive_gather(derivation: Derivation, node: ir.Node) -> None:
    value, index = node.inputs
    assert value is not None
    assert index is not None
    kind, place = derivation.kind(value), derivation.kind(index)
    (output,) = node.outputs
    if isinstance(kind, Counted):
        numbers = derivation.array(index)
        if numbers is None:
            derivation.refuse("it takes a size that is not known")
        derivation.kinds[output] = Counted(
            tuple(kind.items[int(n) % len(kind.items)] for n in numbers.ravel())
        )
        return
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    axis %= derivation.rank(value)
    if isinstance(kind, Timed) and axis == kind.axis and isinstance(place, Timed):
        gather_frames(derivation, node, kind, place)
    elif isinstance(kind, Timed) and axis == kind.axis:
        _gather_frame(derivation, node, kind)
    elif isinstance(kind, Timed):
        if not isinstance(place, Static):
            derivation.refuse("it looks one sequence up in another")
        shift = derivation.rank(index) - 1 if axis < kind.axis else 0
        derivation.kinds[output] = replace(kind, axis=kind.axis + shift)
    elif isinstance(place, Timed):
        if isinstance(kind, Final):
            derivation.refuse(TO_EVERY_STEP)
        lead = lead_after(derivation, node, output)
        derivation.kinds[output] = replace(
            place, axis=place.axis + axis, first=None, truth=None, lead=lead
        )
    elif isinstance(place, Counted):
        derivation.refuse("it needs the length of the whole sequence")
    else:
        derivation.kinds[output] = combine_still([kind, place])


def _gather_frame(derivation: Derivation, node: ir.Node, kind: Timed) -> None:
    value, index = node.inputs
    assert value is not None
    assert index is not None
    items, (output,) = items_of(derivation, index), node.outputs
    number = items[0] if items is not None and len(items) == 1 else None
    if not isinstance(number, np.ndarray):
        derivation.refuse("which frames it takes is computed from values")
    if derivation.fixed is not None:
        number = _from_end(derivation, kind, number)
    whole = np.where(number < 0, number + kind.length, number)
    flat = derivation.rank(index) == 0
    if difference(whole, kind.length) == -1:
        _frame(derivation, node, kind, flat, last=True)
    elif np.all(number == 0):
        _frame(derivation, node, kind, flat, last=False)
    else:
        derivation.refuse("which frame it takes depends on the length of the whole sequence")
    del output


def _frame(derivation: Derivation, node: ir.Node, kind: Timed, flat: bool, last: bool) -> None:
    """The last or the first frame; without its axis where ``flat``."""
    (output,) = node.outputs
    value = node.inputs[0]
    assert value is not None
    stand_in = ir.node("Slice", [value])
    derivation.insert(stand_in)
    frame = stand_in.outputs[0]
    frame.name, frame.type = derivation.name_for("stream_frame"), value.type
    node.replace_input_with(0, frame)
    if last:
        take_last(derivation, stand_in, kind, 1)
    else:
        _hold_first(derivation, stand_in, kind)
    taken = node.inputs[0]
    assert taken is not None
    derivation.graph.remove(stand_in, safe=True)
    if flat:
        flat_frame = derivation.emit("Squeeze", [taken, derivation.numbers(kind.axis)], like=value)
    else:
        flat_frame = taken
    derivation.replace(output, flat_frame, derivation.kind(taken))


def _gather_rows(derivation: Derivation, node: ir.Node, kind: Timed) -> None:
    """Rows in another order, every frame alike: ``x[order]``."""
    value, index = node.inputs
    assert value is not None
    assert index is not None
    taken = derivation.dims(index)[-1]
    batches = _batch_dims(node)
    if not isinstance(taken, int) or kind.axis < batches + taken:
        derivation.refuse("which frames it takes is computed from values")
    refuse_lead_value(derivation, kind)
    axis = derivation.rank(index) - 1 + kind.axis - batches - taken
    derivation.kinds[node.outputs[0]] = replace(kind, axis=axis, first=None, truth=None)


def _batch_dims(node: ir.Node) -> int:
    return node.attributes["batch_dims"].as_int() if "batch_dims" in node.attributes else 0


def derive_gather_elements(derivation: Derivation, node: ir.Node) -> None:
    value, index = node.inputs
    kind, place = derivation.kind(value), derivation.kind(index)
    (output,) = node.outputs
    if not isinstance(kind, Timed):
        if isinstance(place, Timed):
            derivation.refuse("it looks one sequence up in another")
        derivation.kinds[output] = combine_still([kind, place])
        return
    if isinstance(place, Static) and node.op_type == "GatherND":
        _gather_rows(derivation, node, kind)
        return
    if isinstance(place, Counted) and node.op_type == "GatherElements":
        axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
        number, hit = place.single, axis % derivation.rank(output) == kind.axis
    elif isinstance(place, Counted):
        position = kind.axis if kind.axis < len(place.items) else 0
        item = place.items[position]
        number = item if isinstance(item, np.ndarray) else None
        hit = kind.axis < len(place.items) and not _batch_dims(node)
    else:
        number, hit = None, False
    if number is None or not hit or difference(number, kind.length) != -1:
        derivation.refuse("which frames it takes is computed from values")
    up_to_date(derivation, kind)
    if kind.clock.may_pause or kind.offset or kind.context:
        derivation.refuse("the last step may be in an earlier chunk")
    derivation.kinds[output] = Final()
