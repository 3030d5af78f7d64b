"""Frames written over others: ``y[:, 1:] = x[:, 1:] - x[:, :-1]``."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from rnn_edge.graphs.streaming.derivation import Derivation
from rnn_edge.graphs.streaming.kinds import Timed, same
from rnn_edge.graphs.streaming.rules.pointwise import combine_still
from rnn_edge.graphs.streaming.shifting import align, settle


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
