"""Small constants that an exporter wrote as a number and how often it stands."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

# Widths of paddings, targets of reshapes; weights are no whole numbers.
_MOST = 64


def fold_fills(model: ir.Model) -> None:
    """ConstantOfShape of a known shape and a whole number becomes a constant."""
    graph = model.graph
    for node in list(graph):
        if node.op_type != "ConstantOfShape":
            continue
        given = node.inputs[0]
        shape = None if given is None else ir.convenience.get_const_tensor(given)
        fill = node.attributes["value"].as_tensor().numpy() if "value" in node.attributes else None
        output = node.outputs[0]
        if shape is None or fill is None or fill.dtype.kind not in "iu":
            continue
        array = np.full(shape.numpy(), fill.item(), fill.dtype)
        if array.size > _MOST or output.is_graph_output():
            continue
        constant = ir.node("Constant", [], attributes={"value": ir.tensor(array)})
        constant.outputs[0].name, constant.outputs[0].type = f"{output.name}.filled", output.type
        constant.outputs[0].shape = ir.Shape(array.shape)
        graph.insert_before(node, constant)
        output.replace_all_uses_with(constant.outputs[0])
        graph.remove(node, safe=True)
