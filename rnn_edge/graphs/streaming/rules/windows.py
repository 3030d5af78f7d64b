"""Convolutions and pooling over time: the left context of a window goes from chunk to chunk."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from rnn_edge.graphs.streaming.branches import run_where_frames
from rnn_edge.graphs.streaming.derivation import Derivation
from rnn_edge.graphs.streaming.kinds import Clock, Timed
from rnn_edge.graphs.streaming.shifting import join_context, refill, settle, unfold


def derive_window(derivation: Derivation, node: ir.Node) -> None:
    """Conv, MaxPool, AveragePool, LpPool."""
    value, (output, *others) = node.inputs[0], node.outputs
    assert value is not None
    kind = derivation.kind(value)
    if not isinstance(kind, Timed):
        derivation.kinds[output] = kind
        return
    if any(other.uses() for other in others):
        derivation.refuse("it gives places in the whole sequence")
    if kind.axis == 0:
        # Every frame is an image of its own.
        derivation.kinds[output] = replace(kind, first=None, truth=None)
        return
    kind = unfold(derivation, kind)
    if kind.axis == 1 or not kind.plain:
        derivation.refuse("it takes time for channels")
    place, rank = kind.axis - 2, derivation.rank(value) - 2
    size, dilation, stride, before, after = _window(derivation, node, place, rank)
    if before and kind.context:
        derivation.refuse("it puts zeros between a carried context and the frames")
    fill = _fill(derivation, node, before or after)
    if before and kind.offset < 0:
        value, kind = settle(derivation, value, kind)
    kind = _padded(derivation, kind, before, after, fill)
    if before:
        value, kind = refill(derivation, value, kind)
    width = (size - 1) * dilation
    if kind.clock.may_pause or stride > 1:
        _derive_strided(derivation, node, value, kind, width, stride)
        return
    joined, context = value, kind.context
    if width > context:
        if context:
            derivation.refuse("the context that is carried to it is shorter than its window")
        joined = join_context(derivation, value, kind, width)
        context = width
    node.replace_input_with(0, joined)
    offset = kind.offset - width
    derivation.kinds[output] = replace(
        kind,
        axis=kind.axis,
        length=np.maximum(kind.length - width, 0),
        offset=offset,
        lead=kind.lead if offset > 0 else None,
        context=context - width,
        first=None,
        truth=None,
    )
    if offset > 0:
        derivation.refuse("it is padded by more than its window")


def _window(
    derivation: Derivation, node: ir.Node, place: int, rank: int
) -> tuple[int, int, int, int, int]:
    """(size, dilation, stride, padding before, padding after) along time, the padding removed."""

    def listed(name: str, default: int, count: int) -> list[int]:
        attribute = node.attributes.get(name)
        return list(attribute.as_ints()) if attribute is not None else [default] * count

    automatic = node.attributes.get("auto_pad")
    mode = automatic.as_string() if automatic is not None else "NOTSET"
    if mode not in ("NOTSET", "VALID"):
        derivation.refuse(f"auto_pad is {mode}", "Give the padding in numbers.")
    sizes = listed("kernel_shape", 0, rank)
    if not sizes[place]:
        assert node.inputs[1] is not None
        dims = derivation.dims(node.inputs[1])
        sizes = [dim if isinstance(dim, int) else 0 for dim in dims[2:]]
    pads = listed("pads", 0, 2 * rank)
    before, after = pads[place], pads[place + rank]
    pads[place] = pads[place + rank] = 0
    node.attributes["pads"] = ir.AttrInt64s("pads", pads)
    ceil = node.attributes.get("ceil_mode")
    if ceil is not None and ceil.as_int():
        derivation.refuse("its last window reaches beyond the sequence (ceil_mode)")
    return (
        sizes[place], listed("dilations", 1, rank)[place], listed("strides", 1, rank)[place],
        before, after,
    )  # fmt: skip


def _fill(derivation: Derivation, node: ir.Node, padded: int) -> float:
    """What padding stands for in ``node``."""
    if node.op_type == "MaxPool":
        assert node.inputs[0] is not None
        assert node.inputs[0].dtype is not None
        return float(np.finfo(node.inputs[0].dtype.numpy()).min)
    if node.op_type == "AveragePool" and padded:
        counted = node.attributes.get("count_include_pad")
        if counted is None or not counted.as_int():
            derivation.refuse("it averages over fewer frames at the start")
    return 0.0


def _padded(derivation: Derivation, kind: Timed, before: int, after: int, fill: float) -> Timed:
    if before and kind.offset > 0 and kind.lead != fill:
        derivation.refuse("frames are put before the first more than once")
    offset = kind.offset + before
    return replace(
        kind,
        length=kind.length + before + after,
        offset=offset,
        lead=(fill if before else kind.lead) if offset > 0 else None,
    )


def _derive_strided(
    derivation: Derivation, node: ir.Node, value: ir.Value, kind: Timed, width: int, stride: int
) -> None:
    """Windows that do not start at every frame: those that are complete are computed."""
    (output, *_) = node.outputs
    if kind.context:
        derivation.refuse("a carried context before a stride is not known to be in step")
    ready, clock = gather_windows(derivation, value, kind, width, stride)
    node.replace_input_with(0, ready)
    whole = np.maximum(kind.length - width + stride - 1, 0) // stride
    result = replace(
        kind, clock=clock, length=whole, offset=0, lead=None, first=None, truth=None
    )  # fmt: skip
    derivation.kinds[output] = result
    run_where_frames(derivation, node, clock, [_empty_like(derivation, node, kind.axis)])


def _empty_like(derivation: Derivation, node: ir.Node, axis: int) -> list[int | str | None]:
    dims = derivation.dims(node.outputs[0])
    dims[axis] = 0
    return dims


def gather_windows(
    derivation: Derivation, value: ir.Value, kind: Timed, width: int, stride: int
) -> tuple[ir.Value, Clock]:
    """The frames of all windows that a chunk completes, and the clock of the windows.

    The state holds the newest ``width + stride - 1`` frames; how many of them no window has begun
    with yet follows from the number of steps.
    """
    # Frames of the tensor before the first chunk count as seen: offset of them.
    clock = derivation.child_clock(kind.clock, width - kind.offset, stride)
    whole = clock is kind.clock.parent  # every chunk brings whole windows
    kept = max(kind.offset, 0) if whole else width + stride - 1
    joined = join_context(derivation, value, kind, kept) if kept else value
    frames = clock.frames
    if whole:
        first = derivation.numbers(kept - kind.offset)
    else:
        first = _next_window(derivation, kind, clock, kept, stride)
    span = derivation.emit("Mul", [frames, derivation.numbers(stride)], like=frames)
    last = derivation.emit("Add", [first, span], like=frames)
    if width - stride + 1 > 0:
        last = derivation.emit("Add", [last, derivation.numbers(width - stride + 1)], like=frames)
    taken = derivation.slice_frames(joined, kind.axis, first, last)
    taken.shape = value.shape
    return taken, clock


def _next_window(
    derivation: Derivation, kind: Timed, clock: Clock, kept: int, stride: int
) -> ir.Value:
    """Where, among the ``kept`` frames and those of the chunk, the next window begins."""
    seen, windows = derivation.seen(kind.clock), derivation.seen(clock)
    begun = derivation.emit("Mul", [windows, derivation.numbers(stride)], like=windows)
    known = derivation.emit("Add", [seen, derivation.numbers(kind.offset)], like=seen)
    back = derivation.emit("Sub", [known, begun], like=seen)
    return derivation.emit("Sub", [derivation.numbers(kept), back], like=seen)


def subsample(
    derivation: Derivation, node: ir.Node, value: ir.Value, kind: Timed, stride: int
) -> None:
    """Every ``stride``-th frame."""
    (output,) = node.outputs
    if kind.context:
        derivation.refuse("a carried context before a stride is not known to be in step")
    ready, clock = gather_windows(derivation, value, kind, 0, stride)
    end = derivation.numbers(np.iinfo(np.int64).max)
    taken = derivation.emit(
        "Slice",
        [
            ready,
            derivation.numbers(0),
            end,
            derivation.numbers(kind.axis),
            derivation.numbers(stride),
        ],
        like=value,
    )
    length = (kind.length + stride - 1) // stride
    derivation.replace(
        output, taken, replace(kind, clock=clock, length=length, offset=0, lead=None, first=None)
    )
