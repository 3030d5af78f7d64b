"""A choice between flags as logic: ONNX Runtime's Where has no kernel for them on the CPU."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.tape import Tape


class ReplaceFlagChoices(ir.passes.InPlacePass):
    """Write Where(c, x, y) of bool as (c and x) or (y and not c)."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph.all_nodes()):
            if node.op_type == "Where" and node.domain == "" and _chooses_flags(node):
                _replace(node)
                modified = True
        return ir.passes.PassResult(model, modified)


def _chooses_flags(node: ir.Node) -> bool:
    return any(
        value is not None and value.dtype == ir.DataType.BOOL
        for value in (*node.inputs[1:], *node.outputs)
    )


def _replace(node: ir.Node) -> None:
    condition, x, y = node.inputs
    tape = Tape()
    kept = tape.op("And", [condition, x])
    other = tape.op("And", [tape.op("Not", [condition]), y])
    chosen = tape.op("Or", [kept, other])
    for made in tape.nodes:
        made.outputs[0].dtype = ir.DataType.BOOL
        made.metadata_props.update(node.metadata_props)
    (output,) = node.outputs
    chosen.shape = output.shape
    assert node.graph is not None
    node.graph.insert_before(node, tape.nodes)
    name = output.name
    output.name = f"{name}_chosen"
    output.replace_all_uses_with(chosen, replace_graph_outputs=True)
    node.graph.remove(node, safe=True)
    chosen.name = name
