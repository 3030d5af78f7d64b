"""Operators that put sequences side by side, or frames in front of them and behind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from rnn_edge.graphs.streaming.derivation import Derivation
from rnn_edge.graphs.streaming.kinds import (
    Carried,
    Count,
    Counted,
    Final,
    Kind,
    Timed,
    difference,
    same,
)
from rnn_edge.graphs.streaming.rules.counting import items_of
from rnn_edge.graphs.streaming.rules.pointwise import combine_still
from rnn_edge.graphs.streaming.shifting import align, delay, laid_out_alike, refill, settle, unfold


def derive_concat(derivation: Derivation, node: ir.Node) -> None:
    (output,) = node.outputs
    kinds = [derivation.kind(value) for value in node.inputs]
    if any(isinstance(kind, Counted) for kind in kinds):
        derivation.kinds[output] = _concat_numbers(derivation, node)
        return
    if not any(isinstance(kind, Timed) for kind in kinds):
        derivation.kinds[output] = combine_still(kinds)
        return
    rank = derivation.rank(output)
    axis = node.attributes["axis"].as_int() % rank
    timed = [kind for kind in kinds if isinstance(kind, Timed)]
    if axis == timed[0].axis:
        _concat_frames(derivation, node, kinds, axis)
        return
    if len(timed) < len(kinds):
        derivation.refuse("it puts frames and what has none side by side")
    timed = laid_out_alike(derivation, timed)
    if len({kind.axis for kind in timed}) > 1 or any(
        not same(kind.length, timed[0].length) for kind in timed
    ):
        derivation.refuse("it joins sequences of different lengths")
    values, aligned = align(derivation, [v for v in node.inputs if v is not None], timed)
    for place, value in enumerate(values):
        derivation.kinds[value] = aligned[place]
        if node.inputs[place] is not value:
            node.replace_input_with(place, value)
    leads = {kind.lead for kind in aligned}
    if aligned[0].offset > 0 and (len(leads) > 1 or any(isinstance(x, ir.Value) for x in leads)):
        derivation.refuse("frames put before the first must go straight into what uses them")
    derivation.kinds[output] = replace(aligned[0], first=None, truth=None)


def _concat_numbers(derivation: Derivation, node: ir.Node) -> Counted:
    items: list[Count | str | None] = []
    for value in node.inputs:
        found = items_of(derivation, value)
        items += found if found is not None else (None,)
    return Counted(tuple(items))


def _concat_frames(derivation: Derivation, node: ir.Node, kinds: list[Kind], axis: int) -> None:
    """Still frames before a sequence, or behind it."""
    places = [n for n, kind in enumerate(kinds) if isinstance(kind, Timed)]
    if len(places) > 1:
        derivation.refuse("it puts one sequence behind another")
    (place,) = places
    value, kind = node.inputs[place], kinds[place]
    assert value is not None
    assert isinstance(kind, Timed)
    behind_it = [v for v in node.inputs[place + 1 :] if v is not None]
    if any(isinstance(other, Final) for other in kinds[:place]):
        derivation.refuse("it brings a result of the whole sequence to the first step")
    before = [v for v in node.inputs[:place] if v is not None]
    counts = [_frame_count(derivation, v, axis) for v in node.inputs if v is not value]
    ahead, behind = sum(counts[:place]), sum(counts[place:])
    if any(isinstance(other, Final) for other in kinds[place:]):
        # Which frame is the last is known too late: those that stand behind never come.
        value, kind = _hold_back(derivation, value, kind)
        value = derivation.emit("Identity", [value], like=value)
        derivation.tails[value] = behind_it[-1]
    length = kind.length + ahead + behind
    if any(isinstance(other, Carried) for other in kinds):
        if len(before) != 1 or behind or kind.offset or kind.context:
            derivation.refuse("the state that it puts before the sequence must be alone there")
        derivation.kinds[node.outputs[0]] = replace(
            kind, context=ahead, length=length, offset=ahead, first=None, truth=None
        )
        return
    if ahead and kind.offset < 0:
        value, kind = settle(derivation, value, kind)
    if ahead and (kind.offset > 0 or len(before) > 1):
        derivation.refuse("frames are put before the first more than once")
    after = replace(
        kind, length=length, offset=kind.offset + ahead, first=None, truth=None,
        lead=before[0] if ahead else kind.lead,
    )  # fmt: skip
    if ahead:
        value, after = refill(derivation, value, after)
    derivation.replace(node.outputs[0], value, after)


def _hold_back(derivation: Derivation, value: ir.Value, kind: Timed) -> tuple[ir.Value, Timed]:
    """Keep frames until it is sure that they are of the tensor."""
    early = difference(kind.clock.total, kind.length)
    if early is None:
        derivation.refuse("it puts a result of the whole sequence behind it")
    late = kind.offset + early
    return delay(derivation, value, kind, late) if late > 0 else (value, kind)


def _frame_count(derivation: Derivation, value: ir.Value | None, axis: int) -> int:
    assert value is not None
    size = derivation.dims(value)[axis]
    if not isinstance(size, int):
        derivation.refuse(f"how many frames {value.name} has must be known")
    return size


def derive_pad(derivation: Derivation, node: ir.Node) -> None:
    value, (output,) = node.inputs[0], node.outputs
    kind = derivation.kind(value)
    if not isinstance(kind, Timed):
        derivation.kinds[output] = kind
        return
    assert value is not None
    rank = derivation.rank(value)
    pads = derivation.array(node.inputs[1])
    if pads is None:
        derivation.refuse("how much it pads must be known")
    axes = derivation.array(node.inputs[3]) if len(node.inputs) > 3 else None
    order = [int(a) % rank for a in axes.ravel()] if axes is not None else list(range(rank))
    if kind.axis not in order:
        derivation.kinds[output] = kind
        return
    kind = unfold(derivation, kind)
    place, half = order.index(kind.axis), len(order)
    ahead, behind = int(pads[place]), int(pads[place + half])
    mode = node.attributes["mode"].as_string() if "mode" in node.attributes else "constant"
    lead = _lead(derivation, node, kind, mode) if ahead > 0 else None
    if ahead > 0 and kind.offset < 0:
        value, kind = settle(derivation, value, kind)
    if ahead > 0 and kind.offset > 0 and kind.lead != lead:
        derivation.refuse("frames are put before the first more than once")
    offset = kind.offset + ahead
    after = replace(
        kind, length=np.maximum(kind.length + ahead + behind, 0), offset=offset,
        lead=(lead if ahead > 0 else kind.lead) if offset > 0 else None, first=None, truth=None,
    )  # fmt: skip
    rest = pads.copy()
    rest[[place, place + half]] = 0
    if np.any(rest):
        node.replace_input_with(1, derivation.constant(rest))
        derivation.kinds[output] = after
    else:
        if ahead > 0:
            value, after = refill(derivation, value, after)
        derivation.replace(output, value, after)


def _lead(derivation: Derivation, node: ir.Node, kind: Timed, mode: str) -> float | ir.Value:
    if mode == "constant":
        fill = derivation.array(node.inputs[2]) if len(node.inputs) > 2 else np.array(0.0)
        if fill is None:
            derivation.refuse("what it pads with must be known")
        return float(fill.item())
    value = node.inputs[0]
    assert value is not None
    if mode != "edge" or kind.offset or kind.context:
        derivation.refuse(f"padding of mode {mode} takes frames that come later")
    first = derivation.slice_frames(value, kind.axis, 0, 1)
    first.shape = None
    return first
