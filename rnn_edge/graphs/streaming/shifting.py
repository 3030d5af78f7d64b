"""Bring frames in step with each other: hold some back, drop those that are none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from rnn_edge.graphs.streaming.derivation import Derivation
from rnn_edge.graphs.streaming.kinds import Clock, Timed, lags


def delay(
    derivation: Derivation, value: ir.Value, kind: Timed, frames: int
) -> tuple[ir.Value, Timed]:
    """The same tensor, each frame coming ``frames`` later: the last ones of a chunk are kept."""
    if not kind.plain or kind.context:
        derivation.refuse("frames that are merged with other axes would have to be kept")
    joined = join_context(derivation, value, kind, frames)
    kept = derivation.slice_frames(joined, kind.axis, 0, kind.clock.frames)
    kept.shape = value.shape
    left = kind.offset - frames
    return kept, replace(kind, offset=left, lead=kind.lead if left > 0 else None, first=None)


def join_context(derivation: Derivation, value: ir.Value, kind: Timed, frames: int) -> ir.Value:
    """``value`` with the ``frames`` frames before its chunk in front; they become a state.

    A stream starts with the frames that stand before the tensor's first, and zeros before those.
    """
    if (value, kind.axis, frames) in derivation.joined:
        return derivation.joined[value, kind.axis, frames]
    dims = [*derivation.dims(value)]
    dims[kind.axis] = frames
    assert value.dtype is not None
    name = f"{value.name}.context"
    batch_axis = derivation.batch_axis(dims)
    initial = _lead_frames(derivation, value, kind, frames)
    state = derivation.add_state(name, str(value.dtype.numpy()), dims, batch_axis, initial)
    joined = derivation.concat([state, value], kind.axis)
    derivation.keep_state(derivation.slice_frames(joined, kind.axis, -frames))
    if initial is None:
        derivation.joined[value, kind.axis, frames] = joined
    return joined


def _lead_frames(
    derivation: Derivation, value: ir.Value, kind: Timed, frames: int
) -> ir.Value | None:
    """What ``frames`` frames before a stream's first chunk hold; None for zeros."""
    if kind.offset <= 0 or kind.lead is None or (np.isscalar(kind.lead) and kind.lead == 0):
        return None
    assert value.dtype is not None
    known = min(kind.offset, frames)
    shape = frame_shape(derivation, value, kind.axis, known)
    lead = kind.lead
    if not isinstance(lead, ir.Value):
        lead = derivation.constant(np.array(lead, value.dtype.numpy()))
    else:
        # The first of them may have been cut off; one frame stands for all.
        lead = derivation.slice_frames(lead, kind.axis, -known)
    last = derivation.emit("Expand", [lead, shape], like=value)
    if known == frames:
        return last
    zero = derivation.constant(np.zeros((), value.dtype.numpy()))
    shape = frame_shape(derivation, value, kind.axis, frames - known)
    return derivation.concat(
        [derivation.emit("Expand", [zero, shape], like=value), last], kind.axis
    )


def frame_shape(derivation: Derivation, value: ir.Value, axis: int, frames: int) -> ir.Value:
    """The shape of ``value`` with ``frames`` frames, as int64 [rank]."""
    shape = derivation.emit("Shape", [value], like=derivation.numbers(0))
    rank = derivation.rank(value)
    parts = [derivation.numbers(frames)]
    zero, end = derivation.numbers(0), derivation.numbers(rank)
    if axis:
        before = derivation.emit("Slice", [shape, zero, derivation.numbers(axis), zero], like=shape)
        parts.insert(0, before)
    if axis + 1 < rank:
        after = derivation.emit(
            "Slice", [shape, derivation.numbers(axis + 1), end, zero], like=shape
        )
        parts.append(after)
    return derivation.concat(parts, 0)


def settle(derivation: Derivation, value: ir.Value, kind: Timed) -> tuple[ir.Value, Timed]:
    """Nothing but frames of the tensor: what goes into a state, or out of the graph.

    Frames that stand before the first are let in, late; those that are not of the tensor go.
    """
    kind = unfold(derivation, kind)
    if kind.context:
        derivation.refuse("frames that came before would be counted twice")
    if kind.offset > 0:
        value, kind = refill(derivation, value, kind)
    if kind.offset > 0:
        return delay(derivation, value, kind, kind.offset)
    if kind.offset == 0:
        return value, kind
    clock = derivation.child_clock(kind.clock, -kind.offset, 1)
    first = derivation.emit("Sub", [kind.clock.frames, clock.frames], like=clock.frames)
    kept = derivation.slice_frames(value, kind.axis, first)
    kept.shape = value.shape
    return kept, replace(kind, clock=clock, offset=0, first=None)


def unfold(derivation: Derivation, kind: Timed) -> Timed:
    """Of frames that hold several along the axis of time, those: a rate that is higher."""
    if kind.outer or not kind.inner or not all(isinstance(size, int) for size in kind.inner):
        return kind
    count = math.prod(size for size in kind.inner if isinstance(size, int))
    if isinstance(kind.lead, ir.Value) or kind.context:
        derivation.refuse("frames put before the first must go straight into what uses them")
    return replace(
        kind, clock=derivation.repeated_clock(kind.clock, count), length=kind.length * count,
        offset=kind.offset * count, first=None, inner=(),
    )  # fmt: skip


def laid_out_alike(derivation: Derivation, kinds: Sequence[Timed]) -> list[Timed]:
    """``kinds``, their axes of time merged with the same other axes; refused where they are not."""
    if len({(kind.outer, kind.inner) for kind in kinds}) > 1:
        kinds = [unfold(derivation, kind) for kind in kinds]
    if len({(kind.outer, kind.inner, kind.context) for kind in kinds}) > 1:
        derivation.refuse("it joins frames that are laid out differently")
    return list(kinds)


def refill(derivation: Derivation, value: ir.Value, kind: Timed) -> tuple[ir.Value, Timed]:
    """Frames before the first in the place of as many that were dropped: no longer fewer frames."""
    clock = kind.clock
    if clock.parent is None or clock.stride != 1 or clock.dropped != kind.offset or kind.context:
        return value, kind
    if not kind.plain or kind.lead is None:
        return value, kind
    seen = derivation.seen(clock.parent)
    missing = derivation.emit("Sub", [clock.parent.frames, clock.frames], like=seen)
    end = derivation.emit("Add", [seen, missing], like=seen)
    lead = _lead_frames(derivation, value, kind, kind.offset)
    if lead is None:
        assert value.dtype is not None
        zero = derivation.constant(np.zeros((), value.dtype.numpy()))
        shape = frame_shape(derivation, value, kind.axis, kind.offset)
        lead = derivation.emit("Expand", [zero, shape], like=value)
    part = derivation.slice_frames(lead, kind.axis, seen, end)
    joined = derivation.concat([part, value], kind.axis)
    joined.shape = value.shape
    return joined, replace(kind, clock=clock.parent, offset=0, lead=None, first=None)


def align(
    derivation: Derivation, values: Sequence[ir.Value], kinds: Sequence[Timed]
) -> tuple[list[ir.Value], list[Timed]]:
    """The same tensors, all at the smallest offset among them; their clocks are one."""
    values, kinds = _share_clock(derivation, values, kinds)
    target = min(0, *(kind.offset for kind in kinds)) if len(kinds) > 1 else kinds[0].offset
    out, now = [], []
    for value, kind in zip(values, kinds, strict=True):
        if kind.offset > target:
            value, kind = delay(derivation, value, kind, kind.offset - target)
        out.append(value)
        now.append(kind)
    return out, now


def _share_clock(
    derivation: Derivation, values: Sequence[ir.Value], kinds: Sequence[Timed]
) -> tuple[list[ir.Value], list[Timed]]:
    """The same tensors on one clock, where some are on one that only starts later."""
    slowest = max((kind.clock for kind in kinds), key=_depth)
    if not all(_starts_later(slowest, kind.clock) for kind in kinds):
        return _retime_all(derivation, values, kinds)
    out, now = [], []
    for value, kind in zip(values, kinds, strict=True):
        while kind.clock is not slowest:
            if not _starts_later(slowest, kind.clock):
                # Its frames have settled on a clock of their own.
                return _retime_all(derivation, values, kinds)
            step = slowest
            while step.parent is not None and step.parent is not kind.clock:
                step = step.parent
            assert step.parent is not None
            if not step.dropped and (step.total == step.parent.total).all():
                # It has the same frames: whoever made it dropped none.
                kind = replace(kind, clock=step)
                continue
            late = kind.offset + step.dropped
            if late < 0:
                derivation.refuse("it joins frames of different rates")
            value, kind = delay(derivation, value, kind, late) if late else (value, kind)
            value, kind = settle(derivation, value, kind)
        out.append(value)
        now.append(kind)
    return out, now


def _starts_later(clock: Clock, other: Clock) -> bool:
    """Whether ``clock`` is ``other`` without some frames at the start."""
    step: Clock | None = clock
    while step is not None and step is not other:
        if step.stride != 1 or step.repeat != 1:
            return False
        step = step.parent
    return step is other


def _retime_all(
    derivation: Derivation, values: Sequence[ir.Value], kinds: Sequence[Timed]
) -> tuple[list[ir.Value], list[Timed]]:
    """The same tensors on the one clock of theirs that is never ahead of another."""
    ready = [settle(derivation, v, kind) for v, kind in zip(values, kinds, strict=True)]
    clocks = [kind.clock for _, kind in ready]
    slowest = min(clocks, key=lambda clock: int(clock.total.sum()))
    moved = [_retime(derivation, value, kind, slowest) for value, kind in ready]
    return [value for value, _ in moved], [kind for _, kind in moved]


def _retime(
    derivation: Derivation, value: ir.Value, kind: Timed, clock: Clock
) -> tuple[ir.Value, Timed]:
    """``value`` on a clock that is at most some frames behind its own: those wait in a state."""
    if kind.clock is clock:
        return value, kind
    most = lags(kind.clock.total, clock.total)
    if most is None:
        derivation.refuse("it joins frames of different rates")
    first = derivation.emit(
        "Sub", [derivation.seen(clock), derivation.seen(kind.clock)], like=clock.frames
    )
    joined = value
    if most:
        joined = join_context(derivation, value, kind, most)
        first = derivation.emit("Add", [first, derivation.numbers(most)], like=first)
    end = derivation.emit("Add", [first, clock.frames], like=first)
    kept = derivation.slice_frames(joined, kind.axis, first, end)
    kept.shape = value.shape
    return kept, replace(kind, clock=clock, offset=0, lead=None, first=None)


def _depth(clock: Clock) -> int:
    return 0 if clock.parent is None else 1 + _depth(clock.parent)
