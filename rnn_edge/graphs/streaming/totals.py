"""Numbers that follow the length of a sequence, as they are for the sequence so far."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from rnn_edge.graphs.streaming.derivation import Derivation
from rnn_edge.graphs.streaming.kinds import Clock, Count, Counted, Timed, difference


def so_far(derivation: Derivation, value: ir.Value) -> ir.Value:
    """``value``, a counted one, for as many frames as have come; a chunk alone has fewer.

    What computes it from sizes is computed again, from those of all frames so far.
    """
    return _again(derivation, value, {})


def frames_so_far(derivation: Derivation, clock: Clock, more: int = 0) -> ir.Value:
    """How many frames of ``clock`` have come with this chunk, and ``more``: int64 [1]."""
    total = derivation.emit("Add", [derivation.seen(clock), clock.frames], like=clock.frames)
    if more:
        total = derivation.emit("Add", [total, derivation.numbers(more)], like=total)
        total = derivation.emit("Max", [total, derivation.numbers(0)], like=total)
    return total


def _again(derivation: Derivation, value: ir.Value, known: dict[ir.Value, ir.Value]) -> ir.Value:
    if value in known:
        return known[value]
    clock = next((c for c in derivation.clocks() if c.frames is value), None)
    node = value.producer()
    if clock is not None:
        found = frames_so_far(derivation, clock)
    elif node is None or not _follows(derivation, value):
        found = value
    elif node.op_type == "Shape":
        found = _shape(derivation, node)
    elif any(isinstance(derivation.kind(each), Timed) for each in node.inputs):
        found = _length(derivation, value)
    else:
        inputs = [None if v is None else _again(derivation, v, known) for v in node.inputs]
        copy = ir.Node(
            node.domain, node.op_type, inputs, node.attributes.values(),
            num_outputs=len(node.outputs),
        )  # fmt: skip
        derivation.insert(copy)
        for own, new in zip(node.outputs, copy.outputs, strict=True):
            new.name, new.type = derivation.name_for(f"{own.name}_so_far"), own.type
            known[own] = new
        found = known[value]
    known[value] = found
    return found


def _follows(derivation: Derivation, value: ir.Value) -> bool:
    """Whether ``value`` is a number that follows time, or one that leads to such a number."""
    if isinstance(derivation.kind(value), Counted):
        return True
    return any(clock.frames is value for clock in derivation.clocks())


def _length(derivation: Derivation, value: ir.Value) -> ir.Value:
    """A number of frames that is counted frame by frame, as by the sum of a mask."""
    kind = derivation.kind(value)
    length = kind.single if isinstance(kind, Counted) else None
    total = _frames(derivation, length)
    assert value.dtype is not None
    total = derivation.emit("Cast", [total], {"to": int(value.dtype)}, like=value)
    if derivation.rank(value) == 0:
        return derivation.emit("Squeeze", [total, derivation.numbers(0)], like=value)
    sizes = derivation.emit("Shape", [value], like=derivation.numbers(0))
    return derivation.emit("Expand", [total, sizes], like=value)


def _frames(derivation: Derivation, length: Count | str | None) -> ir.Value:
    clock = derivation.clock_of(length) if isinstance(length, np.ndarray) else None
    if clock is None:
        derivation.refuse("it needs the length of the whole sequence")
    return frames_so_far(derivation, clock, difference(np.asarray(length), clock.total) or 0)


def _shape(derivation: Derivation, node: ir.Node) -> ir.Value:
    (source,), (output,) = node.inputs, node.outputs
    kind = derivation.kind(source)
    if not isinstance(kind, Timed):
        return output
    start = node.attributes["start"].as_int() if "start" in node.attributes else 0
    assert source is not None
    place = kind.axis - start % max(derivation.rank(source), 1)
    counted = derivation.kind(output)
    assert isinstance(counted, Counted)
    if not 0 <= place < len(counted.items):
        return output
    parts = [_frames(derivation, counted.items[place])]
    if place:
        parts.insert(0, derivation.slice_frames(output, 0, 0, place))
    if place + 1 < len(counted.items):
        parts.append(derivation.slice_frames(output, 0, place + 1))
    return derivation.concat(parts, 0) if len(parts) > 1 else parts[0]
