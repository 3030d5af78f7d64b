"""Python's arithmetic on sizes, to the last digit: -(-n // 2), round(n / 2), int(0.7 * n).

torch.onnx divides as C does, which rounds what is below zero to the other side, and computes with
fractions of float32, where Python's have float64: 0.29 * 100 is less than 29 there.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import onnxscript
import torch
from torch.fx import GraphModule, Node
from torch.utils._sympy.value_ranges import bound_sympy

# The stubs of onnxscript know tensors only, where constants are as good.
op: Any = onnxscript.opset18


def rewrite_size_arithmetic(module: GraphModule) -> None:
    """Let the nodes of ``module`` that round a number from sizes name translations of their own."""
    for node in list(module.graph.nodes):
        if node.op != "call_function":
            continue
        if node.target is operator.floordiv and _is_whole(node) and _may_be_negative(node.args[0]):
            node.target = divide_down
        elif (
            node.target in _ROUNDING
            and node.args[1:] in ((), (None,))
            and _is_fraction(node.args[0])
        ):
            with module.graph.inserting_before(node):
                node.args = (_widen(node.args[0], module),)
            node.target = _ROUNDING[node.target]


def _value(node: Any) -> Any:
    return node.meta.get("val") if isinstance(node, Node) else node


def _is_whole(node: Any) -> bool:
    return isinstance(_value(node), int | torch.SymInt)


def _is_fraction(node: Any) -> bool:
    return isinstance(_value(node), torch.SymFloat)


def _may_be_negative(node: Any) -> bool:
    value = _value(node)
    if not isinstance(value, torch.SymInt):
        return bool(value < 0)
    ranges = value.node.shape_env.var_to_range
    lower = bound_sympy(value.node.expr, ranges).lower
    return not bool(lower >= 0)


def _widen(node: Any, module: GraphModule) -> Any:
    """A node that computes in float64 what ``node``, a number of any kind, is."""
    if not isinstance(node, Node):
        return float(node)
    if node.target in _WIDE and _is_fraction(node):
        args = tuple(_widen(arg, module) for arg in node.args)
        made = module.graph.call_function(_WIDE[node.target], args)
    else:
        made = module.graph.call_function(as_double, (node,))
    # torch.onnx takes any symbolic fraction for float32.
    made.meta = {**node.meta, "val": torch.empty((), dtype=torch.float64, device="meta")}
    return made


# --- What such nodes name, which torch.onnx also runs on symbols, and its form in ONNX --------


def divide_down(x: int, y: int) -> int:
    return x // y


def as_double(x: float) -> float:
    fraction: float = torch.sym_float(x)
    return fraction


def add(x: float, y: float) -> float:
    return x + y


def subtract(x: float, y: float) -> float:
    return x - y


def multiply(x: float, y: float) -> float:
    return x * y


def divide(x: float, y: float) -> float:
    return x / y


def round_up(x: float) -> int:
    return math.ceil(x)


def round_down(x: float) -> int:
    return math.floor(x)


def cut_off(x: float) -> int:
    return math.trunc(x)


def round_to_nearest(x: float) -> int:
    return round(x)


_WIDE: dict[Any, Callable[..., Any]] = {
    operator.add: add,
    operator.sub: subtract,
    operator.mul: multiply,
    operator.truediv: divide,
    torch.sym_float: as_double,
}
_ROUNDING: dict[Any, Callable[..., Any]] = {
    math.ceil: round_up,
    math.floor: round_down,
    math.trunc: cut_off,
    round: round_to_nearest,
}


def _double(x: Any) -> Any:
    if isinstance(x, int | float):
        return op.Constant(value=ir.tensor(float(x), dtype=ir.DataType.DOUBLE))
    return op.Cast(x, to=ir.DataType.DOUBLE)


def _whole(x: Any) -> Any:
    return op.Cast(x, to=ir.DataType.INT64)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    # ONNX's Mod has the sign of what it divides by, as Python's.
    divide_down: lambda x, y: op.Div(op.Sub(x, op.Mod(x, y)), y),
    as_double: _double,
    add: lambda x, y: op.Add(_double(x), _double(y)),
    subtract: lambda x, y: op.Sub(_double(x), _double(y)),
    multiply: lambda x, y: op.Mul(_double(x), _double(y)),
    divide: lambda x, y: op.Div(_double(x), _double(y)),
    round_up: lambda x: _whole(op.Ceil(x)),
    round_down: lambda x: _whole(op.Floor(x)),
    cut_off: lambda x: _whole(x),
    round_to_nearest: lambda x: _whole(op.Round(x)),
}
