"""A model that tells of the next id only once later ones come: it is asked with ids of nobody."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from rnn_edge.contract import StreamRule
from rnn_edge.graphs.generation.form import Form
from rnn_edge.graphs.generation.language_model import as_language_model, declared
from rnn_edge.graphs.streaming.stream import Stream
from rnn_edge.graphs.writing import Weights, Writer, name_apart


def probe(stream: Stream, form: Form) -> tuple[Stream, Form]:
    """A graph for chunks that tells, of the last id alone, what comes next, and its form.

    ``stream`` gives its answers late, or tells of an id once there is one more: after each chunk it
    is called once more, with ids that follow from nothing, and its states from there are forgotten.
    What of that call does not lead to the answer, ONNX Runtime is not given.
    """
    rule = stream.contract.stream
    assert rule is not None
    late = form.shift + rule.latency
    logits = replace(form.logits, dims=form.told)
    outputs = tuple(
        logits if spec.name == logits.name else spec for spec in stream.contract.outputs
    )
    prompt = StreamRule(rule.axis, 0, rule.reset, rule.in_step)
    contract = replace(stream.contract, outputs=outputs, stream=prompt)
    model = as_language_model(Stream(stream.model, contract), replace(form, logits=logits, shift=0))
    values = {spec.name: declared(spec) for spec in model.contract.inputs}
    opsets = dict(stream.model.graph.opset_imports)
    graph = ir.Graph(list(values.values()), [], nodes=[], opset_imports=opsets, name="probing")
    writer = Writer(Weights(graph))
    found = writer.call(model, values)
    tokens = model.contract.inputs[0]
    rows = writer.op("Shape", values[tokens.name], start=0, end=1)
    shape = writer.op("Concat", rows, writer.constant([late]), axis=0)
    nothing = writer.op("Expand", writer.constant(int(tokens.minimum or 0)), shape)
    after = {pair.input: found[pair.output] for pair in model.contract.states}
    feed = {**values, **after, tokens.name: nothing}
    if rule.reset is not None:
        no = ir.tensor(np.array([False]))
        feed[rule.reset] = writer.op("ConstantOfShape", rows, value=no)
    later = writer.call(model, feed)[logits.name]
    last = writer.op("Gather", later, writer.constant([-1]), axis=1)
    given = {**found, model.contract.outputs[0].name: last}
    for spec in model.contract.outputs:
        shown, end = declared(spec), writer.op("Identity", given[spec.name])
        end.name, end.type, end.shape = spec.name, shown.type, shown.shape
        graph.outputs.append(end)
    graph.extend(writer.nodes)
    made = ir.Model(graph, ir_version=stream.model.ir_version)
    name_apart(made)
    plain = Form(tokens, model.contract.outputs[0], rule.axis, others=form.others)
    return Stream(made, model.contract), plain
