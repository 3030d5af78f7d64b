"""A model that must see all ids at once: what a row has read is its state, and is read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import onnx_ir as ir

from rnn_edge.contract import AxisLimits, StatePair, StreamRule, TensorSpec
from rnn_edge.errors import ExportError
from rnn_edge.graphs.generation.form import BATCH, Form
from rnn_edge.graphs.generation.language_model import as_language_model, declared
from rnn_edge.graphs.streaming.stream import Stream
from rnn_edge.graphs.writing import Weights, Writer, name_apart

# Ids that a row holds at most, where the model sets no limit.
_MANY = 4096
_BEFORE, _AFTER = ("read_0", "read_count_0"), ("read_n", "read_count_n")


def reread(whole: Stream, form: Form) -> tuple[Stream, Form]:
    """A graph for chunks that reads all ids of a row each time, and its form; ``whole`` has no
    states, and reads sequences of any length in ``form``.

    Where it tells of the last step alone, or reads one row, rows are to be read one by one. A row
    that reads more than the states hold is an error of the runtime. Raises ExportError.
    """
    model = as_language_model(whole, form)
    tokens, logits = model.contract.inputs[0], model.contract.outputs[0]
    limits = model.contract.axes[form.axis]
    if limits.minimum > 1:
        raise ExportError(
            f"a model that generates must read a single id, it reads {limits.minimum} or more. "
            "Fill up what is short inside of forward()."
        )
    size = limits.maximum or _MANY
    given, told = (
        (
            TensorSpec(names[0], "int64", (BATCH, size), "ids that a row has read"),
            TensorSpec(names[1], "int64", (BATCH,), "how many ids a row has read", 0, size),
        )
        for names in (_BEFORE, _AFTER)
    )
    # Rows that have read different numbers of ids cannot share a call.
    alone = form.steps == "last" or not form.has_rows
    pairs = tuple(
        StatePair(before.name, after.name, 0) for before, after in zip(given, told, strict=True)
    )
    contract = replace(
        model.contract, inputs=(*model.contract.inputs, *given), outputs=(logits, *told),
        states=pairs, axes={**model.contract.axes, form.axis: AxisLimits(1, size)},
        stream=StreamRule(form.axis, in_step=alone),
    )  # fmt: skip
    values = {spec.name: declared(spec) for spec in contract.inputs}
    opsets = dict(whole.model.graph.opset_imports)
    graph = ir.Graph(list(values.values()), [], nodes=[], opset_imports=opsets, name="rereading")
    writer = Writer(Weights(graph))
    outputs = _read_again(writer, model, form, values)
    for spec, value in zip(contract.outputs, outputs, strict=True):
        shown, end = declared(spec), writer.op("Identity", value)
        end.name, end.type, end.shape = spec.name, shown.type, shown.shape
        graph.outputs.append(end)
    graph.extend(writer.nodes)
    made = ir.Model(graph, ir_version=whole.model.ir_version)
    name_apart(made)
    return Stream(made, contract), Form(tokens, logits, form.axis, others=form.others)


def _read_again(
    writer: Writer, model: Stream, form: Form, values: Mapping[str, ir.Value]
) -> list[ir.Value]:
    """Logits of the new ids, all ids, and how many there are."""
    tokens, logits = model.contract.inputs[0], model.contract.outputs[0]
    ids, read, count = (values[name] for name in (tokens.name, _BEFORE[0], _BEFORE[1]))
    one, zero = writer.constant([1]), writer.constant(0)
    steps = writer.op("Shape", ids, start=1, end=2)
    numbers = writer.op("Range", zero, writer.op("Squeeze", steps), writer.constant(1))
    places = writer.op("Add", writer.op("Unsqueeze", count, one), numbers)
    after = writer.op("ScatterElements", read, places, ids, axis=1)
    end = writer.op("Add", writer.op("ReduceMax", count, keepdims=1), steps)
    seen = writer.op("Slice", after, writer.constant([0]), end, one)
    feed = {spec.name: values[spec.name] for spec in form.others} | {tokens.name: seen}
    found = writer.call(model, feed)[logits.name]
    if form.steps != "last":
        found = writer.op(
            "GatherND", found, writer.op("Unsqueeze", places, writer.constant([2])), batch_dims=1
        )
    return [found, after, writer.op("Add", count, steps)]
