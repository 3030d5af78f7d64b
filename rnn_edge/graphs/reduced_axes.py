"""Axes of reductions counted from the front, without which ONNX Runtime does nothing to no values.

Its ReduceSum and kin (1.31, CPU) leave a tensor with an axis of size 0 as it is when the axis to
be reduced is counted from the end.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir


class CountAxesFromFront(ir.passes.InPlacePass):
    """Replace negative constant axes of reductions over tensors of known rank."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph.all_nodes()):
            axes = _negative_axes(node)
            if axes is None:
                continue
            constant = ir.node("Constant", [], attributes={"value": ir.tensor(axes)})
            constant.outputs[0].name = f"{node.outputs[0].name}_axes"
            constant.outputs[0].dtype = ir.DataType.INT64
            constant.outputs[0].shape = ir.Shape(axes.shape)
            assert node.graph is not None
            node.graph.insert_before(node, constant)
            node.replace_input_with(1, constant.outputs[0])
            modified = True
        return ir.passes.PassResult(model, modified)


def _negative_axes(node: ir.Node) -> np.ndarray | None:
    """The axes of a reduction from the front where some were not; None otherwise."""
    if not node.op_type.startswith("Reduce") or node.domain != "" or len(node.inputs) < 2:
        return None
    x, given = node.inputs[:2]
    tensor = ir.convenience.get_const_tensor(given) if given is not None else None
    if x is None or x.shape is None or tensor is None:
        return None
    axes = np.atleast_1d(tensor.numpy())
    if not (axes < 0).any():
        return None
    front: np.ndarray = np.where(axes < 0, axes + x.shape.rank(), axes).astype(np.int64)
    return front
