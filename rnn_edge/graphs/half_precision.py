"""Keep float16 graphs clear of what ONNX Runtime cannot run, and of what ends the process.

It has no sums at scattered places in float16, which are taken in float32 here, as torch takes them.

Its MatmulTransposeFusion (1.31, CPU) dies of a float16 MatMul with a constant where a Transpose
that moves the batch axis comes before, as it does between a batch-first recurrent layer and a
Linear one. An Einsum computes the same and is not fused.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.tape import Tape

# By the side and the rank of the constant.
_EQUATIONS = {
    (0, 1): "k,...kn->...n",
    (0, 2): "mk,...kn->...mn",
    (1, 1): "...k,k->...",
    (1, 2): "...k,kn->...n",
}


class ReplaceHalfMatMuls(ir.passes.InPlacePass):
    """Write each product of a float16 tensor, unless it is a matrix, with a constant as Einsum."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in model.graph.all_nodes():
            equation = _equation(node)
            if equation is not None:
                node.op_type = "Einsum"
                node.attributes["equation"] = ir.AttrString("equation", equation)
                modified = True
        return ir.passes.PassResult(model, modified)


def _equation(node: ir.Node) -> str | None:
    if node.op_type != "MatMul" or node.domain != "":
        return None
    for side in (0, 1):
        constant, other = node.inputs[side], node.inputs[1 - side]
        if constant is None or constant.dtype != ir.DataType.FLOAT16:
            continue
        if ir.convenience.get_const_tensor(constant) is None or constant.shape is None:
            continue
        if other is not None and (other.shape is None or other.shape.rank() > 2):
            return _EQUATIONS.get((side, constant.shape.rank()))
    return None


class WidenHalfScatters(ir.passes.InPlacePass):
    """Compute scattered reductions of float16 in float32."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [node for node in model.graph.all_nodes() if _reduces_halves(node)]
        for node in found:
            _widen(node)
        return ir.passes.PassResult(model, bool(found))


def _reduces_halves(node: ir.Node) -> bool:
    if node.op_type not in ("ScatterElements", "ScatterND") or node.domain != "":
        return False
    reduction = node.attributes.get("reduction")
    if reduction is None or reduction.as_string() in ("", "none"):
        return False
    return _find_type(node.outputs[0]) == ir.DataType.FLOAT16


def _find_type(value: ir.Value | None) -> ir.DataType | None:
    """That of ``value``, or where it was not written down, of what it is moved or computed from."""
    while value is not None and value.dtype is None:
        node = value.producer()
        value = node.inputs[0] if node is not None and node.inputs else None
    return None if value is None else value.dtype


def _widen(node: ir.Node) -> None:
    data, index, updates = node.inputs
    assert data is not None
    assert updates is not None
    assert node.graph is not None
    tape = Tape()
    wide = [tape.op("Cast", [value], {"to": ir.DataType.FLOAT}) for value in (data, updates)]
    found = tape.op(node.op_type, [wide[0], index, wide[1]], dict(node.attributes))
    for value in (*wide, found):
        value.dtype = ir.DataType.FLOAT
    narrow = tape.op("Cast", [found], {"to": ir.DataType.FLOAT16})
    output = node.outputs[0]
    narrow.type, narrow.shape = ir.TensorType(ir.DataType.FLOAT16), output.shape
    ir.convenience.replace_nodes_and_values(
        node.graph, node, [node], list(tape.nodes), [output], [narrow]
    )
