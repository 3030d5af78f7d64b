"""Float64 LayerNormalization, whose epsilon is a float32 attribute: half of the digits."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from rnn_edge.graphs.double_replacement import take_the_place

_DEFAULT_EPSILON = 1e-5


class ComposeDoubleNorms(ir.passes.InPlacePass):
    """Write each LayerNormalization of float64 as means, a root and a product.

    Epsilon is the shortest decimal number that the attribute stands for, as it was in the module.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph.all_nodes()):
            if _is_double_norm(node):
                _replace(node)
                modified = True
        return ir.passes.PassResult(model, modified)


def _is_double_norm(node: ir.Node) -> bool:
    if node.op_type != "LayerNormalization" or node.domain != "":
        return False
    x, *others = node.inputs[0], *node.outputs[1:]
    if x is None or x.dtype != ir.DataType.DOUBLE or x.shape is None:
        return False
    return not any(value.uses() or value.is_graph_output() for value in others if value)


def _replace(node: ir.Node) -> None:
    x, weight, bias = (*node.inputs, None, None)[:3]
    assert x is not None
    assert x.shape is not None
    rank = x.shape.rank()
    given = node.attributes.get("axis")
    first = (given.as_int() if given is not None else -1) % rank
    tape = Tape()
    axes = _constant(tape, np.arange(first, rank))
    epsilon = node.attributes.get("epsilon")
    number = float(str(np.float32(epsilon.as_float()))) if epsilon else _DEFAULT_EPSILON
    mean = tape.op("ReduceMean", [x, axes], {"keepdims": 1})
    apart = tape.op("Sub", [x, mean])
    variance = tape.op("ReduceMean", [tape.op("Mul", [apart, apart]), axes], {"keepdims": 1})
    spread = tape.op("Sqrt", [tape.op("Add", [variance, _constant(tape, np.float64(number))])])
    found = tape.op("Div", [apart, spread])
    if weight is not None:
        found = tape.op("Mul", [found, weight])
    if bias is not None:
        found = tape.op("Add", [found, bias])
    take_the_place(node, tape, found)


def _constant(tape: Tape, value: np.ndarray | np.float64) -> ir.Value:
    made = tape.op("Constant", [], {"value": ir.tensor(np.asarray(value))})
    made.dtype = ir.DataType.INT64 if np.asarray(value).dtype == np.int64 else ir.DataType.DOUBLE
    return made
