"""Keep float64 products by a number clear of a fusion of ONNX Runtime's that loses half of them.

Its MatMulScaleFusion (1.31, CPU) takes a number that a product of matrices is multiplied with into
that product, as float32. A Neg on both sides, which is exact, keeps the two apart.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.tape import Tape

from rnn_edge.graphs.double_replacement import take_the_place

_PRODUCTS = ("MatMul", "Gemm")
# What ONNX Runtime moves into a product before it looks at numbers.
_MOVED = ("Transpose", "Cast", "Identity")


class SetScalesApart(ir.passes.InPlacePass):
    """Write x * number as -(-x * number) where x, or what takes it, is a product of matrices."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [node for node in model.graph.all_nodes() if _is_near_product(node)]
        for node in found:
            _set_apart(node)
        return ir.passes.PassResult(model, bool(found))


def _is_near_product(node: ir.Node) -> bool:
    if node.op_type not in ("Mul", "Div") or node.domain != "":
        return False
    place = _place_of_tensor(node)
    if place is None:
        return False
    return _comes_from_product(node.inputs[place]) or _goes_to_product(node.outputs[0])


def _place_of_tensor(node: ir.Node) -> int | None:
    """The place of what is multiplied with one float64 number."""
    for place in (0, 1):
        number = node.inputs[1 - place]
        constant = ir.convenience.get_const_tensor(number) if number is not None else None
        if constant is None or constant.dtype != ir.DataType.DOUBLE or constant.size != 1:
            continue
        if node.op_type == "Mul" or place == 0:
            return place
    return None


def _comes_from_product(value: ir.Value | None) -> bool:
    node = value.producer() if value is not None else None
    while node is not None and node.op_type in _MOVED:
        given = node.inputs[0]
        node = given.producer() if given is not None else None
    return node is not None and node.op_type in _PRODUCTS


def _goes_to_product(value: ir.Value) -> bool:
    return any(
        user.op_type in _PRODUCTS or (user.op_type in _MOVED and _goes_to_product(user.outputs[0]))
        for user, _ in value.uses()
    )


def _set_apart(node: ir.Node) -> None:
    place = _place_of_tensor(node)
    assert place is not None
    tape = Tape()
    inputs = list(node.inputs)
    given = inputs[place]
    assert given is not None
    turned = tape.op("Neg", [given])
    turned.shape = given.shape
    inputs[place] = turned
    scaled = tape.op(node.op_type, inputs)
    scaled.shape = node.outputs[0].shape
    take_the_place(node, tape, tape.op("Neg", [scaled]))
