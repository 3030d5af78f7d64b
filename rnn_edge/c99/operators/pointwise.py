"""Operators that work on each element by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnn_edge.c99.code import Code
from rnn_edge.c99.memory import c_type
from rnn_edge.c99.program import Operation, Value
from rnn_edge.c99.tables import literal

# {0}, {1} are operands, {f} the ending of libm's functions, {p} the model's prefix, {t} the type;
# {alpha} and {beta} are attributes, {one} and the like numbers of the operands' type.
EXPRESSIONS = {
    "Add": "{0} + {1}", "Sub": "{0} - {1}", "Mul": "{0} * {1}", "Div": "{0} / {1}",
    "Neg": "-{0}", "Reciprocal": "{one} / {0}", "Identity": "{0}",
    "Equal": "{0} == {1}", "Less": "{0} < {1}", "Greater": "{0} > {1}",
    "LessOrEqual": "{0} <= {1}", "GreaterOrEqual": "{0} >= {1}",
    "And": "{0} && {1}", "Or": "{0} || {1}", "Xor": "{0} != {1}", "Not": "!{0}",
    "Where": "{0} ? {1} : {2}", "IsNaN": "{0} != {0}",
    "Relu": "{0} > {zero} ? {0} : {zero}",
    "LeakyRelu": "{0} < {zero} ? {alpha} * {0} : {0}", "PRelu": "{0} < {zero} ? {1} * {0} : {0}",
    "ThresholdedRelu": "{0} > {alpha} ? {0} : {zero}",
    "Elu": "{0} < {zero} ? {alpha} * expm1{f}({0}) : {0}",
    "Celu": "{0} < {zero} ? {alpha} * expm1{f}({0} / {alpha}) : {0}",
    "Selu": "{gamma} * ({0} < {zero} ? {alpha} * expm1{f}({0}) : {0})",
    "Sigmoid": "{p}_sigmoid_{t}({0})", "Tanh": "{p}_tanh_{t}({0})",
    "HardSigmoid": "{p}_clip_{t}({alpha} * {0} + {beta}, {zero}, {one})",
    "HardSwish": "{0} * {p}_clip_{t}({0} / {six} + {half}, {zero}, {one})",
    "Softplus": "({0} > {zero} ? {0} : {zero}) + log1p{f}(exp{f}(-fabs{f}({0})))",
    "Softsign": "{0} / ({one} + fabs{f}({0}))",
    "Mish": "{0} * {p}_tanh_{t}(({0} > {zero} ? {0} : {zero}) + log1p{f}(exp{f}(-fabs{f}({0}))))",
    "Swish": "{0} * {p}_sigmoid_{t}({alpha} * {0})",
    "Exp": "exp{f}({0})", "Log": "log{f}({0})", "Sqrt": "sqrt{f}({0})", "Erf": "erf{f}({0})",
    "Sin": "sin{f}({0})", "Cos": "cos{f}({0})", "Tan": "tan{f}({0})", "Atan": "atan{f}({0})",
    "Sinh": "sinh{f}({0})", "Cosh": "cosh{f}({0})",
    "Floor": "floor{f}({0})", "Ceil": "ceil{f}({0})", "Round": "nearbyint{f}({0})",
}  # fmt: skip

_DEFAULTS: dict[str, dict[str, float]] = {
    "LeakyRelu": {"alpha": 0.01}, "ThresholdedRelu": {"alpha": 1.0}, "Elu": {"alpha": 1.0},
    "Celu": {"alpha": 1.0}, "HardSigmoid": {"alpha": 0.2, "beta": 0.5}, "Swish": {"alpha": 1.0},
    "Selu": {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875},
}  # fmt: skip

_NEEDS = ("sigmoid", "tanh", "clip")


def filled(code: Code, kind: str, operands: list[str], dtype: np.dtype, **numbers: float) -> str:
    """The expression of ``kind`` with its operands; notes the kernels that it calls."""
    text, name = EXPRESSIONS[kind], c_type(dtype)
    for need in _NEEDS:
        if f"_{need}_" in text:
            code.kernel(need, name)
    known = {"zero": 0, "one": 1, "six": 6, "half": 0.5, **_DEFAULTS.get(kind, {}), **numbers}
    words: dict[str, Any] = {
        key: literal(value if dtype.kind == "f" else int(value), dtype)
        for key, value in known.items()
    }
    words |= {"f": "f" if name == "float" else "", "p": code.prefix, "t": name}
    return text.format(*operands, **words)


def _write_expression(code: Code, operation: Operation) -> None:
    inputs = [value for value in operation.inputs if value is not None]
    numbers = {
        name: value
        for name, value in operation.attributes.items()
        if name in ("alpha", "beta", "gamma")
    }
    output, kind = operation.result, operation.kind
    dtype = inputs[-1].dtype
    if kind in ("And", "Or", "Xor", "Not"):
        dtype = output.dtype
    cast = _narrowing(output, kind)
    code.pointwise(
        output, inputs, lambda operands: cast(filled(code, kind, operands, dtype, **numbers))
    )


def _narrowing(output: Value, kind: str) -> Callable[[str], str]:
    """C computes in int what is narrower than it."""
    if output.dtype.kind in "iu" and output.dtype.itemsize < 4 and kind != "Where":
        return lambda text: f"({c_type(output.dtype)})({text})"
    return lambda text: text


def _write_chain(code: Code, operation: Operation) -> None:
    """Min, Max, Sum and Mean of any number of tensors."""
    inputs = [value for value in operation.inputs if value is not None]
    output, kind = operation.result, operation.kind
    name = c_type(output.dtype)
    if kind in ("Min", "Max"):
        code.kernel(kind.lower(), name)

    def expression(operands: list[str]) -> str:
        text = operands[0]
        for operand in operands[1:]:
            joined = f"{text} + {operand}"
            called = f"{code.prefix}_{kind.lower()}_{name}({text}, {operand})"
            text = called if kind in ("Min", "Max") else joined
        if kind == "Mean":
            return f"({text}) / {literal(len(operands), output.dtype)}"
        return text

    code.pointwise(output, inputs, expression)


def _write_cast(code: Code, operation: Operation) -> None:
    output, source = operation.result, operation.required(0)
    name = c_type(output.dtype)
    c_type(source.dtype)

    def expression(operands: list[str]) -> str:
        return f"{operands[0]} != 0" if name == "bool" else f"({name}){operands[0]}"

    code.pointwise(output, [source], expression)


def _write_clip(code: Code, operation: Operation) -> None:
    output, source = operation.result, operation.required(0)
    low, high = operation.input(1), operation.input(2)
    bounds = [bound for bound in (low, high) if bound is not None]
    name = c_type(output.dtype)

    def expression(operands: list[str]) -> str:
        text, rest = operands[0], operands[1:]
        for bound, kind in ((low, "max"), (high, "min")):
            if bound is not None:
                code.kernel(kind, name)
                text = f"{code.prefix}_{kind}_{name}({text}, {rest.pop(0)})"
        return text

    code.pointwise(output, [source, *bounds], expression)


def _write_power(code: Code, operation: Operation) -> None:
    output, base, exponent = operation.result, operation.required(0), operation.required(1)
    known = None if exponent.constant is None or exponent.size != 1 else exponent.constant.item()
    if known == 2:
        code.pointwise(output, [base], lambda at: f"{at[0]} * {at[0]}")
    elif output.dtype.kind != "f":
        raise code.refuse(operation, "whole numbers have no power in C")
    else:
        f = "f" if c_type(output.dtype) == "float" else ""
        cast = c_type(output.dtype)
        code.pointwise(output, [base, exponent], lambda at: f"pow{f}({at[0]}, ({cast}){at[1]})")


def _write_sign(code: Code, operation: Operation) -> None:
    output, name = operation.result, c_type(operation.result.dtype)
    code.pointwise(
        output, [operation.required(0)], lambda at: f"({name})(({at[0]} > 0) - ({at[0]} < 0))"
    )


def _write_absolute(code: Code, operation: Operation) -> None:
    output = operation.result
    zero = literal(0, output.dtype)
    f = "f" if c_type(output.dtype) == "float" else ""
    code.pointwise(
        output,
        [operation.required(0)],
        lambda at: (
            f"fabs{f}({at[0]})"
            if output.dtype.kind == "f"
            else f"{at[0]} < {zero} ? -{at[0]} : {at[0]}"
        ),
    )


def _write_remainder(code: Code, operation: Operation) -> None:
    """Mod: the sign of the divisor, as Python has it; with fmod that of the dividend, as C has."""
    output = operation.result
    if output.dtype.kind == "f":
        f = "f" if c_type(output.dtype) == "float" else ""
        code.pointwise(output, _both(operation), lambda at: f"fmod{f}({at[0]}, {at[1]})")
    elif operation.attributes.get("fmod", 0):
        code.pointwise(output, _both(operation), lambda at: f"{at[0]} % {at[1]}")
    else:
        code.pointwise(
            output, _both(operation), lambda at: f"({at[0]} % {at[1]} + {at[1]}) % {at[1]}"
        )


def _write_gelu(code: Code, operation: Operation) -> None:
    output = operation.result
    name, dtype = c_type(output.dtype), output.dtype
    f = "f" if name == "float" else ""
    half, one = literal(0.5, dtype), literal(1, dtype)
    if operation.attributes.get("approximate", b"none") == b"tanh":
        code.kernel("tanh", name)
        root, cube = literal(0.7978845608028654, dtype), literal(0.044715, dtype)
        text = (
            f"{half} * {{0}} * ({one} + {code.prefix}_tanh_{name}"
            f"({root} * ({{0}} + {cube} * {{0}} * {{0}} * {{0}})))"
        )
    else:
        text = f"{half} * {{0}} * ({one} + erf{f}({{0}} * {literal(0.7071067811865476, dtype)}))"
    code.pointwise(output, [operation.required(0)], lambda at: text.format(*at))


def _write_range(code: Code, operation: Operation) -> None:
    output, start, step = operation.result, operation.required(0), operation.required(1)
    assert step.constant is not None
    places = np.arange(output.size).astype(output.dtype) * step.constant.item()
    offsets = Value("", output.dtype, output.shape, places.astype(output.dtype))
    flat = Value("", start.dtype, (1,), start.constant, start)
    code.pointwise(output, [flat, offsets], lambda at: f"{at[0]} + {at[1]}")


def _both(operation: Operation) -> list[Value]:
    return [operation.required(0), operation.required(1)]


WRITERS = {
    **dict.fromkeys(EXPRESSIONS, _write_expression),
    **dict.fromkeys(("Min", "Max", "Sum", "Mean"), _write_chain),
    "Cast": _write_cast,
    "CastLike": _write_cast,
    "Clip": _write_clip,
    "Pow": _write_power,
    "Sign": _write_sign,
    "Abs": _write_absolute,
    "Mod": _write_remainder,
    "Gelu": _write_gelu,
    "Range": _write_range,
}
