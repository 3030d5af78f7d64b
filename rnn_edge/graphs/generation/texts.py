"""A graph of what a model writes about its inputs: the source in, the ids of the answer out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from rnn_edge.contract import AxisLimits, GraphContract, TensorSpec, TextDecoder
from rnn_edge.errors import ExportError
from rnn_edge.graphs.cleaning import clean
from rnn_edge.graphs.generation.beams import Beams, search, widen
from rnn_edge.graphs.generation.choice import take_likeliest
from rnn_edge.graphs.generation.form import Form
from rnn_edge.graphs.generation.invariants import hoist_invariants
from rnn_edge.graphs.generation.language_model import declared
from rnn_edge.graphs.generation.loops import Begun, Pick, in_rows, never_mask, write_rows
from rnn_edge.graphs.generation.model import BEAMS, BEGIN, Model, name_beside
from rnn_edge.graphs.streaming.stream import Stream
from rnn_edge.graphs.writing import Weights, Writer, name_apart
from rnn_edge.runtime.batches import rows_first

TEXTS_FILE = "texts.onnx"


def derive_texts(stream: Stream, decoder: TextDecoder, never: Sequence[int], form: Form) -> Stream:
    """The graph that begins with ``decoder.start`` and writes to the end, or ``decoder.steps`` ids.

    ``stream`` is of ``form``; ``never`` are ids that are not to come. The graph takes what
    ``stream`` takes beside its ids, and gives ``written`` int64[batch, steps], behind the end of a
    row the end again, and ``log_probabilities`` float32[batch, steps], 0 behind it.
    Raises ExportError for models that are not about something.
    """
    model = Model(stream, form)
    assert decoder.start is not None
    _require(model)
    if decoder.beams > 1 and not model.searches:
        raise ExportError(
            "a model whose rows are read one by one must have 1 beam, for it generate.onnx has no "
            f"search, got {decoder.beams}. Leave beams out."
        )
    graph = ir.Graph([], [], nodes=[], opset_imports=dict(stream.model.graph.opset_imports))
    writer = Writer(Weights(graph))
    inputs = tuple(map(rows_first, model.kept))
    values = [declared(spec) for spec in inputs]
    graph.inputs.extend(values)
    given = {
        spec.name: value if spec == first else writer.op("Transpose", value, perm=_order(spec))
        for spec, first, value in zip(model.kept, inputs, values, strict=True)
    }
    rows = writer.op("Shape", values[0], start=0, end=1)
    outputs = _write(writer, model, (decoder, never_mask(model, never)), rows, given)
    graph.extend(writer.nodes)
    specs = tuple(
        TensorSpec(name, kind, ("batch", decoder.steps), meaning)
        for name, kind, meaning in (
            ("written", "int64", "ids of the answer, then the end again"),
            ("log_probabilities", "float32", "of each id, 0 behind the end"),
        )
    )
    for spec, value in zip(specs, outputs, strict=True):
        value.name, value.shape = spec.name, ir.Shape(list(spec.dims))
        value.type = ir.TensorType(ir.DataType.from_numpy(np.dtype(spec.dtype)))
        graph.outputs.append(value)
    functions = [
        ir.serde.deserialize_function(each.to_function_proto()) for each in (take_likeliest, widen)
    ]
    made = ir.Model(graph, ir_version=stream.model.ir_version, functions=functions)
    common.InlinePass()(made)
    clean(made)
    hoist_invariants(made.graph)
    name_apart(made)
    named = {dim for spec in model.kept for dim in spec.dims}
    axes = {name: limits for name, limits in model.contract.axes.items() if name in named}
    limits = {"batch": AxisLimits(), **axes}
    return Stream(made, GraphContract(TEXTS_FILE, inputs, specs, axes=limits))


def _order(spec: TensorSpec) -> list[int]:
    """Where each axis of ``spec`` stands in what has its rows first."""
    place = spec.dims.index("batch")
    return [*range(1, place + 1), 0, *range(place + 1, len(spec.dims))]


def _write(
    writer: Writer,
    model: Model,
    rules: tuple[TextDecoder, np.ndarray | None],
    rows: ir.Value,
    given: Mapping[str, ir.Value],
) -> list[ir.Value]:
    decoder, mask = rules
    inputs = _begin(writer, model, decoder, rows)
    inputs |= {name_beside(spec): given[spec.name] for spec in model.kept}
    beams = Beams.of(writer, model, inputs) if decoder.beams > 1 else None
    if beams is not None:
        inputs = beams.repeat(writer, inputs)
    model.hold(writer, inputs)
    states = [inputs[pair.input] for pair in model.states]
    ids = inputs[model.tokens.name]
    logits, states = model.call(writer, model.stream, ids, states, inputs.get(BEGIN.name))
    logits = writer.op("Squeeze", logits, writer.constant([1]))
    pick = Pick(model, inputs, mask)
    turns = writer.constant(decoder.steps - 1)
    if beams is not None:
        found = search(writer, pick, beams, logits, turns, states)
        return _fill_up(writer, decoder, (found.ids, found.likelihoods))
    first, chance = pick.one_of(writer, pick.allowed(writer, logits), None)
    running = writer.op("Not", writer.op("Equal", first, pick.end))
    part = write_rows(writer, Begun(model, pick, first, running), turns, states, None)
    pairs = ((first, part.ids), (chance, part.likelihoods))
    return _fill_up(writer, decoder, [in_rows(writer, one, [more]) for one, more in pairs])


def _fill_up(writer: Writer, decoder: TextDecoder, found: Sequence[ir.Value]) -> list[ir.Value]:
    """Ids and log-probabilities of rows, all ``decoder.steps`` wide: rows may be joined then."""
    width = writer.op("Shape", found[0], start=1, end=2)
    lacks = writer.op("Sub", writer.constant([decoder.steps]), width)
    amounts = writer.op("Concat", writer.constant([0, 0, 0]), lacks, axis=0)
    fills = writer.constant(decoder.end), writer.constant(0, np.float32)
    return [writer.op("Pad", each, amounts, fill) for each, fill in zip(found, fills, strict=True)]


def _begin(
    writer: Writer, model: Model, decoder: TextDecoder, rows: ir.Value
) -> dict[str, ir.Value]:
    """What a generator is given for int64[1] ``rows`` that begin."""
    shape = writer.op("Concat", rows, writer.constant([1]), axis=0)
    found = {
        model.tokens.name: writer.op("Expand", writer.constant([[decoder.start]]), shape),
        "end": writer.constant(decoder.end),
        BEAMS.name: writer.constant(decoder.beams),
    }
    if model.reset is not None:
        yes = ir.tensor(np.array([True]))
        found[BEGIN.name] = writer.op("ConstantOfShape", rows, value=yes)
    for pair in model.states:
        spec = model.contract.input(pair.input)
        sizes = [rows if dim == "batch" else writer.constant([dim]) for dim in spec.dims]
        initial = ir.tensor(np.array([pair.initial], spec.dtype))
        whole = writer.op("Concat", *sizes, axis=0) if sizes else writer.constant([])
        found[spec.name] = writer.op("ConstantOfShape", whole, value=initial)
    return found


def _require(model: Model) -> None:
    if not model.kept or "batch" not in model.kept[0].dims:
        told = ", ".join(map(str, model.kept)) or "nothing else"
        raise ExportError(
            "a model whose texts are answers must take what they are about, in rows, beside "
            f"{model.tokens}, it takes {told}. Name next characters as its decoder."
        )
    if not model.in_rows:
        raise ExportError(
            "a model whose texts are answers must read several rows at once, each with states of "
            "its own. Give forward() an axis for rows, or name next characters as its decoder."
        )
    named = [
        (spec, dim)
        for spec in (model.contract.input(pair.input) for pair in model.states)
        for dim in spec.dims
        if isinstance(dim, str) and dim != "batch"
    ]
    if named:
        spec, dim = named[0]
        raise ExportError(
            f"states of a model whose texts are answers must begin at known sizes, {dim!r} of "
            f"{spec} is none. Name next characters as its decoder, and give the state."
        )
