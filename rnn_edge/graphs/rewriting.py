"""onnxscript's rewrite rules, with those that drop arithmetic exact.

Its own take a constant within 1e-8 of 0 for 0, and one within 1e-5 of 1 for 1. So log(x + 1e-8)
would lose what keeps it finite.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
from onnxscript.rewriter import RewritePass, RewriteRule, pattern
from onnxscript.rewriter.rules import common


def _exactly(number: int) -> pattern.Constant:
    return pattern.Constant(number, rel_tol=0.0, abs_tol=0.0)


def _add_nothing(op: Any, x: Any) -> Any:
    return op.Add(x, _exactly(0))


def _subtract_nothing(op: Any, x: Any) -> Any:
    return op.Sub(x, _exactly(0))


def _multiply_by_one(op: Any, x: Any) -> Any:
    return op.Mul(x, _exactly(1))


def _divide_by_one(op: Any, x: Any) -> Any:
    return op.Div(x, _exactly(1))


def _leave(op: Any, x: Any, **_: Any) -> Any:
    return op.Identity(x)


def _drop(operation: Callable[..., Any]) -> RewriteRule:
    return RewriteRule(operation, _leave)


# By the operator that each begins to match at, which is the last one of what it replaces.
_RULES: dict[str, tuple[RewriteRule, ...]] = {
    "Add": (*_drop(_add_nothing).commute(),),
    "Mul": (*_drop(_multiply_by_one).commute(),),
    "Sub": (_drop(_subtract_nothing),),
    "Div": (_drop(_divide_by_one),),
    "Reshape": (
        common.two_reshapes_matmul_reshape_rule,
        common.one_reshape_matmul_reshape_rule,
        common.materialize_reshape_shape_rule,
        common.reshape_reshape_rule,
        common.squeeze_reshape_1d_rule,
    ),
    "Cast": (
        common.cast_constant_of_shape_rule,
        common.cast_constant_of_shape_without_value_rule,
        common.cast_cast_rule,
        common.no_op_cast_rule,
    ),
    "Slice": (common.collapse_slice_rule, common.collapse_slice2_rule, common.slice_split_rule),
    "Min": (common.min_min_rule, common.max_min_rule),
    "Max": (common.max_max_rule, common.min_max_rule),
    "Clip": (common.successive_clip_relu_rule, common.successive_clip_rule),
    "Relu": (common.successive_relu_clip_rule, common.successive_relu_rule),
    "Expand": (common.no_op_expand_rule,),
    "Flatten": (common.flatten_to_reshape_rule,),
    "Transpose": (common.no_op_transpose_rule, common.transpose_transpose_rule),
    "Unsqueeze": (common.unsqueeze_unsqueeze_rule,),
    "ScatterND": (common.no_op_dynamic_scatter_nd_rule, common.no_op_static_scatter_nd_rule),
    "Conv": (
        common.normalize_pad_format_conv_rule,
        common.fuse_pad_into_conv_rule,
        common.remove_optional_bias_from_conv_rule,
    ),
    "ConvTranspose": (common.remove_optional_bias_from_conv_transpose_rule,),
    "BatchNormalization": (
        common.fuse_batchnorm_into_conv_rule,
        common.fuse_batchnorm_into_conv_transpose_rule,
        common.fuse_batchnorm_into_gemm_rule,
    ),
    "Gemm": (common.remove_optional_bias_from_gemm_rule,),
}


def rewrite(model: ir.Model) -> bool:
    """Apply the rules wherever they fit; whether any did."""
    present = {node.op_type for node in model.graph.all_nodes()}
    # Each rule is tried at each node, which is most of what cleaning takes.
    rules = [rule for operator, rules in _RULES.items() if operator in present for rule in rules]
    changed = bool(rules) and bool(RewritePass(rules)(model).modified)
    if changed:
        _keep_every_constant(model)
    return changed


def _keep_every_constant(model: ir.Model) -> None:
    """Rules name a constant after what it changes, and of two of one name the first is lost."""
    for node in model.graph.all_nodes():
        for value in node.inputs:
            if value is None or value.producer() is not None or value.const_value is None:
                continue
            graph = value.graph or node.graph
            assert isinstance(graph, ir.Graph)
            name, number = value.name or "constant", 1
            if graph.initializers.get(name) is value:
                continue
            value.name = name
            while value.name in graph.initializers:
                value.name = f"{name}_{number}"
                number += 1
            graph.initializers.add(value)
