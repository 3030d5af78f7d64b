"""A sum over all frames: what it has come to for the frames so far."""

from __future__ import annotations

import onnx_ir as ir

from rnn_edge.graphs.streaming.derivation import Derivation
from rnn_edge.graphs.streaming.kinds import Final, Timed
from rnn_edge.graphs.streaming.shifting import settle

# The opset from which on a sum takes its axes as an input.
_AXES_AS_INPUT = 13


def derive_total(derivation: Derivation, node: ir.Node, kind: Timed) -> None:
    """A reduction over time: a sum goes from chunk to chunk, anything else needs all frames.

    Along other axes, where it has any, the node itself goes on to reduce what is left of time.
    """
    if node.op_type != "ReduceSum":
        derivation.refuse("it looks at the whole sequence")
    value, (output,) = node.inputs[0], node.outputs
    assert value is not None
    ready, settled = settle(derivation, value, kind)
    if settled.delay != 0 or not settled.plain:
        derivation.refuse("its frames so far are not those of the sequence so far")
    total = _sum(derivation, node, ready, settled)
    node.replace_input_with(0, total)
    derivation.kinds[total] = derivation.kinds[output] = Final()


def _sum(derivation: Derivation, node: ir.Node, value: ir.Value, kind: Timed) -> ir.Value:
    state = _state(derivation, node, value, kind)
    added = _reduce(derivation, value, kind.axis)
    total = derivation.emit("Add", [state, added], like=value)
    total.shape = state.shape
    derivation.keep_state(total)
    return total


def _reduce(derivation: Derivation, value: ir.Value, axis: int) -> ir.Value:
    """One number along ``axis``, which stays."""
    attributes = {"keepdims": 1}
    if derivation.graph.opset_imports.get("", _AXES_AS_INPUT) < _AXES_AS_INPUT:
        return derivation.emit("ReduceSum", [value], {**attributes, "axes": [axis]}, like=value)
    return derivation.emit("ReduceSum", [value, derivation.numbers(axis)], attributes, like=value)


def _state(derivation: Derivation, node: ir.Node, value: ir.Value, kind: Timed) -> ir.Value:
    """A state of one frame of ``value``."""
    dims = [1 if axis == kind.axis else dim for axis, dim in enumerate(derivation.dims(value))]
    assert value.dtype is not None
    name, rows = f"{node.outputs[0].name}.sum", derivation.batch_axis(dims)
    state = derivation.add_state(name, str(value.dtype.numpy()), dims, rows, None)
    state.shape = ir.Shape(dims)
    return state
