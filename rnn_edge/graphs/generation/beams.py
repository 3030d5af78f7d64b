"""Beam search: so many texts of each row are in view while writing, and the likeliest is given.

The texts of a row stand one after the other among the rows, the likeliest first.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxscript

from rnn_edge.graphs.generation.loops import Pick, body, counters
from rnn_edge.graphs.generation.model import BEAMS, Model, state_variables
from rnn_edge.graphs.writing import Writer, variable

op: Any = onnxscript.opset18

_NOBODY = onnx.numpy_helper.from_array(np.array([-1]))
_START, _STEP = (onnx.numpy_helper.from_array(np.array(number)) for number in (0, 1))
_NEVER = onnx.numpy_helper.from_array(np.array(-np.inf, np.float32))
_SURE = onnx.numpy_helper.from_array(np.array(0, np.float32))


@onnxscript.script(default_opset=onnxscript.opset18)
def widen(logits, scores, last, end, beams):
    """The likeliest texts that are one id longer.

    ``logits`` float32[rows x beams, vocabulary], -inf where an id must never come; ``scores``
    float64[rows x beams] of the texts so far, which end in ``last``; behind ``end`` nothing but the
    end comes. ``beams`` int64[1]. Gives which text each goes on from, its new id, that id's
    log-probability, and its score, the highest of a row first.
    """
    nobody, start, step = (
        op.Constant(value=_NOBODY),
        op.Constant(value=_START),
        op.Constant(value=_STEP),
    )
    never, sure = op.Constant(value=_NEVER), op.Constant(value=_SURE)
    size = op.Shape(logits, start=1, end=2)
    ids = op.Range(start, op.Squeeze(size), step)
    over = op.Unsqueeze(op.Equal(last, end), [1])
    stays = op.Where(op.Equal(ids, end), sure, never)
    likelihoods = op.Where(over, stays, op.LogSoftmax(logits, axis=-1))
    totals = op.Add(op.Unsqueeze(scores, [1]), op.Cast(likelihoods, to=11))
    wide = op.Concat(nobody, op.Mul(beams, size), axis=0)
    best, places = op.TopK(op.Reshape(totals, wide), beams, axis=-1)
    chosen = op.GatherElements(op.Reshape(likelihoods, wide), places, axis=1)
    rows = op.Shape(best, start=0, end=1)
    starts = op.Mul(op.Range(start, op.Squeeze(rows), step), beams)
    parents = op.Add(op.Div(places, size), op.Unsqueeze(starts, [1]))
    return (
        op.Reshape(parents, nobody),
        op.Reshape(op.Mod(places, size), nobody),
        op.Reshape(chosen, nobody),
        op.Reshape(best, nobody),
    )


@dataclass(frozen=True)
class Beams:
    """How many texts a row has in view."""

    model: Model
    #: int64[1]
    count: ir.Value
    #: int64[rows]: where the likeliest text of each row stands.
    firsts: ir.Value
    #: bool scalar: whether there is more than one.
    several: ir.Value

    @classmethod
    def of(cls, writer: Writer, model: Model, inputs: Mapping[str, ir.Value]) -> Beams:
        count = writer.op("Reshape", inputs[BEAMS.name], writer.constant([1]))
        rows = writer.op("Squeeze", writer.op("Shape", inputs[model.tokens.name], start=0, end=1))
        numbers = writer.op("Range", writer.constant(0), rows, writer.constant(1))
        several = writer.op("Greater", inputs[BEAMS.name], writer.constant(1))
        return cls(model, count, writer.op("Mul", numbers, count), several)

    def repeat(self, writer: Writer, inputs: Mapping[str, ir.Value]) -> dict[str, ir.Value]:
        """``inputs``, as many as are there, with each row so many times, one after the other."""
        rows = writer.op("Shape", self.firsts)
        shape = writer.op("Concat", rows, self.count, axis=0)
        numbers = writer.op("Div", self.firsts, self.count)
        wide = writer.op("Expand", writer.op("Unsqueeze", numbers, writer.constant([1])), shape)
        places = writer.op("Reshape", wide, writer.constant([-1]))
        found = dict(inputs)
        for spec in self.model.inputs:
            if "batch" in spec.dims and spec.name in inputs:
                axis = spec.dims.index("batch")
                found[spec.name] = writer.op("Gather", inputs[spec.name], places, axis=axis)
        return found

    def choose(self, writer: Writer, found: Found, plain: Sequence[ir.Value]) -> Sequence[ir.Value]:
        """Ids, log-probabilities and lengths: those ``found`` of several beams, else ``plain``."""
        branches = {}
        for branch, values in (
            ("then_branch", (found.ids, found.likelihoods, found.lengths)),
            ("else_branch", plain),
        ):
            inner = Writer(writer.weights)
            given = [inner.op("Identity", value) for value in values]
            branches[branch] = ir.Graph([], given, nodes=inner.nodes, name=branch)
        return writer.ops("If", [self.several], 3, branches)

    def start(self, writer: Writer, logits: ir.Value, end: ir.Value) -> Sequence[ir.Value]:
        """What ``widen`` gives of texts without an id: all but the first of a row are none."""
        rows = writer.op("Shape", logits, start=0, end=1)
        place = writer.op(
            "Range", writer.constant(0), writer.op("Squeeze", rows), writer.constant(1)
        )
        first = writer.op("Equal", writer.op("Mod", place, self.count), writer.constant(0))
        scores = writer.op(
            "Where", first, writer.constant(0, np.float64), writer.constant(-np.inf, np.float64)
        )
        nothing = writer.op("Sub", end, writer.constant(1))
        last = writer.op("Expand", nothing, rows)
        return self.widen(writer, logits, scores, last, end)

    def widen(
        self, writer: Writer, logits: ir.Value, scores: ir.Value, last: ir.Value, end: ir.Value
    ) -> Sequence[ir.Value]:
        return writer.ops(
            "widen", [logits, scores, last, end, self.count], 4, domain=widen.opset.domain
        )


@dataclass(frozen=True)
class Found:
    """The likeliest text of each row, [rows, steps]; states that have read all but its last id."""

    ids: ir.Value
    likelihoods: ir.Value
    lengths: ir.Value
    states: Sequence[ir.Value]


def search(
    writer: Writer,
    pick: Pick,
    beams: Beams,
    logits: ir.Value,
    turns: ir.Value,
    states: Sequence[ir.Value],
) -> Found:
    """The likeliest texts behind prompts that were read: ``logits`` float32[rows x beams, ...].

    What is likeliest can only become less likely: where it has ended, nothing overtakes it.
    """
    model = pick.model
    parents, first, chances, scores = beams.start(writer, pick.allowed(writer, logits), pick.end)
    states = _at(writer, model, states, parents)
    number, goes_on = counters()
    token = variable("token", ir.DataType.INT64, ["rows"])
    score = variable("score", ir.DataType.DOUBLE, ["rows"])
    ids = variable("ids", ir.DataType.INT64, ["rows", "steps"])
    likelihoods = variable("likelihoods", ir.DataType.FLOAT, ["rows", "steps"])
    before = state_variables(model)
    inner = Writer(writer.weights)
    one = inner.constant([1])
    found, after = model.call(inner, model.step, inner.op("Unsqueeze", token, one), before)
    # What has ended reads nothing more.
    running = inner.op("Not", inner.op("Equal", token, pick.end))
    after = model.choose_rows(inner, running, after, before)
    found = pick.allowed(inner, inner.op("Squeeze", found, one))
    origin, chosen, chance, total = beams.widen(inner, found, score, token, pick.end)
    carried = [
        inner.op(
            "Concat",
            inner.op("Gather", old, origin, axis=0),
            inner.op("Unsqueeze", new, one),
            axis=1,
        )
        for old, new in ((ids, chosen), (likelihoods, chance))
    ]
    turn = body(
        inner,
        [number, goes_on, token, score, ids, likelihoods, *before],
        [
            _goes_on(inner, beams, chosen, pick.end), inner.op("Identity", chosen), total, *carried,
            *_at(inner, model, after, origin),
        ],
    )  # fmt: skip
    starts = [writer.op("Unsqueeze", each, writer.constant([1])) for each in (first, chances)]
    results = writer.repeat(
        turns, _goes_on(writer, beams, first, pick.end), [first, scores, *starts, *states], turn
    )
    ids, likelihoods = (writer.op("Gather", each, beams.firsts, axis=0) for each in results[2:4])
    kept = _at(writer, model, results[4:], beams.firsts)
    return Found(ids, likelihoods, _lengths(writer, ids, pick.end), kept)


def _goes_on(writer: Writer, beams: Beams, chosen: ir.Value, end: ir.Value) -> ir.Value:
    """Whether the likeliest text of any row has not ended."""
    firsts = writer.op("Gather", chosen, beams.firsts, axis=0)
    open_ = writer.op("Not", writer.op("Equal", firsts, end))
    highest = writer.op(
        "ReduceMax", writer.op("Cast", open_, to=int(ir.DataType.INT32)), keepdims=0
    )
    return writer.op("Cast", highest, to=int(ir.DataType.BOOL))


def _at(
    writer: Writer, model: Model, states: Sequence[ir.Value], places: ir.Value
) -> list[ir.Value]:
    """Rows of ``states``; what all rows share stays."""
    return [
        writer.op("Identity", state)
        if pair.batch_axis is None
        else writer.op("Gather", state, places, axis=pair.batch_axis)
        for pair, state in zip(model.states, states, strict=True)
    ]


def _lengths(writer: Writer, ids: ir.Value, end: ir.Value) -> ir.Value:
    """Ids of each row, the first end included."""
    over = writer.op("Cast", writer.op("Equal", ids, end), to=int(ir.DataType.INT64))
    before = writer.op("CumSum", over, writer.constant(1), exclusive=1)
    inside = writer.op("Equal", before, writer.constant(0))
    kept = writer.op("Cast", inside, to=int(ir.DataType.INT64))
    return writer.op("ReduceSum", kept, writer.constant([1]), keepdims=0)
