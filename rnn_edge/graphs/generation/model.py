"""What a stream graph must be to generate, and what its generator takes and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from rnn_edge.contract import AxisLimits, GraphContract, StatePair, TensorSpec
from rnn_edge.errors import ExportError
from rnn_edge.graphs.generation.embedding_table import fold_embeddings
from rnn_edge.graphs.generation.form import BATCH, Form
from rnn_edge.graphs.generation.going_on import without_reset
from rnn_edge.graphs.generation.held_part import split_held
from rnn_edge.graphs.generation.language_model import as_language_model, declared
from rnn_edge.graphs.streaming.step import derive_step
from rnn_edge.graphs.streaming.stream import Stream
from rnn_edge.graphs.writing import Writer

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
BEAMS = TensorSpec(
    "beams", "int64", (), "texts in view; above 1 the likeliest of all is looked for, not drawn",
    1, 2.0**16, default=1,
)  # fmt: skip
WRITTEN = (
    TensorSpec("generated", "int64", ("batch", "new"), "the ids that follow, then the end again"),
    TensorSpec("generated_lengths", "int64", ("batch",), "ids of each row, the end included"),
    TensorSpec("log_probabilities", "float32", ("batch", "new"), "of each id before temperature"),
)
SEED_AFTER = TensorSpec("seed_n", "int64", ("batch",), "the seed that goes on from here")
BEGIN = TensorSpec("begin", "bool", ("batch",), "true for rows that begin, whatever their states")
BEGUN = TensorSpec("begin_n", "bool", ("batch",), "false: rows that go on from here have begun")
_STATE_AFTER = "state that has read all but the last id; go on from it with that id as the prompt"


class Model:
    """What a stream graph must be to generate, and how it is called.

    Inputs that have no steps stay the same while a row is written: ``beside`` is what follows from
    them alone, written once by ``hold``; the others read what it gives. ``step`` and ``alone``, the
    same for one row, go on from states that have begun.
    """

    def __init__(self, stream: Stream, form: Form) -> None:
        stream = as_language_model(stream, form)
        contract = stream.contract
        rule = contract.stream
        assert rule is not None
        if rule.latency:
            raise ExportError(
                "a model that generates must tell of the next id at once, it does so "
                f"{rule.latency} later. Take out what forward() puts before the ids, or generate "
                "in the app."
            )
        self.states = contract.states
        self.reset = None if rule.reset is None else contract.input(rule.reset)
        self.kept = form.others
        self.tokens, self.logits = contract.inputs[0], contract.outputs[0]
        self.vocabulary, self._has_rows = form.vocabulary, form.has_rows
        self.contract = contract
        self.beside: Stream | None = None
        self.stream = stream
        if self.kept:
            self.beside, self.stream = split_held(stream, {spec.name for spec in self.kept})
        begun = without_reset(self.stream)
        self.step = derive_step(begun)
        self.alone = fold_embeddings(derive_step(begun, rows=1), self.tokens.name)
        self._held: dict[str, ir.Value] = {}
        names = [spec.name for spec in self.inputs]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ExportError(
                f"inputs of a model that generates must have names of their own, {twice!r} is that "
                "of an input of generate.onnx too. Rename the parameter of forward()."
            )

    @property
    def searches(self) -> bool:
        """Whether the graph looks for the likeliest text as well: of what writes about something.

        ONNX Runtime packs the weights in memory for one Loop more.
        """
        return bool(self.kept) and self.alike

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        tokens = TensorSpec(
            self.tokens.name, "int64", ("batch", "prompt"), "ids to go on from",
            self.tokens.minimum, self.tokens.maximum,
        )  # fmt: skip
        states = [self.contract.input(pair.input) for pair in self.states]
        begin = [] if self.reset is None else [BEGIN]
        kept = [replace(spec, name=name_beside(spec)) for spec in self.kept]
        beams = [BEAMS] if self.searches else []
        return (tokens, LENGTHS, *kept, *OPTIONS, *beams, SEED, *begin, *states)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        after = [self.contract.output(pair.output) for pair in self.states]
        told = [TensorSpec(spec.name, spec.dtype, spec.dims, _STATE_AFTER) for spec in after]
        begun = [] if self.reset is None else [BEGUN]
        return (*WRITTEN, SEED_AFTER, *begun, *told)

    def describe(self) -> GraphContract:
        axes = {
            name: limits for name, limits in self.contract.axes.items()
            if name == "batch" or any(name in spec.dims for spec in self.kept)
        }  # fmt: skip
        pairs = (*self.states, StatePair(SEED.name, SEED_AFTER.name, 0))
        if self.reset is not None:
            pairs = (*pairs, StatePair(BEGIN.name, BEGUN.name, 0, initial=1.0))
        longest = self.contract.axes.get(str(self.tokens.dims[1]), AxisLimits()).maximum
        axes = {"batch": AxisLimits(), "prompt": AxisLimits(1, longest), **axes}
        return GraphContract(GENERATE_FILE, self.inputs, self.outputs, pairs, axes)

    @property
    def alike(self) -> bool:
        """Whether rows of a batch are read in one call, each with states of its own."""
        rule = self.contract.stream
        assert rule is not None
        shared = any(pair.batch_axis is None for pair in self.states)
        return self.in_rows and not rule.in_step and not shared

    @property
    def in_rows(self) -> bool:
        """Whether rows that are at the same step are read in one call."""
        specs = [self.contract.input(pair.input) for pair in self.states]
        return self._has_rows and all(
            pair.batch_axis is None or spec.dims[pair.batch_axis] == BATCH
            for pair, spec in zip(self.states, specs, strict=True)
        )

    def hold(self, writer: Writer, inputs: Mapping[str, ir.Value]) -> None:
        """Write what stays the same for all rows of ``inputs``."""
        given = {spec.name: inputs[name_beside(spec)] for spec in self.kept}
        self._held = dict(given)
        if self.beside is not None:
            read = {spec.name for spec in self.beside.contract.inputs}
            self._held |= writer.call(self.beside, {n: v for n, v in given.items() if n in read})

    def call(
        self,
        writer: Writer,
        stream: Stream,
        ids: ir.Value,
        states: Sequence[ir.Value],
        begin: ir.Value | None = None,
    ) -> tuple[ir.Value, list[ir.Value]]:
        """The logits float32[batch, steps, vocabulary] after ``ids``, and the states.

        ``begin`` bool[batch] says which rows begin; without it none does.
        """
        feed = {**self._held, self.tokens.name: ids}
        feed |= {pair.input: state for pair, state in zip(self.states, states, strict=True)}
        read = {spec.name for spec in stream.contract.inputs}
        if self.reset is not None and self.reset.name in read:
            feed[self.reset.name] = _none(writer, ids) if begin is None else begin
        outputs = writer.call(stream, {name: feed[name] for name in read})
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
                beside[shape] = writer.op("Reshape", rows, writer.constant(shape))
            found.append(writer.op("Where", beside[shape], after, before))
        return found

    def _shape_beside(self, pair: StatePair) -> tuple[int, ...]:
        """That of a flag a row which is to stand beside a state."""
        dims = self.contract.input(pair.input).dims
        return tuple(-1 if place == pair.batch_axis else 1 for place in range(len(dims)))


def name_beside(spec: TensorSpec) -> str:
    """What an input of the model that stays the same is called among those of every generator."""
    if spec.name not in {each.name for each in (LENGTHS, *OPTIONS, BEAMS, SEED, BEGIN)}:
        return spec.name
    return f"{spec.lengths_of}_{spec.name}" if spec.lengths_of else f"{spec.name}_given"


def state_variables(model: Model) -> list[ir.Value]:
    specs = [model.contract.input(pair.input) for pair in model.states]
    return [declared(spec, f"{spec.name}.before") for spec in specs]


def _none(writer: Writer, ids: ir.Value) -> ir.Value:
    """False for each row of ``ids``."""
    rows = writer.op("Shape", ids, start=0, end=1)
    return writer.op("ConstantOfShape", rows, value=ir.tensor(np.array([False])))
