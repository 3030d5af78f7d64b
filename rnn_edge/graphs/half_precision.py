"""Keep float16 graphs clear of a fusion of ONNX Runtime's that ends the process.

Its MatmulTransposeFusion (1.31, CPU) dies of a float16 MatMul with a constant where a Transpose
that moves the batch axis comes before, as it does between a batch-first recurrent layer and a
Linear one. An Einsum computes the same and is not fused.
"""

from __future__ import annotations

import onnx_ir as ir

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
