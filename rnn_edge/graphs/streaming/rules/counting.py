"""Numbers that follow sizes: shapes, lengths, positions and arithmetic on them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from rnn_edge.graphs.streaming.derivation import Derivation
from rnn_edge.graphs.streaming.kinds import (
    EVERY_PAIR,
    TO_EVERY_STEP,
    TOTALS,
    Clock,
    Count,
    Counted,
    Static,
    Timed,
    constant,
    difference,
    same,
)

Item = Count | str | None

_ARITHMETIC: dict[str, Callable[..., Count]] = {
    "Add": np.add, "Sum": np.add, "Sub": np.subtract, "Mul": np.multiply,
    "Max": np.maximum, "Min": np.minimum,
    "Neg": np.negative, "Abs": np.abs, "Floor": np.floor, "Ceil": np.ceil, "Mod": np.mod,
    "Greater": np.greater, "Less": np.less, "GreaterOrEqual": np.greater_equal,
    "LessOrEqual": np.less_equal, "Equal": np.equal, "Not": np.logical_not, "And": np.logical_and,
    "Or": np.logical_or, "Identity": np.asarray, "Sqrt": np.sqrt, "Round": np.round,
    "ReduceMax": np.asarray, "ReduceMin": np.asarray,
}  # fmt: skip

# Those that take one input or more.
_ANY_COUNT = ("Max", "Min", "Sum")


def derive_shape(derivation: Derivation, node: ir.Node) -> None:
    (value,) = node.inputs
    kind = derivation.kind(value)
    assert value is not None
    items: list[Item] = [
        constant(dim) if isinstance(dim, int) else dim for dim in derivation.dims(value)
    ]
    if isinstance(kind, Timed):
        several = all(isinstance(size, int) for size in kind.inner) and not kind.outer
        items[kind.axis] = kind.length * math.prod(map(int, kind.inner)) if several else None
    start, end = _attribute(node, "start", 0), _attribute(node, "end", len(items))
    derivation.kinds[node.outputs[0]] = Counted(tuple(items[slice(start, end)]))


def derive_size(derivation: Derivation, node: ir.Node) -> None:
    derivation.refuse("it needs the length of the whole sequence")


def items_of(derivation: Derivation, value: ir.Value | None) -> tuple[Item, ...] | None:
    """The numbers along the last axis of a constant or counted value; None for others."""
    kind = derivation.kind(value)
    if isinstance(kind, Counted):
        return kind.items
    array = derivation.array(value)
    if array is None or array.dtype.kind not in "iufb":
        return None
    if array.size == 1:
        return (constant(array.item()),)
    return tuple(constant(number) for number in array) if array.ndim == 1 else None


def count(derivation: Derivation, node: ir.Node) -> bool:
    """Work ``node`` out on counted numbers; False where it is not such arithmetic."""
    operands = []
    for value in node.inputs:
        if value is None:
            continue
        items = items_of(derivation, value)
        if items is None:
            return False
        operands.append(items)
    width = max(len(items) for items in operands)
    spread = [items * width if len(items) == 1 else items for items in operands]
    if any(len(items) != width for items in spread):
        return False
    results = tuple(_work_out(derivation, node, column) for column in zip(*spread, strict=True))
    derivation.kinds[node.outputs[0]] = Counted(results)
    return True


def _work_out(derivation: Derivation, node: ir.Node, operands: tuple[Item, ...]) -> Item:
    if any(not isinstance(operand, np.ndarray) for operand in operands):
        return operands[0] if node.op_type in ("Cast", "Identity") else None
    arrays = [operand for operand in operands if isinstance(operand, np.ndarray)]
    if node.op_type == "Cast":
        whole = ir.DataType(_attribute(node, "to", 7)).numpy().kind in "iu"
        return np.trunc(arrays[0]) if whole else arrays[0]
    if node.op_type == "Clip":
        return _clip(node, arrays)
    if node.op_type == "Div":
        with np.errstate(divide="ignore", invalid="ignore"):
            quotient: Count = arrays[0] / arrays[1]
        output = node.outputs[0]
        whole = output.dtype is None or output.dtype.is_integer()
        return np.trunc(quotient) if whole else quotient
    if node.op_type not in _ARITHMETIC:
        return None
    operator = _ARITHMETIC[node.op_type]
    result: Count = (
        functools.reduce(operator, arrays) if node.op_type in _ANY_COUNT else operator(*arrays)
    )
    return result


def _clip(node: ir.Node, arrays: list[Count]) -> Count:
    """The bounds that are there follow the number."""
    number, *bounds = arrays
    given = node.inputs[1:]
    low = bounds.pop(0) if given and given[0] is not None else number
    return np.minimum(np.maximum(number, low), bounds[0] if bounds else np.inf)


def compare_indices(derivation: Derivation, node: ir.Node) -> bool:
    """``position < lengths``, where the answer is the same for every frame of a stream."""
    if node.op_type not in ("Less", "LessOrEqual", "Greater", "GreaterOrEqual"):
        return False
    kinds = [derivation.kind(value) for value in node.inputs]
    if isinstance(kinds[0], Counted) and isinstance(kinds[1], Timed):
        index, number, mirrored = kinds[1], kinds[0].single, True
    elif isinstance(kinds[1], Counted) and isinstance(kinds[0], Timed):
        index, number, mirrored = kinds[0], kinds[1].single, False
    else:
        return False
    if index.first is None or index.scale != 1 or index.spread is not None or number is None:
        return False
    ends = np.full(TOTALS.shape, index.first), index.length - 1 + index.first
    compare = _ARITHMETIC[node.op_type]
    answers = [compare(*((number, end) if mirrored else (end, number))) for end in ends]
    if not all(np.all(answer == answers[0][0]) for answer in answers):
        return False
    truth = bool(answers[0][0])
    output = node.outputs[0]
    timed = node.inputs[1 if mirrored else 0]
    assert timed is not None
    axis = index.axis + derivation.rank(output) - derivation.rank(timed)
    kind = Timed(axis, index.clock, index.length, index.offset, truth=truth)
    derivation.replace(output, _everywhere(derivation, node, truth), kind)
    return True


def _everywhere(derivation: Derivation, node: ir.Node, truth: bool) -> ir.Value:
    """``truth`` in the shape that a comparison has."""
    zeros = [derivation.emit("Sub", [value, value], like=value) for value in node.inputs]
    equal = derivation.emit("Equal", zeros)
    return equal if truth else derivation.emit("Not", [equal])


def places_from(
    derivation: Derivation, begun: ir.Value, span: ir.Value, stride: int = 1
) -> ir.Value:
    """int64[places] from int64[1] ``begun`` on, below that and ``span``.

    ONNX Runtime takes a Gather at a Range for a Slice, which gives no row beyond a table's end, and
    ends the process where a layer gets none; a Gather at a sum is refused there.
    """
    zero, step = (derivation.constant(np.array(number, np.int64)) for number in (0, stride))
    end = derivation.emit("Squeeze", [span, derivation.numbers(0)], like=span)
    places = derivation.emit("Range", [zero, end, step], like=span)
    return derivation.emit("Add", [places, begun], like=span)


def derive_range(derivation: Derivation, node: ir.Node) -> None:
    """arange(length): the frames' own places."""
    start, limit, step = (items_of(derivation, value) for value in node.inputs)
    last = limit[0] if limit else None
    if isinstance(last, str):
        # As many as there are rows, say.
        derivation.kinds[node.outputs[0]] = Static()
        return
    known = [derivation.array(value) for value in (node.inputs[0], node.inputs[2])]
    if (
        start is None
        or step is None
        or not isinstance(last, np.ndarray)
        or None in map(_none, known)
    ):
        derivation.refuse("it needs the length of the whole sequence")
    bounds = [array.item() for array in known if array is not None]
    first, stride = (int(bound) for bound in bounds)
    if [first, stride] != bounds:
        derivation.refuse("its places are not whole numbers")
    if stride < 1:
        derivation.refuse("it runs backwards through time")
    length = np.maximum(last - first + stride - 1, 0) // stride
    clock = derivation.clock_of(length) or _clock_of_rate(derivation, length)
    ahead = None if clock is None else difference(length, clock.total)
    if clock is None or ahead is None:
        derivation.refuse("it needs the length of the whole sequence")
    (output,) = node.outputs
    assert output.dtype is not None
    offset = min(0, ahead)
    seen = derivation.seen(clock)
    begun, span = seen, clock.frames
    if stride > 1:
        factor = derivation.numbers(stride)
        begun, span = (derivation.emit("Mul", [n, factor], like=seen) for n in (seen, span))
    shift = derivation.numbers(offset * stride + first)
    begun = derivation.emit("Add", [begun, shift], like=seen)
    places = places_from(derivation, begun, span, stride)
    if output.dtype != ir.DataType.INT64:
        places = derivation.emit("Cast", [places], {"to": int(output.dtype)}, like=output)
    kind = Timed(0, clock, length, offset, first=first, scale=stride)
    derivation.replace(output, places, kind)


# The largest step of a loop over time that is looked for.
_LARGEST_STRIDE = 32


def _clock_of_rate(derivation: Derivation, count: Count) -> Clock | None:
    """A clock of ``count`` frames: several for each of the input's, as by ``arange(4 * time)``, or
    one for every few, as by ``range(time // 2)``."""
    for parent in derivation.clocks()[:1]:
        repeat = int(count[0] // parent.total[0])
        if repeat > 1 and same(parent.total * repeat, count):
            return derivation.repeated_clock(parent, repeat)
        for stride in range(2, _LARGEST_STRIDE):
            for dropped in range(stride):
                total = np.maximum(parent.total - dropped + stride - 1, 0) // stride
                if same(total, count):
                    return derivation.child_clock(parent, dropped, stride)
    return None


def _none(value: object) -> object:
    return None if value is None else 0


def derive_constant_of_shape(derivation: Derivation, node: ir.Node) -> None:
    fill_frames(derivation, node, 0)


def fill_frames(derivation: Derivation, node: ir.Node, place: int) -> None:
    """A constant or a still value repeated to a shape that may have time in it."""
    items = items_of(derivation, node.inputs[place])
    (output,) = node.outputs
    if items is None:
        derivation.refuse("the shape that it makes is not known")
    times = [axis for axis, item in enumerate(items) if _follows_time(item)]
    still = derivation.kind(node.inputs[0]) if place else Static()
    if not times:
        _tell_sizes(output, items if place == 0 else _zeros_among(items))
        derivation.kinds[output] = still
        return
    if not isinstance(still, Static):
        derivation.refuse(TO_EVERY_STEP)
    length = items[times[0]]
    assert isinstance(length, np.ndarray)
    clock = derivation.clock_of(length)
    if len(times) > 1:
        derivation.refuse(EVERY_PAIR)
    if clock is None:
        derivation.refuse("it needs the length of the whole sequence")
    rank = max(len(items), derivation.rank(output))
    axis = times[0] + rank - len(items)
    ahead = difference(length, clock.total)
    node.replace_input_with(
        place, shape_of_chunk(derivation, node.inputs[place], times[0], clock.frames)
    )
    derivation.kinds[output] = Timed(axis, clock, length, min(0, ahead or 0))


def _tell_sizes(output: ir.Value, items: tuple[Item, ...]) -> None:
    """Sizes that are the same for sequences of every length: ``time - longest``, which is 0."""
    if output.shape is None or len(output.shape) != len(items):
        return
    dims = [
        int(item[0]) if isinstance(item, np.ndarray) and item[0] >= 0 else dim
        for item, dim in zip(items, output.shape, strict=True)
    ]
    output.shape = ir.Shape(dims)


def _zeros_among(items: tuple[Item, ...]) -> tuple[Item, ...]:
    """The items of an Expand that say a size: 1 leaves it as it is."""
    return tuple(item if isinstance(item, np.ndarray) and item[0] == 0 else None for item in items)


def shape_of_chunk(
    derivation: Derivation, shape: ir.Value | None, place: int, frames: ir.Value
) -> ir.Value:
    """``shape`` (int64 [n]) with ``frames`` (int64 [1]) at ``place``."""
    assert shape is not None
    zero = derivation.numbers(0)
    parts = [frames]
    if place:
        parts.insert(
            0, derivation.emit("Slice", [shape, zero, derivation.numbers(place), zero], like=shape)
        )
    end = derivation.numbers(np.iinfo(np.int64).max)
    kind = items_of(derivation, shape)
    if kind is None or place + 1 < len(kind):
        parts.append(
            derivation.emit("Slice", [shape, derivation.numbers(place + 1), end, zero], like=shape)
        )
    return derivation.concat(parts, 0) if len(parts) > 1 else frames


def _follows_time(item: Item) -> bool:
    return isinstance(item, np.ndarray) and not np.all(item == item[-1])


def _attribute(node: ir.Node, name: str, default: int) -> int:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()
