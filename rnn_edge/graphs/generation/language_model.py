"""A graph for chunks, in whichever form it is: ids [batch, sequence] in, logits out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from rnn_edge.contract import AxisLimits, GraphContract, StreamRule, TensorSpec
from rnn_edge.graphs.generation.form import BATCH, Form
from rnn_edge.graphs.streaming.stream import Stream
from rnn_edge.graphs.writing import Weights, Writer, name_apart, variable


def declared(spec: TensorSpec, name: str | None = None) -> ir.Value:
    kind = ir.DataType.from_numpy(np.dtype(spec.dtype))
    return variable(name or spec.name, kind, spec.dims)


def as_language_model(stream: Stream, form: Form) -> Stream:
    """``stream``, of ``form``, with ids int64[batch, sequence] as the first input and logits
    float32[batch, sequence, vocabulary] as the first output; then come what is read once, a reset
    if there is one, and the states. Of the last step alone, there is one step of logits.

    A graph of a single step, or of rows of which there is one, takes several steps, but one row.
    """
    contract = describe_language_model(stream.contract, form)
    same = (contract.inputs, contract.outputs) == (stream.contract.inputs, stream.contract.outputs)
    if same and not form.probabilities and not form.shift:
        return stream
    values = {spec.name: declared(spec) for spec in contract.inputs}
    opsets = dict(stream.model.graph.opset_imports)
    graph = ir.Graph(
        list(values.values()), [], nodes=[], opset_imports=opsets, name="language_model"
    )
    writer = Writer(Weights(graph))
    found = (
        _step_by_step(writer, stream, form, values)
        if form.single
        else (_at_once(writer, stream, form, values))
    )
    for spec in contract.outputs:
        value = writer.op("Identity", found[spec.name])
        shown = declared(spec)
        value.name, value.type, value.shape = spec.name, shown.type, shown.shape
        graph.outputs.append(value)
    graph.extend(writer.nodes)
    model = ir.Model(graph, ir_version=stream.model.ir_version)
    name_apart(model)
    return Stream(model, contract)


def describe_language_model(contract: GraphContract, form: Form) -> GraphContract:
    """The contract of what as_language_model() makes of a graph of ``contract``."""
    rule = contract.stream or StreamRule(form.axis)
    resets = [spec for spec in contract.inputs if spec.name == rule.reset]
    states = [contract.input(pair.input) for pair in contract.states]
    least = form.tokens.minimum if form.depth is None else None
    tokens = TensorSpec(
        form.tokens.name, "int64", (BATCH, form.axis), form.tokens.meaning, least or 0, form.largest
    )
    if form.tokens.dims == tokens.dims and form.tokens.dtype == tokens.dtype:
        tokens = form.tokens
    logits = TensorSpec(
        form.logits.name, "float32", (BATCH, form.axis, form.vocabulary), form.logits.meaning
    )
    if form.logits.dims == logits.dims and form.logits.dtype == logits.dtype:
        logits = form.logits
    after = [contract.output(pair.output) for pair in contract.states]
    axes = {BATCH: AxisLimits(), form.axis: AxisLimits(), **contract.axes}
    inputs = (tokens, *form.others, *resets, *states)
    stream = StreamRule(form.axis, rule.latency, rule.reset, rule.in_step)
    return GraphContract(contract.file, inputs, (logits, *after), contract.states, axes, stream)


def _at_once(
    writer: Writer, stream: Stream, form: Form, values: Mapping[str, ir.Value]
) -> dict[str, ir.Value]:
    """The outputs of a graph of many steps, by name."""
    ids = values[form.tokens.name]
    feed = {spec.name: values[spec.name] for spec in stream.contract.inputs if spec.name in values}
    if form.shift:
        nothing = writer.constant(int(form.tokens.minimum or 0) if form.depth is None else 0)
        ids = writer.op("Pad", ids, writer.constant([0, 0, 0, form.shift]), nothing)
    rows, steps = (writer.op("Shape", ids, start=n, end=n + 1) for n in (0, 1))
    for spec in form.lengths:
        lengths = writer.op("Expand", steps, rows)
        feed[spec.name] = (
            writer.op("Cast", lengths, to=_kind(spec)) if spec.dtype != "int64" else lengths
        )
    if not form.has_rows:
        ids = writer.op("Squeeze", ids, writer.constant([0]))
    elif form.time_first:
        ids = writer.op("Transpose", ids, perm=[1, 0])
    feed[form.tokens.name] = _given(writer, ids, form)
    found = writer.call(stream, feed)
    logits = found[form.logits.name]
    if form.steps == "flat":
        sizes = (steps, rows) if form.time_first else (rows, steps)
        shape = writer.op("Concat", *sizes, writer.constant([form.vocabulary]), axis=0)
        logits = writer.op("Reshape", logits, shape)
        logits = writer.op("Transpose", logits, perm=[1, 0, 2]) if form.time_first else logits
    else:
        wanted = (BATCH, form.axis) if form.steps == "each" else (BATCH,)
        logits = _ordered(writer, logits, form, wanted)
        if form.steps == "last":
            logits = writer.op("Unsqueeze", logits, writer.constant([1]))
    if form.lead + form.shift:
        ends = writer.constant([form.lead + form.shift]), writer.constant([np.iinfo(np.int64).max])
        logits = writer.op("Slice", logits, *ends, writer.constant([1]))
    return {**found, form.logits.name: _told(writer, logits, form)}


def _step_by_step(
    writer: Writer, stream: Stream, form: Form, values: Mapping[str, ir.Value]
) -> dict[str, ir.Value]:
    """The outputs of a graph of a single step over many, by name."""
    contract = stream.contract
    given = [contract.input(pair.input) for pair in contract.states]
    before = [declared(spec, f"{spec.name}.before") for spec in given]
    ids = variable("id", ir.DataType.INT64, [BATCH])
    inner = Writer(writer.weights)
    feed = {spec.name: values[spec.name] for spec in form.others}
    feed |= {spec.name: value for spec, value in zip(given, before, strict=True)}
    feed[form.tokens.name] = _given(inner, ids, form)
    found = inner.call(stream, feed)
    logits = _told(inner, _ordered(inner, found[form.logits.name], form, (BATCH,)), form)
    after = [inner.op("Identity", found[pair.output]) for pair in contract.states]
    body = ir.Graph([*before, ids], [*after, logits], nodes=inner.nodes, name="step")
    carried = [values[spec.name] for spec in given]
    results = writer.ops(
        "Scan", [*carried, values[form.tokens.name]], len(carried) + 1,
        {"body": body, "num_scan_inputs": 1, "scan_input_axes": [1], "scan_output_axes": [1]},
    )  # fmt: skip
    names = [pair.output for pair in contract.states]
    return dict(zip([*names, form.logits.name], results, strict=True))


def _given(writer: Writer, ids: ir.Value, form: Form) -> ir.Value:
    """``ids``, in the order of the graph's named axes, as it takes them."""
    if not form.has_rows and form.single:
        ids = writer.op("Reshape", ids, writer.constant([1] * len(form.places)))
    else:
        ones = [place for place, dim in enumerate(form.places) if dim == 1]
        ids = writer.op("Unsqueeze", ids, writer.constant(ones)) if ones else ids
    dtype = np.dtype(form.tokens.dtype)
    if form.depth is not None:
        depth = writer.constant(form.depth)
        return writer.op("OneHot", ids, depth, writer.constant([0, 1], dtype), axis=-1)
    return ids if dtype == np.int64 else writer.op("Cast", ids, to=_kind(form.tokens))


def _ordered(writer: Writer, logits: ir.Value, form: Form, wanted: tuple[str, ...]) -> ir.Value:
    """``logits`` with the axes ``wanted`` and then the vocabulary."""
    dims = list(form.told)
    ones = [place for place, dim in enumerate(dims) if dim == 1]
    logits = writer.op("Squeeze", logits, writer.constant(ones)) if ones else logits
    dims = [dim for dim in dims if dim != 1]
    order = [dims.index(name) for name in wanted if name in dims]
    order.append(next(place for place, dim in enumerate(dims) if isinstance(dim, int)))
    if order != sorted(order):
        logits = writer.op("Transpose", logits, perm=order)
    lacking = [place for place, name in enumerate(wanted) if name not in dims]
    return writer.op("Unsqueeze", logits, writer.constant(lacking)) if lacking else logits


def _told(writer: Writer, logits: ir.Value, form: Form) -> ir.Value:
    """Numbers whose softmax is how likely each id comes, float32."""
    logits = writer.op("Log", logits) if form.probabilities else logits
    if form.logits.dtype == "float32":
        return logits
    return writer.op("Cast", logits, to=int(ir.DataType.FLOAT))


def _kind(spec: TensorSpec) -> int:
    return int(ir.DataType.from_numpy(np.dtype(spec.dtype)))
