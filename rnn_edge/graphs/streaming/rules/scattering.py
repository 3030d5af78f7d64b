"""Frames written over others, ``y[:, 1:] = x[:, 1:] - x[:, :-1]``, or elements within each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from rnn_edge.graphs.streaming.derivation import Derivation
from rnn_edge.graphs.streaming.kinds import Timed, same
from rnn_edge.graphs.streaming.leads import lead_after
from rnn_edge.graphs.streaming.rules.pointwise import combine_still
from rnn_edge.graphs.streaming.shifting import align, laid_out_alike, settle


def derive_scatter(derivation: Derivation, node: ir.Node) -> None:
    """ScatterND of all frames from one on."""
    (output,) = node.outputs
    kinds = [derivation.kind(value) for value in node.inputs]
    if not any(isinstance(kind, Timed) for kind in kinds):
        derivation.kinds[output] = combine_still(kinds)
        return
    data, index, updates = kinds
    reduction = node.attributes.get("reduction")
    if (
        not isinstance(data, Timed)
        or not isinstance(index, Timed)
        or not isinstance(updates, Timed)
        or index.first is None
        or index.scale != 1
        or index.spread is not None
        or data.axis or index.axis or updates.axis
        or (reduction is not None and reduction.as_string() != "none")
    ):  # fmt: skip
        derivation.refuse("which frames it writes is computed from values")
    first = index.first
    if first < 0 or not same(np.maximum(data.length - first, 0), updates.length):
        derivation.refuse("it does not write all frames up to the last")
    later = replace(
        updates, length=data.length, offset=updates.offset + first, lead=0.0, first=None, truth=None
    )
    values = [value for value in (node.inputs[0], node.inputs[2]) if value is not None]
    if not first:
        derivation.replace(output, values[1], later)
        return
    values, timed = align(derivation, values, [data, later])
    ready = [settle(derivation, value, kind) for value, kind in zip(values, timed, strict=True)]
    (old, after), (new, _) = ready
    chosen = derivation.emit("Where", [_before(derivation, old, after, first), old, new], like=new)
    chosen.shape = output.shape
    derivation.replace(output, chosen, replace(after, lead=None, first=None, truth=None))


def _before(derivation: Derivation, value: ir.Value, kind: Timed, first: int) -> ir.Value:
    """Whether each frame of a chunk stands before frame ``first``: [frames, 1, ...]."""
    seen, zero = derivation.seen(kind.clock), derivation.numbers(0)
    end = derivation.emit("Add", [seen, kind.clock.frames], like=seen)
    ends = [derivation.emit("Squeeze", [each, zero], like=seen) for each in (seen, end)]
    step = derivation.constant(np.array(1, np.int64))
    places = derivation.emit("Range", [*ends, step], like=seen)
    early = derivation.emit("Less", [places, derivation.numbers(first)])
    shape = derivation.numbers(-1, *[1] * (derivation.rank(value) - 1))
    early.type = ir.TensorType(ir.DataType.BOOL)
    return derivation.emit("Reshape", [early, shape], like=early)


def derive_scatter_elements(derivation: Derivation, node: ir.Node) -> None:
    """Elements written within each frame, as by ``zeros.scatter(-1, label, 1)``."""
    (output,) = node.outputs
    kinds = [derivation.kind(value) for value in node.inputs]
    timed = [kind for kind in kinds if isinstance(kind, Timed)]
    if not timed:
        derivation.kinds[output] = combine_still(kinds)
        return
    given = node.attributes.get("axis")
    axis = (0 if given is None else given.as_int()) % derivation.rank(output)
    if len(timed) < len(kinds) or axis == timed[0].axis:
        derivation.refuse("which frames it writes is computed from values")
    timed = laid_out_alike(derivation, timed)
    if any(
        kind.axis != timed[0].axis or not same(kind.length, timed[0].length) for kind in timed[1:]
    ):
        derivation.refuse("it writes to fewer frames than there are")
    values, aligned = align(derivation, [v for v in node.inputs if v is not None], timed)
    for place, value in enumerate(values):
        derivation.kinds[value] = aligned[place]
        if node.inputs[place] is not value:
            node.replace_input_with(place, value)
    lead = lead_after(derivation, node, output)
    derivation.kinds[output] = replace(aligned[0], first=None, truth=None, lead=lead)
