"""The Loops that write ids after prompts that have been read: for one row, and for several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from rnn_edge.graphs.generation.choice import draw, take_likeliest
from rnn_edge.graphs.generation.flat_logits import flat_logits
from rnn_edge.graphs.generation.model import Model, state_variables
from rnn_edge.graphs.writing import Writer, variable

# Logits of every turn are kept up to so many.
_FEW_LOGITS = 1024


@dataclass(frozen=True)
class Pick:
    """How an id is chosen from logits."""

    model: Model
    inputs: Mapping[str, ir.Value]
    mask: np.ndarray | None

    @property
    def end(self) -> ir.Value:
        return self.inputs["end"]

    def allowed(self, writer: Writer, logits: ir.Value) -> ir.Value:
        """``logits`` without what is not to come."""
        if self.mask is None:
            return logits
        return writer.op("Add", logits, writer.constant(self.mask, np.float32))

    def going_on(self, writer: Writer) -> ir.Value:
        """Whether a row goes on behind each id."""
        size = writer.constant(self.model.vocabulary)
        ids = writer.op("Range", writer.constant(0), size, writer.constant(1))
        return writer.op("Not", writer.op("Equal", ids, self.end))

    def one_of(
        self, writer: Writer, logits: ir.Value, random: ir.Value | None
    ) -> Sequence[ir.Value]:
        """Ids, their log-probabilities and, where ids are drawn, the numbers for the next ones."""
        if random is None:
            return writer.ops("take_likeliest", [logits], 2, domain=take_likeliest.opset.domain)
        options = [self.inputs[name] for name in ("temperature", "top_k", "top_p")]
        size = writer.constant([self.model.vocabulary])
        return writer.ops("draw", [logits, size, *options, random], 3, domain=draw.opset.domain)

    def first(
        self, writer: Writer, greedy: ir.Value, logits: ir.Value, random: ir.Value
    ) -> Sequence[ir.Value]:
        """The first ids, their log-probabilities, and the numbers for the next ones."""
        logits = self.allowed(writer, logits)
        branches = {}
        for branch, given in (("then_branch", None), ("else_branch", random)):
            inner = Writer(writer.weights)
            found = list(self.one_of(inner, logits, given))
            # A branch gives what its own nodes have made.
            found += [inner.op("Identity", random)] if given is None else []
            branches[branch] = ir.Graph([], found, nodes=inner.nodes, name=branch)
        return writer.ops("If", [greedy], 3, branches)


@dataclass(frozen=True)
class Begun:
    """Prompts that have been read: ``first``, the ids behind them, and which rows go on."""

    model: Model
    pick: Pick
    first: ir.Value
    running: ir.Value


@dataclass(frozen=True)
class Written:
    """What one Loop has written: [turns, batch], or more axes of one; states and numbers after it.

    ``running`` are the rows that had not ended before, where there are several.
    """

    ids: ir.Value
    likelihoods: ir.Value
    states: Sequence[ir.Value]
    random: ir.Value | None
    running: ir.Value | None = None


def write_row(
    writer: Writer,
    begun: Begun,
    turns: ir.Value,
    states: Sequence[ir.Value],
    random: ir.Value | None,
) -> Written:
    """The ids of one row. The likeliest are read again from the logits behind the loop, all at
    once, where those are few: nodes of a body cost at every turn."""
    model, pick = begun.model, begun.pick
    number, goes_on = counters()
    token = variable("token", ir.DataType.INT64, [1])
    drawn = None if random is None else variable("random", ir.DataType.INT64, [1])
    before = state_variables(model)
    inner = Writer(writer.weights)
    flat = len(model.alone.contract.input(model.tokens.name).dims) == 1
    ids = token if flat else inner.op("Unsqueeze", token, inner.constant([1]))
    found, after = model.call(inner, model.alone, ids, before)
    found = pick.allowed(inner, flat_logits(inner, found))
    later = random is None and model.vocabulary <= _FEW_LOGITS
    if later:
        chosen, told = inner.op("ArgMax", found, axis=-1, keepdims=0), [found]
        others: list[ir.Value] = []
    else:
        chosen, likelihood, *others = pick.one_of(inner, found, drawn)
        told = [inner.op("Identity", chosen), likelihood]
    still = inner.op("Squeeze", inner.op("Gather", pick.going_on(writer), chosen))
    given = [] if drawn is None else [drawn]
    turn = body(
        inner, [number, goes_on, token, *given, *before], [still, chosen, *others, *after, *told]
    )
    numbers = [] if random is None else [random]
    results = writer.repeat(
        turns, any_running(writer, begun.running), [begun.first, *numbers, *states], turn
    )
    start, end = 1 + len(numbers), 1 + len(numbers) + len(states)
    last = results[1] if numbers else None
    if later:
        # Their rows and those of a Loop that never ran are told apart by the axes that are written.
        logits = writer.op("Reshape", results[end], writer.constant([-1, model.vocabulary]))
        more = writer.ops("take_likeliest", [logits], 2, domain=take_likeliest.opset.domain)
    else:
        more = results[end:]
    return Written(more[0], more[1], results[start:end], last)


def write_rows(
    writer: Writer,
    begun: Begun,
    turns: ir.Value,
    states: Sequence[ir.Value],
    random: ir.Value | None,
) -> Written:
    """The ids of several rows; one that has ended goes on with its last."""
    model, pick = begun.model, begun.pick
    number, goes_on = counters()
    token = variable("token", ir.DataType.INT64, ["batch"])
    given = [] if random is None else [variable("random", ir.DataType.INT64, ["batch"])]
    running = variable("running", ir.DataType.BOOL, ["batch"])
    before = state_variables(model)
    inner = Writer(writer.weights)
    ids = inner.op("Unsqueeze", token, inner.constant([1]))
    found, after = model.call(inner, model.step, ids, before)
    found = pick.allowed(inner, inner.op("Squeeze", found, inner.constant([1])))
    chosen, likelihood, *others = pick.one_of(inner, found, given[0] if given else None)
    chosen = inner.op("Where", running, chosen, token)
    others = [inner.op("Where", running, new, old) for new, old in zip(others, given, strict=True)]
    after = model.choose_rows(inner, running, after, before)
    still = inner.op("And", running, inner.op("Not", inner.op("Equal", chosen, pick.end)))
    told = [inner.op("Identity", chosen), likelihood, inner.op("Identity", running)]
    turn = body(
        inner,
        [number, goes_on, token, *given, running, *before],
        [any_running(inner, still), chosen, *others, still, *after, *told],
    )
    numbers = [] if random is None else [random]
    results = writer.repeat(
        turns,
        any_running(writer, begun.running),
        [begun.first, *numbers, begun.running, *states],
        turn,
    )
    start, end = 2 + len(numbers), 2 + len(numbers) + len(states)
    more, likely, ran = results[end:]
    last = results[1] if numbers else None
    return Written(more, unless(writer, likely, ran), results[start:end], last, ran)


def in_rows(writer: Writer, first: ir.Value, more: Sequence[ir.Value]) -> ir.Value:
    """[batch] and the [turns, batch] after it, of which all but one have no turns, in rows."""
    # A Loop that never ran leaves no batch axis to rely on.
    flat = [writer.op("Reshape", each, writer.constant([-1])) for each in more]
    shape = writer.op("Concat", writer.constant([-1]), writer.op("Shape", first), axis=0)
    rest = writer.op("Reshape", writer.op("Concat", *flat, axis=0), shape)
    first = writer.op("Unsqueeze", first, writer.constant([0]))
    return writer.op("Transpose", writer.op("Concat", first, rest, axis=0), perm=[1, 0])


def never_mask(model: Model, never: Sequence[int]) -> np.ndarray | None:
    """What is added to logits so that ids never come."""
    if not len(never):
        return None
    mask = np.zeros(model.vocabulary, np.float32)
    mask[list(never)] = -np.inf
    return mask


def any_running(writer: Writer, running: ir.Value) -> ir.Value:
    numbers = writer.op("Cast", running, to=int(ir.DataType.INT32))
    highest = writer.op("ReduceMax", numbers, keepdims=0)
    return writer.op("Cast", highest, to=int(ir.DataType.BOOL))


def unless(writer: Writer, numbers: ir.Value, running: ir.Value) -> ir.Value:
    return writer.op("Where", running, numbers, writer.constant(0.0, np.float32))


def body(writer: Writer, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value]) -> ir.Graph:
    return ir.Graph(list(inputs), list(outputs), nodes=writer.nodes, name="body")


def counters() -> tuple[ir.Value, ir.Value]:
    return variable("number", ir.DataType.INT64, []), variable("goes_on", ir.DataType.BOOL, [])
