"""A model, what comes before it and what comes after it, become one graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from rnn_edge.contract import (
    AxisLimits,
    ByteFrontEnd,
    CharacterFrontEnd,
    Contract,
    Decoder,
    FrontEnd,
    GraphContract,
    NextCharacterDecoder,
    TensorSpec,
)
from rnn_edge.errors import ExportError
from rnn_edge.graphs.pipelines.answers import ANSWERS, Found
from rnn_edge.graphs.pipelines.generation import (
    batch_limits,
    generator_inputs,
    line_start,
    text_states,
    write_generator,
)
from rnn_edge.graphs.pipelines.row_by_row import call_row_by_row
from rnn_edge.graphs.pipelines.rows import (
    Rows,
    rows_of_bytes,
    rows_of_code_points,
    rows_of_numbers,
    rows_of_texts,
    whole_rows,
)
from rnn_edge.graphs.pipelines.strings import ML, ML_OPSET, ORT, ORT_OPSET
from rnn_edge.graphs.pipelines.usual_form import OPSET, put_in_usual_form, renew
from rnn_edge.graphs.streaming.stream import Stream
from rnn_edge.graphs.writing import Weights, Writer, name_apart, variable
from rnn_edge.runtime.batches import Layout
from rnn_edge.runtime.decoders import find_chances

PIPELINE_FILE = "pipeline.onnx"
_BATCH = "batch"


def derive_pipeline(
    model: ir.Model,
    contract: Contract,
    *,
    portable: bool = False,
    generator: Stream | None = None,
) -> Stream:
    """The graph from raw input to readable answers around ``model``, which stays as it is.

    ``contract`` describes ``model`` as its graph "model", its front end and its decoder. Texts are
    strings, which ONNX Runtime's own tokenizer takes apart, or with ``portable`` int32 code points,
    for standard operators alone. Of a language model, ``generator`` is the graph that continues
    ids. Raises ExportError where one of them has no form inside a graph.
    """
    if generator is not None:
        return _derive_generator(generator, contract, portable)
    front_end, decoder = _around(contract)
    usual = put_in_usual_form(model, contract.graphs["model"])
    model, graph = usual.model, usual.contract
    layout = _require(graph, front_end).in_steps(decoder)
    made = ir.Graph([], [], nodes=[], opset_imports={"": OPSET}, name="pipeline")
    writer = Writer(Weights(made))
    flat = layout.stands_row_after_row(front_end)
    inputs = _declare_inputs(layout, front_end, portable, flat)
    values = {spec.name: _declared(spec) for spec in inputs}
    made.inputs.extend(values.values())
    limits = graph.axes.get(layout.sequence or "", AxisLimits())
    rows = _read(writer, list(values.values()), layout, front_end, max(1, limits.minimum))
    if limits.maximum is not None:
        most = writer.constant(limits.maximum)
        valid = writer.op("And", rows.valid, writer.op("LessOrEqual", rows.lengths, most))
        rows = replace(rows, valid=valid, sizes=writer.op("Min", rows.sizes, most))
    # What an app has is of any length, whether the model takes lengths or not.
    alone = flat and layout.lengths is None
    chances = find_chances(decoder, graph)
    found = _call_model(writer, Stream(model, graph), layout, rows, chances, alone)
    answers = ANSWERS[type(decoder)](writer, found, decoder)
    if found.inside is not None and layout.sequence in layout.output.dims:
        axis, meaning = str(layout.output.dims[1]), "steps of each row that has answers"
        told = TensorSpec("lengths", "int64", (_BATCH,), meaning, 0, lengths_of=axis)
        answers.append((told, writer.op("Identity", rows.lengths)))
    outputs = _outputs(writer, answers, rows, set(values))
    result = _complete(made, writer, outputs, model)
    axes = {axis: limits for axis, limits in graph.axes.items() if axis == _BATCH}
    if len(inputs) == 1 and inputs[0] is layout.data:
        axes = dict(graph.axes)
    specs = tuple(spec for spec, _ in outputs)
    return Stream(result, GraphContract(PIPELINE_FILE, tuple(inputs), specs, axes=axes))


def _derive_generator(generator: Stream, contract: Contract, portable: bool) -> Stream:
    """From prompts that are texts to what follows them, as texts."""
    front_end, decoder = contract.front_end, contract.decoder
    if not isinstance(front_end, CharacterFrontEnd | ByteFrontEnd) or not isinstance(
        decoder, NextCharacterDecoder
    ):
        raise ExportError(
            "a language model must have a vocabulary of characters, or read bytes, to take texts, "
            "it has none. Give it ids."
        )
    generator = replace(generator, model=renew(generator.model))
    made = ir.Graph([], [], nodes=[], opset_imports={"": OPSET}, name="pipeline")
    writer = Writer(Weights(made))
    inputs = generator_inputs(generator.contract, front_end, portable)
    values = {spec.name: _declared(spec) for spec in inputs}
    made.inputs.extend(values.values())
    start = line_start(front_end, decoder)
    answers, rows = write_generator(writer, generator, values, front_end, start)
    outputs = _outputs(writer, answers, rows, set(values))
    result = _complete(made, writer, outputs, generator.model)
    specs = tuple(spec for spec, _ in outputs)
    states, axes = text_states(generator.contract, front_end), batch_limits(generator.contract)
    return Stream(result, GraphContract(PIPELINE_FILE, tuple(inputs), specs, states, axes))


def _complete(
    made: ir.Graph,
    writer: Writer,
    outputs: list[tuple[TensorSpec, ir.Value]],
    original: ir.Model,
) -> ir.Model:
    made.extend(writer.nodes)
    made.outputs.extend(value for _, value in outputs)
    made.opset_imports.update(_imports(made, original))
    result = ir.Model(made, ir_version=original.ir_version)
    name_apart(result)
    return result


def _around(contract: Contract) -> tuple[FrontEnd, Decoder]:
    if isinstance(contract.decoder, NextCharacterDecoder):
        raise ExportError(
            "a pipeline of a language model holds generate.onnx, there is none. See why under "
            "'generate'."
        )
    if contract.front_end is None or type(contract.decoder) not in ANSWERS:
        missing = "front end" if contract.front_end is None else "decoder of such a kind"
        raise ExportError(
            "a pipeline needs a front end and a decoder of labels, values, tags, or text, "
            f"there is no {missing}. Name both, or call the model itself."
        )
    assert contract.decoder is not None
    return contract.front_end, contract.decoder


def _require(graph: GraphContract, front_end: FrontEnd) -> Layout:
    layout = Layout.of(graph)
    dims = layout.data.dims
    fits = len(dims) > 1
    if layout.lengths is not None:
        fixed = all(isinstance(dim, int) for dim in dims[2:])
        fits = fits and dims[1:2] == (layout.sequence,) and fixed
    elif isinstance(front_end, CharacterFrontEnd | ByteFrontEnd):
        fits = fits and dims[1:] == (layout.sequence,)
    if not fits:
        raise ExportError(
            "a pipeline needs a model that takes [batch, sequence, ...] and maybe lengths, the "
            f"sequence of any length, it takes {', '.join(map(str, graph.inputs))} and gives "
            f"{layout.output}. Name its axes, or call the model itself."
        )
    return layout


def _declare_inputs(
    layout: Layout, front_end: FrontEnd, portable: bool, flat: bool
) -> list[TensorSpec]:
    data = layout.data
    if isinstance(front_end, CharacterFrontEnd):
        if not portable:
            return [TensorSpec("text", "string", (_BATCH,), "texts, of any lengths")]
        meaning = "Unicode code points of all texts, one text after the other"
        points = TensorSpec("code_points", "int32", ("characters",), meaning)
        return [points, _sizes("characters")]
    if isinstance(front_end, ByteFrontEnd):
        meaning = "UTF-8 of all texts, one text after the other"
        return [TensorSpec("bytes", "uint8", ("bytes",), meaning), _sizes("bytes")]
    if not flat:
        return [data]
    meaning = f"{data.meaning or 'steps'}; all rows, one after the other"
    return [TensorSpec(data.name, data.dtype, ("steps", *data.dims[2:]), meaning), _sizes("steps")]


def _sizes(axis: str) -> TensorSpec:
    meaning = f"{axis} of each row; they add up to all"
    return TensorSpec("lengths", "int64", (_BATCH,), meaning, 0, splits=axis)


def _read(
    writer: Writer, values: list[ir.Value], layout: Layout, front_end: FrontEnd, least: int
) -> Rows:
    if isinstance(front_end, CharacterFrontEnd):
        if len(values) == 1:
            return rows_of_texts(writer, values[0], front_end, least, None)
        return rows_of_code_points(writer, values[0], values[1], front_end, least, None)
    if isinstance(front_end, ByteFrontEnd):
        return rows_of_bytes(writer, values[0], values[1], front_end, least, None)
    if len(values) == 1:
        return whole_rows(writer, values[0], layout.data, least)
    return rows_of_numbers(writer, values[0], values[1], layout.data, least)


def _call_model(
    writer: Writer,
    model: Stream,
    layout: Layout,
    rows: Rows,
    chances: TensorSpec | None,
    alone: bool,
) -> Found:
    counts = None
    if layout.lengths is not None:
        feed = {
            layout.data.name: _cast(writer, rows.data, layout.data, "int64"),
            layout.lengths.name: _cast(writer, rows.sizes, layout.lengths, "int64"),
        }
        outputs = writer.call(model, feed)
    elif alone:
        wanted = [layout.output, *([chances] if chances is not None else [])]
        read = call_row_by_row(writer, model, layout, rows, wanted)
        outputs, counts = read.outputs, read.counts
    else:
        outputs = writer.call(model, {layout.data.name: rows.data})
    value = outputs[layout.output.name]
    dims = layout.output.dims
    inside = None
    if layout.lengths is not None and layout.sequence in dims[1:]:
        if dims[1] != layout.sequence:
            raise ExportError(
                f"answers of a pipeline must be [batch, sequence, ...], the model gives "
                f"{layout.output}. Call the model itself."
            )
        counts = rows.lengths
    if counts is not None:
        # Not the input's: an answer a step is as wide as what the model has read.
        width = writer.op("Squeeze", writer.op("Shape", value, start=1, end=2))
        steps = writer.op("Range", writer.constant(0), width, writer.constant(1))
        ends = writer.op("Unsqueeze", counts, writer.constant([1]))
        inside = writer.op("Less", steps, ends)
    likely = None
    if chances is not None:
        likely = writer.op("Cast", outputs[chances.name], to=int(ir.DataType.FLOAT))
    return Found(layout.output, value, rows.valid, inside, likely)


def _cast(writer: Writer, value: ir.Value, spec: TensorSpec, has: str) -> ir.Value:
    """What is ``has`` where the model takes integers, as those that it takes."""
    if spec.dtype == has or not spec.dtype.startswith(("int", "uint")):
        return value
    return writer.op("Cast", value, to=int(ir.DataType.from_numpy(np.dtype(spec.dtype))))


def _outputs(
    writer: Writer, answers: list[tuple[TensorSpec, ir.Value]], rows: Rows, taken: set[str]
) -> list[tuple[TensorSpec, ir.Value]]:
    """The answers of the rows that were given, under names that no input has."""
    found = []
    for spec, value in answers:
        starts, axes = writer.constant([0]), writer.constant([spec.dims.index(_BATCH)])
        value = writer.op("Slice", value, starts, rows.given, axes)
        name = f"{spec.name}_n" if spec.name in taken else spec.name
        told = replace(spec, name=name)
        declared = _declared(told)
        value.name, value.type, value.shape = name, declared.type, declared.shape
        found.append((told, value))
    return found


def _imports(graph: ir.Graph, original: ir.Model) -> Mapping[str, int]:
    """Versions of the operators of ``graph``, the model's own where these are newer."""
    least = {"": OPSET, ML: ML_OPSET, ORT: ORT_OPSET}
    own = original.graph.opset_imports
    used = {"", *(node.domain for node in graph.all_nodes())}
    return {name: max(least.get(name, 1), own.get(name, 1)) for name in sorted(used)}


def _declared(spec: TensorSpec) -> ir.Value:
    kind = (
        ir.DataType.STRING
        if spec.dtype == "string"
        else ir.DataType.from_numpy(np.dtype(spec.dtype))
    )
    return variable(spec.name, kind, spec.dims)
