"""Drop initial states that are nothing but zeros: the recurrent node starts from zero anyway."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

_RECURRENT = ("RNN", "GRU", "LSTM")
# Inputs initial_h and initial_c of the ONNX recurrent operators.
_STATE_INPUTS = (5, 6)
# Operators whose result holds no value that the first input does not hold.
_RESHAPING = (
    "Expand", "Slice", "Transpose", "Reshape", "Unsqueeze", "Squeeze", "Identity", "Gather",
    "Cast", "Split", "Tile",
)  # fmt: skip


class DropZeroStates(ir.passes.InPlacePass):
    """Remove ``initial_h`` and ``initial_c`` where every value is known to be zero.

    - A constant of zeros, whatever its size, is zero.
    - What reshapes, slices, expands or concatenates zeros is zero.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in model.graph.all_nodes():
            if node.op_type not in _RECURRENT or node.domain != "":
                continue
            for index in _STATE_INPUTS:
                if index < len(node.inputs) and is_zero(node.inputs[index]):
                    node.replace_input_with(index, None)
                    modified = True
        return ir.passes.PassResult(model, modified)


def is_zero(value: ir.Value | None) -> bool:
    """Whether every element of ``value`` is known to be zero."""
    if value is None:
        return False
    constant = ir.convenience.get_const_tensor(value)
    if constant is not None:
        array = constant.numpy()
        return array.size > 0 and array.dtype.kind in "fiu" and not np.any(array)
    node = value.producer()
    if node is None or node.domain != "":
        return False
    if node.op_type == "ConstantOfShape":
        fill = node.attributes.get("value")
        return fill is None or not np.any(fill.as_tensor().numpy())
    if node.op_type == "Concat":
        return all(is_zero(part) for part in node.inputs)
    return node.op_type in _RESHAPING and is_zero(node.inputs[0])
