"""A graph for chunks becomes one that reads prompts and writes what follows them, in one run.

The model's own graph stands in it several times: for the part of the prompts that every row has, in
a Loop over what longer prompts have left, and in Loops that write, one of them for a row alone. The
weights stand once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from rnn_edge.graphs.cleaning import clean
from rnn_edge.graphs.generation.beams import Beams, search, widen
from rnn_edge.graphs.generation.choice import MODULUS, draw, take_likeliest
from rnn_edge.graphs.generation.form import Form, find_form
from rnn_edge.graphs.generation.invariants import hoist_invariants
from rnn_edge.graphs.generation.language_model import declared
from rnn_edge.graphs.generation.loops import (
    Begun,
    Pick,
    body,
    in_rows,
    never_mask,
    write_row,
    write_rows,
)
from rnn_edge.graphs.generation.model import (
    BEGIN,
    BEGUN,
    LENGTHS,
    SEED,
    SEED_AFTER,
    Model,
    state_variables,
)
from rnn_edge.graphs.generation.model import (
    GENERATE_FILE as GENERATE_FILE,
)
from rnn_edge.graphs.generation.row_by_row import call_rows, describe_rows
from rnn_edge.graphs.streaming.stream import Stream
from rnn_edge.graphs.writing import Weights, Writer, name_apart, variable


def derive_generator(stream: Stream, never: Sequence[int] = (), form: Form | None = None) -> Stream:
    """The graph that continues prompts with the model of ``stream``; ``stream`` stays as it is.

    ``stream`` reads an id a step and tells of the next, in ``form``, or in that which its contract
    shows. ``never`` are ids that are not to come. Raises ExportError for other models.
    """
    if form is None:
        rule = stream.contract.stream
        form = find_form(stream.contract, None if rule is None else rule.axis)
    model = Model(stream, form)
    contract = model.describe() if model.alike else describe_rows(model)
    inputs = {spec.name: declared(spec) for spec in contract.inputs}
    graph = ir.Graph(
        list(inputs.values()), [], nodes=[], opset_imports=dict(stream.model.graph.opset_imports),
        name="generate",
    )  # fmt: skip
    writer = Writer(Weights(graph))
    mask = never_mask(model, never)

    def generate(writer: Writer, inputs: Mapping[str, ir.Value]) -> dict[str, ir.Value]:
        beams = Beams.of(writer, model, inputs) if model.searches else None
        given = inputs if beams is None else beams.repeat(writer, inputs)
        model.hold(writer, given)
        logits, states = _read_prompts(writer, model, given)
        return _write_ids(writer, Pick(model, given, mask), logits, states, beams)

    alike = model.alike
    outputs = generate(writer, inputs) if alike else call_rows(writer, model, inputs, generate)
    graph.extend(writer.nodes)
    for spec in contract.outputs:
        end = ir.node("Identity", [outputs[spec.name]])
        graph.append(end)
        shown = declared(spec)
        end.outputs[0].name = spec.name
        end.outputs[0].type, end.outputs[0].shape = shown.type, shown.shape
        graph.outputs.append(end.outputs[0])
    functions = [
        ir.serde.deserialize_function(each.to_function_proto())
        for each in (draw, take_likeliest, widen)
    ]
    made = ir.Model(graph, ir_version=stream.model.ir_version, functions=functions)
    common.InlinePass()(made)
    name_apart(made)
    clean(made)
    hoist_invariants(made.graph)
    name_apart(made)
    return Stream(made, contract)


def _read_prompts(
    writer: Writer, model: Model, inputs: Mapping[str, ir.Value]
) -> tuple[ir.Value, list[ir.Value]]:
    """The logits float32[batch, vocabulary] after each row's whole prompt, and its states."""
    tokens, lengths = inputs[model.tokens.name], inputs[LENGTHS.name]
    shortest = writer.op("ReduceMin", lengths, keepdims=1)
    common_part = writer.op("Slice", tokens, writer.constant([0]), shortest, writer.constant([1]))
    states = [inputs[pair.input] for pair in model.states]
    begin = inputs.get(BEGIN.name)
    logits, states = model.call(writer, model.stream, common_part, states, begin)
    logits = writer.op("Gather", logits, writer.constant(-1), axis=1)
    if not model.alike:
        return logits, states  # of one row
    longest = writer.op("ReduceMax", lengths, keepdims=1)
    rest = writer.op("Squeeze", writer.op("Sub", longest, shortest))

    number = variable("number", ir.DataType.INT64, [])
    goes_on = variable("goes_on", ir.DataType.BOOL, [])
    carried = [variable("logits_before", ir.DataType.FLOAT, ["batch", model.vocabulary])]
    carried += state_variables(model)
    inner = Writer(writer.weights)
    place = inner.op("Add", shortest, number)
    ids = inner.op("Gather", tokens, place, axis=1)
    found, after = model.call(inner, model.step, ids, carried[1:])
    inside = inner.op("Less", place, lengths)
    found = inner.op("Squeeze", found, inner.constant([1]))
    found = inner.op("Where", inner.op("Unsqueeze", inside, inner.constant([1])), found, carried[0])
    after = model.choose_rows(inner, inside, after, carried[1:])
    again = inner.op("Identity", goes_on)
    outputs = [again, found, *after]
    turn = body(inner, [number, goes_on, *carried], outputs)
    logits, *states = writer.repeat(rest, None, [logits, *states], turn)
    return logits, list(states)


def _write_ids(
    writer: Writer,
    pick: Pick,
    logits: ir.Value,
    states: Sequence[ir.Value],
    beams: Beams | None,
) -> dict[str, ir.Value]:
    """What the graph gives, by name.

    There is a Loop for each choice between likeliest and drawn, one row and several, and one for
    beams; all stand behind one another and all but one make no turn. In the branches of an If ONNX
    Runtime would not pack the weights: it looks for them one graph further out alone.
    """
    model, inputs = pick.model, pick.inputs
    greedy = writer.op("LessOrEqual", inputs["temperature"], writer.constant(0.0, np.float32))
    rows = writer.op("Shape", inputs[model.tokens.name], start=0, end=1)
    one = writer.op("Squeeze", writer.op("Equal", rows, writer.constant([1])))
    seed = writer.op("Mod", inputs[SEED.name], writer.constant(MODULUS - 1))
    first, likelihood, random = pick.first(writer, greedy, logits, seed)
    begun = Begun(model, pick, first, writer.op("Not", writer.op("Equal", first, pick.end)))
    count = writer.op("Sub", inputs["max_new"], writer.constant(1))
    alone = count
    if beams is not None:
        alone = writer.op("Where", beams.several, writer.constant(0), count)
    written = []
    ways = ((write_row, True), (write_rows, False))
    for write, of_one in ways if model.alike else ways[:1]:
        for draws in (False, True):
            chosen = (
                (one if of_one else writer.op("Not", one)),
                (writer.op("Not", greedy) if draws else greedy),
            )
            turns = writer.op("Where", writer.op("And", *chosen), alone, writer.constant(0))
            part = write(writer, begun, turns, states, random if draws else None)
            states = part.states
            random = random if part.random is None else part.random
            written.append(part)
    generated = in_rows(writer, first, [part.ids for part in written])
    likelihoods = in_rows(writer, likelihood, [part.likelihoods for part in written])
    running = [part.running for part in written if part.running is not None]
    # A row alone has ended when its loop has.
    lengths = writer.op("Shape", generated, start=1, end=2)
    if running:
        lengths = writer.op("Where", one, lengths, _count(writer, first, running))
    if beams is not None:
        turns = writer.op("Where", beams.several, count, writer.constant(0))
        found = search(writer, pick, beams, logits, turns, states)
        generated, likelihoods, lengths = beams.choose(
            writer, found, (generated, likelihoods, lengths)
        )
        states = found.states
        random = writer.op("Gather", random, beams.firsts, axis=0)
        rows = writer.op("Shape", beams.firsts)
    finals = {pair.output: state for pair, state in zip(model.states, states, strict=True)}
    if model.reset is not None:
        no = ir.tensor(np.array([False]))
        finals[BEGUN.name] = writer.op("ConstantOfShape", rows, value=no)
    return {
        "generated": generated, "generated_lengths": lengths, "log_probabilities": likelihoods,
        SEED_AFTER.name: random, **finals,
    }  # fmt: skip


def _count(writer: Writer, first: ir.Value, running: Sequence[ir.Value]) -> ir.Value:
    ones = writer.op("ConstantOfShape", writer.op("Shape", first), value=ir.tensor(np.array([1])))
    counts = [writer.op("Cast", each, to=int(ir.DataType.INT64)) for each in running]
    return writer.op("ReduceSum", in_rows(writer, ones, counts), writer.constant([1]), keepdims=0)
