"""Recurrent layers that ONNX or ONNX Runtime has no node for, as one Scan a direction.

That is an LSTM with a projection, which ONNX does not define, and any layer in float64, for which
ONNX Runtime has no kernel. The Scan's body is one step in torch's formulas and gate order; shapes
there, with ``gates`` times hidden_size features before the activations:

    x gates  [batch, gates * hidden_size], the input's part, computed for all steps at once
    valid    [batch, 1] bool, only where rows have lengths: a row that has ended keeps its state
    states   [batch, hidden_size], or [batch, proj_size] for h of a projecting LSTM
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import onnx_ir as ir
import onnxscript
from onnx_ir.tape import Tape
from onnxscript import evaluator

# The stubs of onnxscript know tensors only, where constants are as good.
op: Any = onnxscript.opset18


@dataclass(frozen=True)
class Weights:
    """torch's weights of one direction; the biases and the projection may be absent."""

    w_ih: Any
    w_hh: Any
    b_ih: Any = None
    b_hh: Any = None
    w_hr: Any = None


# (the tape to write to, the input's gates, the states, the weights) -> the next states
Step: TypeAlias = Callable[[Tape, ir.Value, list[ir.Value], Weights], list[ir.Value]]


def must_compose(x: Any, weights: Sequence[Any], bidirectional: bool) -> bool:
    """Whether a layer over ``x`` has no node of its own in ONNX or no kernel in ONNX Runtime."""
    return bool(x.dtype == ir.DataType.DOUBLE or _projects(weights, bidirectional))


def compose_rnn(nonlinearity: str) -> Step:
    def step(tape: Tape, x: ir.Value, states: list[ir.Value], weights: Weights) -> list[ir.Value]:
        total = tape.op("Add", [x, _hidden_gates(tape, states[0], weights)])
        return [tape.op(nonlinearity.capitalize(), [total])]

    return step


def compose_gru(
    tape: Tape, x: ir.Value, states: list[ir.Value], weights: Weights
) -> list[ir.Value]:
    (h,) = states
    x_r, x_z, x_n = _split(tape, x, 3)
    h_r, h_z, h_n = _split(tape, _hidden_gates(tape, h, weights), 3)
    r = tape.op("Sigmoid", [tape.op("Add", [x_r, h_r])])
    z = tape.op("Sigmoid", [tape.op("Add", [x_z, h_z])])
    n = tape.op("Tanh", [tape.op("Add", [x_n, tape.op("Mul", [r, h_n])])])
    return [tape.op("Add", [n, tape.op("Mul", [z, tape.op("Sub", [h, n])])])]


def compose_lstm(
    tape: Tape, x: ir.Value, states: list[ir.Value], weights: Weights
) -> list[ir.Value]:
    h, c = states
    i, f, g, o = _split(tape, tape.op("Add", [x, _hidden_gates(tape, h, weights)]), 4)
    kept = tape.op("Mul", [tape.op("Sigmoid", [f]), c])
    added = tape.op("Mul", [tape.op("Sigmoid", [i]), tape.op("Tanh", [g])])
    c = tape.op("Add", [kept, added])
    h = tape.op("Mul", [tape.op("Sigmoid", [o]), tape.op("Tanh", [c])])
    if weights.w_hr is not None:
        h = tape.op("Gemm", [h, weights.w_hr], {"transB": 1})
    return [h, c]


def run_composed(
    step: Step,
    x: Any,
    lengths: Any,
    initial: Sequence[Any],
    weights: Sequence[Any],
    bidirectional: bool,
) -> tuple[Any, ...]:
    """Write one layer; arguments and results are those of the operators of this package."""
    valid = None if lengths is None else _find_valid(x, lengths)
    outputs, finals = [], []
    for direction, group in enumerate(_split_weights(weights, bidirectional)):
        states = [op.Gather(state, op.Constant(value_int=direction), axis=0) for state in initial]
        gates = op.MatMul(x, op.Transpose(group.w_ih, perm=[1, 0]))
        if group.b_ih is not None:
            gates = op.Add(gates, group.b_ih)
        y, *final = _scan(step, gates, valid, states, group, is_reverse=direction == 1)
        if valid is not None:
            y = op.Where(valid, y, op.Constant(value=ir.tensor(0.0, dtype=x.dtype)))
        outputs.append(y)
        finals.append([op.Unsqueeze(state, [0]) for state in final])
    y = outputs[0] if len(outputs) == 1 else op.Concat(*outputs, axis=2)
    return y, *(op.Concat(*states, axis=0) for states in zip(*finals, strict=True))


def _scan(
    step: Step,
    gates: ir.Value,
    valid: ir.Value | None,
    initial: list[ir.Value],
    weights: Weights,
    is_reverse: bool,
) -> Sequence[ir.Value]:
    """(h of every step, the last state, ...); a reverse Scan begins at the last step."""
    dtype = gates.dtype or weights.w_ih.dtype
    states = [ir.val(f"scan.state_{i}", dtype=dtype) for i in range(len(initial))]
    x = ir.val("scan.x", dtype=dtype)
    scanned = [x]
    tape = Tape()
    following = step(tape, x, states, weights)
    if valid is not None:
        is_valid = ir.val("scan.valid", dtype=ir.DataType.BOOL)
        scanned.append(is_valid)
        following = [
            tape.op("Where", [is_valid, new, old])
            for new, old in zip(following, states, strict=True)
        ]
    # A graph must not have one value as two outputs.
    y = tape.op("Identity", [following[0]])
    body_outputs = [*following, y]
    for value in body_outputs:
        value.dtype = dtype
    # A body must not name a value as the graph around it does, which numbers its own.
    for number, value in enumerate(value for node in tape.nodes for value in node.outputs):
        value.name = f"scan.value_{number}"
    body = ir.Graph([*states, *scanned], body_outputs, nodes=tape.nodes, name="step")
    node = ir.node(
        "Scan",
        [*initial, gates, *([] if valid is None else [valid])],
        attributes={
            "body": body,
            "num_scan_inputs": len(scanned),
            "scan_input_directions": [int(is_reverse)] * len(scanned),
            "scan_output_directions": [int(is_reverse)],
        },
        num_outputs=len(body_outputs),
    )
    # op.Scan would give one output: it cannot know how many a body has.
    recorder: Any = evaluator.default()
    recorder.nodes.append(node)
    *final, y = node.outputs
    return [y, *final]


def _find_valid(x: Any, lengths: Any) -> Any:
    """[sequence, batch, 1]: whether a step lies inside its row."""
    sequence = op.Squeeze(op.Shape(x, start=0, end=1), [0])
    places = op.Range(op.Constant(value_int=0), sequence, op.Constant(value_int=1))
    return op.Unsqueeze(op.Less(op.Unsqueeze(places, [1]), op.Unsqueeze(lengths, [0])), [2])


def _hidden_gates(tape: Tape, h: ir.Value, weights: Weights) -> ir.Value:
    inputs = [h, weights.w_hh] if weights.b_hh is None else [h, weights.w_hh, weights.b_hh]
    return tape.op("Gemm", inputs, {"transB": 1})


def _split(tape: Tape, gates: ir.Value, count: int) -> Sequence[ir.Value]:
    return tape.op_multi_out("Split", [gates], {"axis": 1, "num_outputs": count}, num_outputs=count)


def _split_weights(weights: Sequence[Any], bidirectional: bool) -> list[Weights]:
    """torch's flat list: w_ih, w_hh, then b_ih, b_hh and w_hr where there are any."""
    size = len(weights) // (2 if bidirectional else 1)
    groups = [list(weights[first : first + size]) for first in range(0, len(weights), size)]
    return [_read_weights(group, _projects(weights, bidirectional)) for group in groups]


def _read_weights(group: list[Any], projects: bool) -> Weights:
    w_hr = group.pop() if projects else None
    w_ih, w_hh, *biases = group
    b_ih, b_hh = biases or (None, None)
    return Weights(w_ih, w_hh, b_ih, b_hh, w_hr)


def _projects(weights: Sequence[Any], bidirectional: bool) -> bool:
    """Biases come in pairs, so that an odd number of weights has a projection among them."""
    return len(weights) // (2 if bidirectional else 1) % 2 == 1
