"""ConstantOfShape of a constant shape, which the optimiser does not fold: torch's old paddings."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

# A larger one is better filled at run time.
_MOST_NUMBERS = 2**16


class FoldConstantFills(ir.passes.InPlacePass):
    """Put the numbers where ConstantOfShape would make them."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed = False
        for node in list(model.graph.all_nodes()):
            if node.op_type != "ConstantOfShape" or node.domain not in ("", "ai.onnx"):
                continue
            given_shape = node.inputs[0]
            assert given_shape is not None
            shape = ir.convenience.get_const_tensor(given_shape)
            if shape is None or np.prod(shape.numpy()) > _MOST_NUMBERS:
                continue
            given = node.attributes.get("value")
            value = given.as_tensor().numpy() if given is not None else np.zeros(1, np.float32)
            filled = np.full(shape.numpy(), value.reshape(()), value.dtype)
            (output,) = node.outputs
            constant = ir.node("Constant", [], attributes={"value": ir.tensor(filled)})
            assert node.graph is not None
            node.graph.insert_before(node, constant)
            name, constant.outputs[0].name = output.name, f"{output.name}_filled"
            constant.outputs[0].type, constant.outputs[0].shape = output.type, output.shape
            output.replace_all_uses_with(constant.outputs[0], replace_graph_outputs=True)
            node.graph.remove(node, safe=True)
            constant.outputs[0].name = name
            changed = True
        return ir.passes.PassResult(model, changed)
