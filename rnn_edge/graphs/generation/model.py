"""What a stream graph must be to generate, and what its generator takes and gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from rnn_edge.contract import AxisLimits, GraphContract, StatePair, TensorSpec
from rnn_edge.errors import ExportError
from rnn_edge.graphs.generation.embedding_table import fold_embeddings
from rnn_edge.graphs.streaming.step import derive_step
from rnn_edge.graphs.streaming.stream import Stream
from rnn_edge.graphs.writing import Writer, variable

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


class Model:
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


def state_variables(model: Model) -> list[ir.Value]:
    specs = [model.stream.contract.input(pair.input) for pair in model.states]
    return [declared(spec, f"{spec.name}.before") for spec in specs]


def declared(spec: TensorSpec, name: str | None = None) -> ir.Value:
    kind = ir.DataType.from_numpy(np.dtype(spec.dtype))
    return variable(name or spec.name, kind, spec.dims)
