"""Float64 convolutions, for which ONNX Runtime has no kernel, as one product a kernel element."""

from __future__ import annotations

from itertools import product

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from rnn_edge.graphs.double_replacement import take_the_place

_END = 2**63 - 1


class ComposeDoubleConvolutions(ir.passes.InPlacePass):
    """Write each Conv of float64 with constant weights as Pad, Slice, MatMul and Add.

    An element of the kernel sees the input from its own place on to that many before the end, in
    steps of the stride: as many frames as there are in the output, whatever the length.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph.all_nodes()):
            weight = _weight(node)
            if weight is not None:
                _replace(node, weight)
                modified = True
        return ir.passes.PassResult(model, modified)


def _weight(node: ir.Node) -> np.ndarray | None:
    if node.op_type != "Conv" or node.domain != "" or node.inputs[1] is None:
        return None
    auto_pad = node.attributes.get("auto_pad")
    if auto_pad is not None and auto_pad.as_string() not in ("", "NOTSET"):
        return None
    constant = ir.convenience.get_const_tensor(node.inputs[1])
    if constant is None or constant.dtype != ir.DataType.DOUBLE:
        return None
    return constant.numpy()


def _replace(node: ir.Node, weight: np.ndarray) -> None:
    """``weight`` is [out channels, in channels of a group, *kernel]; here, channels come last."""
    kernel = weight.shape[2:]
    rank = len(kernel)
    pads = _numbers(node, "pads", [0] * 2 * rank)
    strides, dilations = (
        _numbers(node, "strides", [1] * rank),
        _numbers(node, "dilations", [1] * rank),
    )
    groups = _numbers(node, "group", [1])[0]
    tape = Tape()
    x, bias = node.inputs[0], node.inputs[2] if len(node.inputs) > 2 else None
    assert x is not None
    x = tape.op("Transpose", [x], {"perm": [0, *range(2, rank + 2), 1]})
    if any(pads):
        amounts = [0, *pads[:rank], 0, 0, *pads[rank:], 0]
        x = tape.op("Pad", [x, _constant(tape, amounts)])
    by_place = np.moveaxis(weight, (0, 1), (-2, -1))
    found: ir.Value | None = None
    for place in product(*map(range, kernel)):
        part = _look(tape, x, place, kernel, strides, dilations)
        seen = _multiply(tape, part, by_place[place], groups)
        found = seen if found is None else tape.op("Add", [found, seen])
    assert found is not None
    if bias is not None:
        found = tape.op("Add", [found, bias])
    found = tape.op("Transpose", [found], {"perm": [0, rank + 1, *range(1, rank + 1)]})
    take_the_place(node, tape, found)


def _numbers(node: ir.Node, name: str, default: list[int]) -> list[int]:
    attribute = node.attributes.get(name)
    if attribute is None:
        return default
    return [attribute.as_int()] if name == "group" else list(attribute.as_ints())


def _constant(tape: Tape, numbers: list[int]) -> ir.Value:
    value = tape.op("Constant", [], {"value": ir.tensor(np.array(numbers, dtype=np.int64))})
    value.dtype = ir.DataType.INT64
    return value


def _look(
    tape: Tape,
    x: ir.Value,
    place: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: list[int],
    dilations: list[int],
) -> ir.Value:
    """What the kernel's element at ``place`` sees."""
    starts = [at * step for at, step in zip(place, dilations, strict=True)]
    behind = [(size - 1 - at) * step
              for size, at, step in zip(kernel, place, dilations, strict=True)]  # fmt: skip
    ends = [-count if count else _END for count in behind]
    axes = [*range(1, len(kernel) + 1)]
    return tape.op("Slice", [x, *(_constant(tape, n) for n in (starts, ends, axes, strides))])


def _multiply(tape: Tape, x: ir.Value, weight: np.ndarray, groups: int) -> ir.Value:
    """``x`` [..., in channels] by ``weight`` [out channels, in channels of a group]."""
    size = weight.shape[1]
    if groups == weight.shape[0] and size == 1:
        factor = ir.tensor(np.ascontiguousarray(weight[:, 0]))
        return tape.op("Mul", [x, tape.op("Constant", [], {"value": factor})])
    parts = []
    for number, rows in enumerate(np.split(weight, groups)):
        matrix = tape.op("Constant", [], {"value": ir.tensor(np.ascontiguousarray(rows.T))})
        ends = [[number * size], [(number + 1) * size], [-1]]
        part = x if groups == 1 else tape.op("Slice", [x, *(_constant(tape, n) for n in ends)])
        parts.append(tape.op("MatMul", [part, matrix]))
    return parts[0] if groups == 1 else tape.op("Concat", parts, {"axis": -1})
