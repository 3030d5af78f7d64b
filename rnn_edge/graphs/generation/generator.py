"""A graph for chunks becomes one that reads prompts and writes what follows them, in one run.

The model's own graph stands in it several times: for the part of the prompts that every row has, in
a Loop over what longer prompts have left, and in Loops that write, one of them for a row alone. The
weights stand once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from rnn_edge.contract import AxisLimits, GraphContract, StatePair, TensorSpec
from rnn_edge.errors import ExportError
from rnn_edge.graphs.cleaning import clean
from rnn_edge.graphs.generation.choice import MODULUS, draw, take_likeliest
from rnn_edge.graphs.generation.embedding_table import fold_embeddings
from rnn_edge.graphs.generation.invariants import hoist_invariants
from rnn_edge.graphs.streaming.step import derive_step
from rnn_edge.graphs.streaming.stream import Stream
from rnn_edge.graphs.writing import Weights, Writer, name_apart, variable

GENERATE_FILE = "generate.onnx"
_LARGEST_ID = 2.0**31

LENGTHS = TensorSpec(
    "lengths", "int64", ("batch",), "valid ids of each prompt", None, None, "prompt"
)
OPTIONS = (
    TensorSpec("max_new", "int64", (), "ids to write at most", 1, _LARGEST_ID, default=200),
    TensorSpec("temperature", "float32", (), "0 takes the likeliest", 0, None, default=1),
    TensorSpec("top_k", "int64", (), "choose among so many likeliest; 0: all", 0, None, default=0),
    TensorSpec("top_p", "float32", (), "choose among the likeliest of this share", 0, 1, default=1),
    TensorSpec("end", "int64", (), "the id that ends a row; -1: none", -1, None, default=-1),
)
SEED = TensorSpec("seed", "int64", ("batch",), "the same seed writes the same ids", 0, None)
WRITTEN = (
    TensorSpec("generated", "int64", ("batch", "new"), "the ids that follow, then the end again"),
    TensorSpec("generated_lengths", "int64", ("batch",), "ids of each row, the end included"),
    TensorSpec("log_probabilities", "float32", ("batch", "new"), "of each id before temperature"),
)
SEED_AFTER = TensorSpec("seed_n", "int64", ("batch",), "the seed that goes on from here")
_STATE_AFTER = "state that has read all but the last id; go on from it with that id as the prompt"


def derive_generator(stream: Stream, never: Sequence[int] = ()) -> Stream:
    """The graph that continues prompts with the model of ``stream``; ``stream`` stays as it is.

    ``stream`` takes int64[batch, sequence] ids and gives float32[batch, sequence, vocabulary]
    logits first. ``never`` are ids that are not to come. Raises ExportError for other models.
    """
    model = _Model(stream)
    inputs = {spec.name: _declared(spec) for spec in model.inputs}
    graph = ir.Graph(
        list(inputs.values()), [], nodes=[], opset_imports=dict(stream.model.graph.opset_imports),
        name="generate",
    )  # fmt: skip
    weights = Weights(graph)
    writer = Writer(weights)
    mask = np.zeros(model.vocabulary, np.float32)
    mask[list(never)] = -np.inf
    logits, states = _read_prompts(writer, model, inputs)
    outputs = _write_ids(writer, model, inputs, logits, states, mask if len(never) else None)
    graph.extend(writer.nodes)
    for spec in model.outputs:
        value = outputs[spec.name]
        end = ir.node("Identity", [value])
        graph.append(end)
        end.outputs[0].name = spec.name
        end.outputs[0].type = ir.TensorType(
            ir.DataType[spec.dtype.upper().replace("FLOAT32", "FLOAT")]
        )
        end.outputs[0].shape = ir.Shape(list(spec.dims))
        graph.outputs.append(end.outputs[0])
    functions = [
        ir.serde.deserialize_function(each.to_function_proto()) for each in (draw, take_likeliest)
    ]
    made = ir.Model(graph, ir_version=stream.model.ir_version, functions=functions)
    common.InlinePass()(made)
    clean(made)
    hoist_invariants(made.graph)
    name_apart(made)
    return Stream(made, model.describe())


class _Model:
    """What a stream graph must be to generate, and how it is called."""

    def __init__(self, stream: Stream) -> None:
        contract = stream.contract
        rule = contract.stream
        assert rule is not None
        self.stream, self.step = stream, derive_step(stream)
        self.states = contract.states
        read = [
            spec for spec in contract.inputs
            if spec.name not in contract.state_inputs and spec.name != rule.reset
        ]  # fmt: skip
        self.reset = None if rule.reset is None else contract.input(rule.reset)
        logits = contract.outputs[0]
        fits = (
            len(read) == 1 and read[0].dtype == "int64" and read[0].dims == ("batch", rule.axis)
            and logits.dtype == "float32" and len(logits.dims) == 3
            and logits.dims[:2] == ("batch", rule.axis) and rule.latency == 0
        )  # fmt: skip
        if not fits or isinstance(logits.dims[2], str):
            raise ExportError(
                "a model that generates must take int64[batch, sequence] ids and give "
                f"float32[batch, sequence, vocabulary] logits at each step first, it takes "
                f"{', '.join(map(str, read))} and gives {logits}. Generate in the app."
            )
        self.tokens, self.logits = read[0], logits
        self.vocabulary = int(logits.dims[2])
        self.alone = fold_embeddings(derive_step(stream, rows=1), self.tokens.name)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        contract = self.stream.contract
        tokens = TensorSpec(
            self.tokens.name, "int64", ("batch", "prompt"), "ids to go on from",
            self.tokens.minimum, self.tokens.maximum,
        )  # fmt: skip
        states = [contract.input(pair.input) for pair in self.states]
        return (tokens, LENGTHS, *OPTIONS, SEED, *states)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        after = [self.stream.contract.output(pair.output) for pair in self.states]
        told = [TensorSpec(spec.name, spec.dtype, spec.dims, _STATE_AFTER) for spec in after]
        return (*WRITTEN, SEED_AFTER, *told)

    def describe(self) -> GraphContract:
        limits = self.stream.contract.axes.get("batch", AxisLimits())
        pairs = (*self.states, StatePair(SEED.name, SEED_AFTER.name, 0))
        axes = {"batch": limits, "prompt": AxisLimits()}
        return GraphContract(GENERATE_FILE, self.inputs, self.outputs, pairs, axes)

    def call(
        self, writer: Writer, stream: Stream, ids: ir.Value, states: Sequence[ir.Value]
    ) -> tuple[ir.Value, list[ir.Value]]:
        """The logits float32[batch, steps, vocabulary] after ``ids``, and the states."""
        feed = {self.tokens.name: ids}
        feed |= {pair.input: state for pair, state in zip(self.states, states, strict=True)}
        if self.reset is not None:
            rows = writer.op("Shape", ids, start=0, end=1)
            no = ir.tensor(np.array([False]))
            feed[self.reset.name] = (
                writer.constant([False], np.bool_)
                if stream is self.alone
                else writer.op("ConstantOfShape", rows, value=no)
            )
        outputs = writer.call(stream, feed)
        return outputs[self.logits.name], [outputs[pair.output] for pair in self.states]

    def choose_rows(
        self, writer: Writer, rows: ir.Value, new: Sequence[ir.Value], old: Sequence[ir.Value]
    ) -> list[ir.Value]:
        """States that are ``new`` in the rows where bool[batch] ``rows`` holds."""
        beside: dict[tuple[int, ...], ir.Value] = {}
        found = []
        for pair, after, before in zip(self.states, new, old, strict=True):
            shape = self._shape_beside(pair)
            if shape not in beside:
                beside[shape] = (
                    writer.op("Reshape", rows, writer.constant(shape))
                    if shape
                    else writer.op("ReduceMax", rows, keepdims=0)
                )
            found.append(writer.op("Where", beside[shape], after, before))
        return found

    def _shape_beside(self, pair: StatePair) -> tuple[int, ...]:
        """That of a flag a row which is to stand beside a state; () for a state of all rows."""
        dims = self.stream.contract.input(pair.input).dims
        if pair.batch_axis is None:
            return ()
        return tuple(-1 if place == pair.batch_axis else 1 for place in range(len(dims)))


def _read_prompts(
    writer: Writer, model: _Model, inputs: Mapping[str, ir.Value]
) -> tuple[ir.Value, list[ir.Value]]:
    """The logits float32[batch, vocabulary] after each row's whole prompt, and its states."""
    tokens, lengths = inputs[model.tokens.name], inputs[LENGTHS.name]
    shortest = writer.op("ReduceMin", lengths, keepdims=1)
    common_part = writer.op("Slice", tokens, writer.constant([0]), shortest, writer.constant([1]))
    states = [inputs[pair.input] for pair in model.states]
    logits, states = model.call(writer, model.stream, common_part, states)
    logits = writer.op("Gather", logits, writer.constant(-1), axis=1)
    longest = writer.op("ReduceMax", lengths, keepdims=1)
    rest = writer.op("Squeeze", writer.op("Sub", longest, shortest))

    number = variable("number", ir.DataType.INT64, [])
    goes_on = variable("goes_on", ir.DataType.BOOL, [])
    carried = [variable("logits_before", ir.DataType.FLOAT, ["batch", model.vocabulary])]
    carried += _state_variables(model)
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
    body = _body(inner, [number, goes_on, *carried], outputs)
    logits, *states = writer.repeat(rest, None, [logits, *states], body)
    return logits, list(states)


def _write_ids(
    writer: Writer,
    model: _Model,
    inputs: Mapping[str, ir.Value],
    logits: ir.Value,
    states: Sequence[ir.Value],
    mask: np.ndarray | None,
) -> dict[str, ir.Value]:
    """What the graph gives, by name.

    The choices between likeliest and drawn, and between one row and several, are made once, before
    the loop: there are four.
    """
    greedy = writer.op("LessOrEqual", inputs["temperature"], writer.constant(0.0, np.float32))
    rows = writer.op("Shape", inputs[model.tokens.name], start=0, end=1)
    one = writer.op("Squeeze", writer.op("Equal", rows, writer.constant([1])))
    begun = _Begun(model, inputs, logits, states, mask)

    def by(draws: bool) -> _Part:
        return lambda inner: _either(
            inner, one,
            lambda inmost: _write_row(inmost, begun, draws),
            lambda inmost: _write_rows(inmost, begun, draws),
        )  # fmt: skip

    return _either(writer, greedy, by(draws=False), by(draws=True))


_Part = Callable[[Writer], dict[str, ir.Value]]


def _either(writer: Writer, condition: ir.Value, yes: _Part, no: _Part) -> dict[str, ir.Value]:
    """An If whose branches give the same names."""
    branches, names = {}, []
    for branch, write in (("then_branch", yes), ("else_branch", no)):
        inner = Writer(writer.weights)
        found = write(inner)
        names = sorted(found)
        # A branch gives what its own nodes have made.
        ends = [inner.op("Identity", found[name]) for name in names]
        branches[branch] = ir.Graph([], ends, nodes=inner.nodes, name=branch)
    outputs = writer.ops("If", [condition], len(names), branches)
    return dict(zip(names, outputs, strict=True))


@dataclass(frozen=True)
class _Begun:
    """A model that has read its prompts: what it gave, and how to go on."""

    model: _Model
    inputs: Mapping[str, ir.Value]
    logits: ir.Value
    states: Sequence[ir.Value]
    mask: np.ndarray | None

    def pick(
        self, writer: Writer, logits: ir.Value, random: Sequence[ir.Value], draws: bool
    ) -> Sequence[ir.Value]:
        """Ids, their log-probabilities and, where ids are drawn, the numbers for the next ones."""
        if self.mask is not None:
            logits = writer.op("Add", logits, writer.constant(self.mask, np.float32))
        if not draws:
            return writer.ops("take_likeliest", [logits], 2, domain=take_likeliest.opset.domain)
        options = [self.inputs[name] for name in ("temperature", "top_k", "top_p")]
        size = writer.constant([self.model.vocabulary])
        return writer.ops("draw", [logits, size, *options, *random], 3, domain=draw.opset.domain)

    def first(self, writer: Writer, draws: bool) -> tuple[ir.Value, Sequence[ir.Value], ir.Value]:
        """The numbers to draw by, what pick() gives, and how many more ids there may be."""
        start = writer.op("Mod", self.inputs[SEED.name], writer.constant(MODULUS - 1))
        count = writer.op("Sub", self.inputs["max_new"], writer.constant(1))
        return start, self.pick(writer, self.logits, [start], draws), count

    def finals(self, values: Sequence[ir.Value]) -> dict[str, ir.Value]:
        pairs = zip(self.model.states, values, strict=True)
        return {pair.output: value for pair, value in pairs}


def _write_row(writer: Writer, begun: _Begun, draws: bool) -> dict[str, ir.Value]:
    """As ``_write_ids``, for one row: it has ended when the loop has."""
    model, end = begun.model, begun.inputs["end"]
    start, (first, likelihood, *random), count = begun.first(writer, draws)
    runs = writer.op("Squeeze", writer.op("Not", writer.op("Equal", first, end)))

    number = variable("number", ir.DataType.INT64, [])
    goes_on = variable("goes_on", ir.DataType.BOOL, [])
    token = variable("token", ir.DataType.INT64, [1])
    drawn = [variable("random", ir.DataType.INT64, [1])] if draws else []
    before = _state_variables(model)
    inner = Writer(writer.weights)
    flat = len(model.alone.contract.input(model.tokens.name).dims) == 1
    ids = token if flat else inner.op("Unsqueeze", token, inner.constant([1]))
    found, after = model.call(inner, model.alone, ids, before)
    found = inner.op("Reshape", found, inner.constant([1, -1]))
    chosen, inner_likelihood, *next_random = begun.pick(inner, found, drawn, draws)
    still = inner.op("Squeeze", inner.op("Not", inner.op("Equal", chosen, end)))
    carried = [chosen, *next_random, *after]
    outputs = [still, *carried, inner.op("Identity", chosen), inner_likelihood]
    body = _body(inner, [number, goes_on, token, *drawn, *before], outputs)
    results = writer.repeat(count, runs, [first, *random, *begun.states], body)
    generated = _in_rows(writer, first, results[-2])
    return {
        "generated": generated,
        "log_probabilities": _in_rows(writer, likelihood, results[-1]),
        "generated_lengths": writer.op("Shape", generated, start=1, end=2),
        SEED_AFTER.name: results[1] if draws else start,
    } | begun.finals(results[len(carried) - len(begun.states) : len(carried)])


def _write_rows(writer: Writer, begun: _Begun, draws: bool) -> dict[str, ir.Value]:
    """As ``_write_ids``, in one of both ways: numbers are carried only where ids are drawn."""
    model, end = begun.model, begun.inputs["end"]
    start, (first, likelihood, *random), count = begun.first(writer, draws)
    runs = writer.op("Not", writer.op("Equal", first, end))

    number = variable("number", ir.DataType.INT64, [])
    goes_on = variable("goes_on", ir.DataType.BOOL, [])
    token = variable("token", ir.DataType.INT64, ["batch"])
    drawn = [variable("random", ir.DataType.INT64, ["batch"])] if draws else []
    running = variable("running", ir.DataType.BOOL, ["batch"])
    before = _state_variables(model)
    inner = Writer(writer.weights)
    ids = inner.op("Unsqueeze", token, inner.constant([1]))
    found, after = model.call(inner, model.step, ids, before)
    found = inner.op("Squeeze", found, inner.constant([1]))
    chosen, inner_likelihood, *next_random = begun.pick(inner, found, drawn, draws)
    chosen = inner.op("Where", running, chosen, token)
    next_random = [
        inner.op("Where", running, new, old) for new, old in zip(next_random, drawn, strict=True)
    ]
    after = model.choose_rows(inner, running, after, before)
    still = inner.op("And", running, inner.op("Not", inner.op("Equal", chosen, end)))
    carried = [chosen, *next_random, still, *after]
    collected = [inner.op("Identity", chosen), inner_likelihood, inner.op("Identity", running)]
    outputs = [_any_running(inner, still), *carried, *collected]
    body = _body(inner, [number, goes_on, token, *drawn, running, *before], outputs)
    results = writer.repeat(
        count, _any_running(writer, runs), [first, *random, runs, *begun.states], body
    )
    last = len(carried)
    more, more_likely, more_running = results[last:]
    return {
        "generated": _in_rows(writer, first, more),
        "log_probabilities": _in_rows(
            writer, likelihood, _unless(writer, more_likely, more_running)
        ),
        "generated_lengths": _count(writer, first, more_running),
        SEED_AFTER.name: results[1] if draws else start,
    } | begun.finals(results[last - len(begun.states) : last])


def _any_running(writer: Writer, running: ir.Value) -> ir.Value:
    numbers = writer.op("Cast", running, to=int(ir.DataType.INT32))
    highest = writer.op("ReduceMax", numbers, keepdims=0)
    return writer.op("Cast", highest, to=int(ir.DataType.BOOL))


def _unless(writer: Writer, numbers: ir.Value, running: ir.Value) -> ir.Value:
    return writer.op("Where", running, numbers, writer.constant(0.0, np.float32))


def _in_rows(writer: Writer, first: ir.Value, more: ir.Value) -> ir.Value:
    """[batch] and the [new - 1, batch] after it as [batch, new]."""
    rows = writer.op("Shape", first)
    # A Loop that never ran leaves no batch axis to rely on.
    shape = writer.op("Concat", writer.op("Shape", more, start=0, end=1), rows, axis=0)
    more = writer.op("Reshape", more, shape, allowzero=1)
    first = writer.op("Unsqueeze", first, writer.constant([0]))
    return writer.op("Transpose", writer.op("Concat", first, more, axis=0), perm=[1, 0])


def _count(writer: Writer, first: ir.Value, running: ir.Value) -> ir.Value:
    ones = writer.op("ConstantOfShape", writer.op("Shape", first), value=ir.tensor(np.array([1])))
    numbers = _in_rows(writer, ones, writer.op("Cast", running, to=int(ir.DataType.INT64)))
    return writer.op("ReduceSum", numbers, writer.constant([1]), keepdims=0)


def _state_variables(model: _Model) -> list[ir.Value]:
    specs = [model.stream.contract.input(pair.input) for pair in model.states]
    return [_declared(spec, f"{spec.name}.before") for spec in specs]


def _declared(spec: TensorSpec, name: str | None = None) -> ir.Value:
    kind = ir.DataType.from_numpy(np.dtype(spec.dtype))
    return variable(name or spec.name, kind, spec.dims)


def _body(writer: Writer, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value]) -> ir.Graph:
    return ir.Graph(list(inputs), list(outputs), nodes=writer.nodes, name="body")
