"""Gather along time: frames at every place, or at every few, some behind each place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from rnn_edge.graphs.streaming.derivation import Derivation
from rnn_edge.graphs.streaming.kinds import Timed
from rnn_edge.graphs.streaming.rules.windows import gather_windows
from rnn_edge.graphs.streaming.shifting import join_context, unfold


def gather_frames(derivation: Derivation, node: ir.Node, kind: Timed, index: Timed) -> None:
    """Frames at places that follow the frames' own: ``x[:, 2 * t + 1]``, ``x.unfold(1, 3, 1)``."""
    kind = unfold(derivation, kind)
    if index.first is None or index.axis or not kind.plain or kind.context or index.outer:
        derivation.refuse("which frames it takes is computed from values")
    if index.inner not in ((), (len(index.spread or ()),)):
        derivation.refuse("which frames it takes is computed from values")
    if index.scale == 1 and index.clock is kind.clock and not index.inner:
        _gather_windows(derivation, node, kind, index)
    else:
        _gather_strided(derivation, node, kind, index)


def _gather_strided(derivation: Derivation, node: ir.Node, kind: Timed, index: Timed) -> None:
    """Places of a clock that has a frame for every ``scale`` of the input's."""
    value, (output,) = node.inputs[0], node.outputs
    assert value is not None
    assert index.first is not None
    clock, stride, rank = index.clock, index.scale, derivation.rank(value)
    ahead = [index.first + each for each in index.spread or (0,)]
    if clock is kind.clock.parent and kind.clock.repeat == stride:
        last = stride - 1
    elif clock.parent is kind.clock and (clock.stride, clock.repeat) == (stride, 1):
        last = clock.dropped
    else:
        derivation.refuse("it takes frames of another rate")
    if kind.offset or min(ahead) < 0 or max(ahead) > last:
        derivation.refuse("it takes frames that are not there")
    windows, _ = gather_windows(derivation, value, kind, last, stride)
    span = derivation.emit("Mul", [clock.frames, derivation.numbers(stride)], like=clock.frames)
    steps = [derivation.numbers(kind.axis), derivation.numbers(stride)]
    parts = []
    for start in ahead:
        end = derivation.emit("Add", [span, derivation.numbers(start)], like=span)
        bounds = [derivation.numbers(start), end, *steps]
        part = derivation.emit("Slice", [windows, *bounds], like=value)
        if index.spread is not None:
            place = derivation.numbers(kind.axis + 1)
            part = derivation.emit("Unsqueeze", [part, place], like=value)
        parts.append(part)
    taken = derivation.concat(parts, kind.axis + 1) if len(parts) > 1 else parts[0]
    if index.inner:
        rest = derivation.dims(value)[kind.axis + 1 :]
        if not all(isinstance(dim, int) for dim in rest):
            derivation.refuse("the sizes of its frames must be known")
        shape = [*[0] * kind.axis, -1, *(dim for dim in rest if isinstance(dim, int))]
        taken = derivation.emit("Reshape", [taken, derivation.numbers(*shape)], like=value)
    elif derivation.rank(output) != rank + (index.spread is not None):
        derivation.refuse("which frames it takes is computed from values")
    after = replace(
        kind, clock=clock, length=index.length, offset=index.offset, inner=index.inner, lead=None,
        first=None, truth=None, spread=None,
    )  # fmt: skip
    derivation.replace(output, taken, after)


def _gather_windows(derivation: Derivation, node: ir.Node, kind: Timed, index: Timed) -> None:
    """Frames at every place, or some behind every place: ``x.unfold(1, 3, 1)``."""
    value, (output,) = node.inputs[0], node.outputs
    assert value is not None
    spread = index.spread or (0,)
    ranks = derivation.rank(output) - derivation.rank(value)
    assert index.first is not None
    if ranks != (0 if index.spread is None else 1) or index.first + min(spread) < 0:
        derivation.refuse("which frames it takes is computed from values")
    last = index.first + max(spread)
    width = max(spread) - min(spread)
    if index.clock is not kind.clock or np.any(index.length + last > np.maximum(kind.length, last)):
        derivation.refuse("it takes frames that are not there")
    joined = join_context(derivation, value, kind, width) if width else value
    parts = []
    for number in spread:
        start = number - min(spread)
        end = None if start == width else start - width
        part = derivation.slice_frames(joined, kind.axis, start, end) if width else joined
        if index.spread is not None:
            place = derivation.numbers(kind.axis + 1)
            part = derivation.emit("Unsqueeze", [part, place], like=value)
        parts.append(part)
    windows = derivation.concat(parts, kind.axis + 1) if len(parts) > 1 else parts[0]
    offset = kind.offset - last
    if offset > 0:
        derivation.refuse("frames put before the first must go straight into what uses them")
    taken = replace(
        kind, length=index.length, offset=offset, lead=None, first=None, truth=None, spread=None
    )
    derivation.replace(output, windows, taken)
