"""What a graph gives for labels: logits, or what Softmax or Sigmoid make of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from rnn_edge.contract import GraphContract, LabelDecoder, TensorSpec
from rnn_edge.errors import ExportError
from rnn_edge.graphs.origin import find_line
from rnn_edge.graphs.streaming.stream import Stream
from rnn_edge.graphs.writing import Weights, Writer, name_apart

SOFTMAX, SIGMOID = "Softmax", "Sigmoid"
# They move numbers, and change none.
_MOVES = {
    *("Identity", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Transpose", "Cast"),
    *("Slice", "Gather", "GatherElements"),
}


def last_activation(model: ir.Model, name: str) -> ir.Node | None:
    """The node whose numbers the output ``name`` holds, if it is a Softmax or a Sigmoid."""
    value = next(value for value in model.graph.outputs if value.name == name)
    node = value.producer()
    while node is not None and node.op_type in _MOVES and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node if node is not None and node.op_type in (SOFTMAX, SIGMOID) else None


def put_logits(model: ir.Model, contract: GraphContract, decoder: LabelDecoder) -> Stream:
    """``model``, which stays as it is, with a logit for each label as its first output.

    Of probabilities their logarithms; of a single number for two labels, which speaks for the
    second, 0 and that number. Raises ExportError where there are not so many numbers.
    """
    spec = contract.outputs[0]
    activation = last_activation(model, spec.name)
    kind = activation.op_type if activation is not None else ""
    alone = is_single(spec, decoder)
    if not alone and not kind:
        return Stream(model, contract)
    if not alone and kind == SIGMOID:
        raise several_labels(spec)
    model = model.clone()
    graph = model.graph
    writer = Writer(Weights(graph))
    (value,) = [each for each in graph.outputs if each.name == spec.name]
    dtype = value.dtype
    value.name = f"{spec.name}.given"
    dims = spec.dims
    logits = value
    if alone:
        dims = (*(dims[:-1] if dims[-1] == 1 else dims), 2)
        column = value if spec.dims[-1] == 1 else writer.op("Unsqueeze", value, _last(writer))
        logits = _of_two(writer, column, spec, kind == SIGMOID)
    elif kind:
        logits = writer.op("Log", value)
    logits.name, logits.shape = spec.name, ir.Shape(list(dims))
    logits.type = ir.TensorType(dtype or ir.DataType.FLOAT)
    graph.outputs[list(graph.outputs).index(value)] = logits
    graph.extend(writer.nodes)
    name_apart(model)
    outputs = (replace(spec, dims=dims), *contract.outputs[1:])
    return Stream(model, replace(contract, outputs=outputs))


def require_logits(
    model: ir.Model, contract: GraphContract, decoder: LabelDecoder, owner: str
) -> None:
    """Raise ExportError where the first output is not a logit for each label.

    ``owner`` is the class of the module that ``model`` was made of.
    """
    spec = contract.outputs[0]
    activation = last_activation(model, spec.name)
    if is_single(spec, decoder):
        raise ExportError(
            f"two labels must have two numbers, {spec} has one. Return "
            "torch.stack((torch.zeros_like(y), y), -1) of a logit y for the second label, or name "
            "the decoder values."
        )
    if activation is None:
        return
    if activation.op_type == SIGMOID:
        raise several_labels(spec)
    line = find_line(model, str(activation.name), owner)
    raise ExportError(
        f"labels must be of logits, {spec} is of Softmax already{f': {line}' if line else ''}. "
        "Return what the softmax is given, or its logarithm: it is taken of the answers."
    )


def is_single(spec: TensorSpec, decoder: LabelDecoder) -> bool:
    """Whether a number stands for the second of two labels. Raises ExportError for a misfit."""
    names = len(decoder.labels)
    last = spec.dims[-1] if spec.dims else ""
    if last == names:
        return False
    if names == 2 and (last == 1 or isinstance(last, str)):
        return True
    raise ExportError(
        f"labels must be as many as the numbers on the last axis of {spec}, got {names} of them. "
        "Correct the labels, or name another decoder."
    )


def several_labels(spec: TensorSpec) -> ExportError:
    return ExportError(
        f"labels must be of logits or of Softmax, {spec} is of Sigmoid, where several labels may "
        "be true at once. Name the decoder values, which gives each number as it is."
    )


def _of_two(writer: Writer, column: ir.Value, spec: TensorSpec, likely: bool) -> ir.Value:
    if likely:
        one = writer.constant(1, np.dtype(spec.dtype))
        both = writer.op("Concat", writer.op("Sub", one, column), column, axis=-1)
        return writer.op("Log", both)
    nothing = writer.op("Mul", column, writer.constant(0, np.dtype(spec.dtype)))
    return writer.op("Concat", nothing, column, axis=-1)


def _last(writer: Writer) -> ir.Value:
    return writer.constant([-1])
