"""Sum, mean, maximum and minimum over all frames: the answer for the frames so far."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from rnn_edge.graphs.streaming.derivation import Derivation
from rnn_edge.graphs.streaming.kinds import Final, Timed
from rnn_edge.graphs.streaming.shifting import settle


def derive_total(derivation: Derivation, node: ir.Node, kind: Timed) -> None:
    """A reduction over time: what it has come to goes from chunk to chunk.

    Along other axes, where it has any, the node itself goes on to reduce what is left of time.
    """
    rule = _RULES.get(node.op_type)
    if rule is None:
        derivation.refuse("it looks at the whole sequence")
    value, (output,) = node.inputs[0], node.outputs
    assert value is not None
    ready, settled = settle(derivation, value, kind)
    if settled.delay != 0 or not settled.plain:
        derivation.refuse("its frames so far are not those of the sequence so far")
    total = rule(derivation, node, ready, settled)
    node.replace_input_with(0, total)
    derivation.kinds[total] = derivation.kinds[output] = Final()


def _sum(derivation: Derivation, node: ir.Node, value: ir.Value, kind: Timed) -> ir.Value:
    state = _state(derivation, node, value, kind, "sum")
    added = _reduce(derivation, "ReduceSum", value, kind.axis)
    total = derivation.emit("Add", [state, added], like=value)
    total.shape = state.shape
    derivation.keep_state(total)
    return total


def _mean(derivation: Derivation, node: ir.Node, value: ir.Value, kind: Timed) -> ir.Value:
    total = _sum(derivation, node, value, kind)
    dims = derivation.dims(total)
    rows = derivation.batch_axis(dims)
    ones = [dim if axis == rows else 1 for axis, dim in enumerate(dims)]
    before = derivation.add_state(f"{node.outputs[0].name}.count", "int64", ones, rows, None)
    count = derivation.emit("Add", [before, kind.clock.frames], like=before)
    derivation.keep_state(count)
    assert value.dtype is not None
    number = derivation.emit("Cast", [count], {"to": int(value.dtype)}, like=value)
    mean = derivation.emit("Div", [total, number], like=value)
    mean.shape = total.shape
    return mean


def _extreme(derivation: Derivation, node: ir.Node, value: ir.Value, kind: Timed) -> ir.Value:
    """The largest or smallest of what came before and of this chunk."""
    assert value.dtype is not None
    dtype, largest = value.dtype.numpy(), node.op_type == "ReduceMax"
    if np.issubdtype(dtype, np.floating):
        worst = -np.inf if largest else np.inf
    else:
        worst = np.iinfo(dtype).min if largest else np.iinfo(dtype).max
    start = derivation.constant(np.array(worst, dtype))
    state = _state(derivation, node, value, kind, "max" if largest else "min", start)
    both = derivation.concat([state, value], kind.axis)
    found = _reduce(derivation, node.op_type, both, kind.axis)
    found.shape = state.shape
    derivation.keep_state(found)
    return found


def _reduce(derivation: Derivation, kind: str, value: ir.Value, axis: int) -> ir.Value:
    """One number along ``axis``, which stays."""
    if derivation.graph.opset_imports.get("", _AXES_AS_INPUT[kind]) < _AXES_AS_INPUT[kind]:
        return derivation.emit(kind, [value], {"keepdims": 1, "axes": [axis]}, like=value)
    return derivation.emit(kind, [value, derivation.numbers(axis)], {"keepdims": 1}, like=value)


def _state(
    derivation: Derivation,
    node: ir.Node,
    value: ir.Value,
    kind: Timed,
    word: str,
    initial: ir.Value | None = None,
) -> ir.Value:
    """A state of one frame of ``value``."""
    dims = [1 if axis == kind.axis else dim for axis, dim in enumerate(derivation.dims(value))]
    assert value.dtype is not None
    name, rows = f"{node.outputs[0].name}.{word}", derivation.batch_axis(dims)
    state = derivation.add_state(name, str(value.dtype.numpy()), dims, rows, initial)
    state.shape = ir.Shape(dims)
    return state


# The opset from which on a reduction takes its axes as an input.
_AXES_AS_INPUT = {"ReduceSum": 13, "ReduceMax": 18, "ReduceMin": 18}
_RULES = {"ReduceSum": _sum, "ReduceMean": _mean, "ReduceMax": _extreme, "ReduceMin": _extreme}
