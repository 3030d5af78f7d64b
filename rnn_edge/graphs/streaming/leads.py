"""Frames that stand before a sequence's first: what becomes of them in an operator."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from rnn_edge.graphs.streaming.derivation import Derivation
from rnn_edge.graphs.streaming.kinds import Static, Timed

Lead = float | ir.Value | None

# Operators of which 0 gives 0, whatever still operand they have.
_KEEP_ZERO = (
    "Relu", "Tanh", "Abs", "Neg", "LeakyRelu", "Sin", "Sqrt", "Sign", "Round", "Floor", "Ceil",
    "Erf", "Elu", "Selu", "Gelu", "Softsign", "Cast", "Mul", "MatMul", "Transpose", "Unsqueeze",
    "Squeeze", "Identity",
)  # fmt: skip
_MOVES = ("Transpose", "Unsqueeze", "Squeeze", "Identity")


def lead_after(derivation: Derivation, node: ir.Node, output: ir.Value) -> Lead:
    """What stands before the first frame of ``output``, which looks at each frame alone.

    The node is applied to what stands before its inputs'; refused where that is not known.
    """
    places = [n for n, v in enumerate(node.inputs) if isinstance(derivation.kind(v), Timed)]
    leads: list[Lead] = []
    for place in places:
        kind = derivation.kind(node.inputs[place])
        assert isinstance(kind, Timed)
        if kind.offset <= 0:
            return None
        leads.append(kind.lead)
    if any(lead is None for lead in leads):
        derivation.refuse("what stands before the first frame is not known")
    plain = [lead for lead in leads if not isinstance(lead, ir.Value)]
    if len(plain) == len(leads):
        if node.op_type in _MOVES:
            return plain[0]
        if all(lead == 0 for lead in plain) and _keeps_zero(node, places):
            return 0.0
    if any(not isinstance(derivation.kind(v), Static | Timed) for v in node.inputs):
        derivation.refuse("what stands before the first frame would change while a stream runs")
    inputs = list(node.inputs)
    for place in places:
        inputs[place] = _frames(derivation, node.inputs[place])
    copy = ir.Node(
        node.domain, node.op_type, inputs, node.attributes.values(), num_outputs=len(node.outputs)
    )
    derivation.insert(copy)
    for own, new in zip(node.outputs, copy.outputs, strict=True):
        new.name, new.type = derivation.name_for(f"{own.name}_lead"), own.type
    return copy.outputs[list(node.outputs).index(output)]


def _keeps_zero(node: ir.Node, places: list[int]) -> bool:
    if node.op_type in ("Add", "Sub", "Concat"):
        return len(places) == len(node.inputs)
    return node.op_type in _KEEP_ZERO or (node.op_type == "Div" and places == [0])


def _frames(derivation: Derivation, value: ir.Value | None) -> ir.Value:
    """What stands before the first frame of ``value``, with all axes; one row where rows agree."""
    kind = derivation.kind(value)
    assert isinstance(kind, Timed)
    assert value is not None
    assert value.dtype is not None
    if isinstance(kind.lead, ir.Value):
        return kind.lead
    dims = [dim if isinstance(dim, int) else 1 for dim in derivation.dims(value)]
    dims[kind.axis] = kind.offset
    return derivation.constant(np.full(dims, kind.lead, value.dtype.numpy()))
