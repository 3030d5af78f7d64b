"""A graph that reads features of sound becomes one that reads samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from rnn_edge.contract import AxisLimits, GraphContract, TensorSpec
from rnn_edge.errors import ExportError
from rnn_edge.frame_counts import FrameCounts
from rnn_edge.graphs.sound_writer import SoundWriter, inside_rows
from rnn_edge.graphs.streaming.stream import Stream
from rnn_edge.graphs.writing import Weights, Writer, name_apart, variable
from rnn_edge.sound_features import NEVER, SoundFeatures

_SAMPLES, _BATCH, _TIME, _FRAMES = "samples", "batch", "sequence", "frames"
# Operators take axes as inputs from here on.
_OLDEST = 18


def put_sound_features(
    model: ir.Model,
    contract: GraphContract,
    features: SoundFeatures,
    blank: int | None = None,
    given: FrameCounts | None = None,
) -> Stream:
    """``model`` behind ``features``: samples [batch, sequence] in; it stays as it is.

    ``contract`` must take float32[batch, frames, features.width], and maybe the frames of each row,
    for which the new graph takes the samples of each; what stands behind them changes nothing.
    ``blank`` is the label of a model that gives log-probabilities [batch, frames, labels]: behind
    its end a row says that for certain. ``given`` are the frames that it gives for those of the
    features. Raises ExportError.
    """
    data, lengths = _require(contract, features)
    version = model.graph.opset_imports.get("", 0)
    if version < _OLDEST:
        raise ExportError(
            f"a model behind features must be of opset {_OLDEST} or newer, got opset {version}. "
            "Convert it with onnx.version_converter."
        )
    made = ir.Graph([], [], nodes=[], opset_imports=dict(model.graph.opset_imports), name="sound")
    writer = Writer(Weights(made))
    meaning = f"sound of one channel, -1 to 1, {features.rate} samples a second"
    inputs = [TensorSpec(_SAMPLES, "float32", (_BATCH, _TIME), meaning)]
    samples = variable(_SAMPLES, ir.DataType.FLOAT, (_BATCH, _TIME))
    feed = {}
    if lengths is not None:
        told = replace(lengths, dims=(_BATCH,), meaning="samples of each row", lengths_of=_TIME)
        kind = ir.DataType.from_numpy(np.dtype(told.dtype))
        sizes = variable(told.name, kind, (_BATCH,))
        inputs.append(told)
        made.inputs.extend([samples, sizes])
        counted = writer.op("Cast", sizes, to=int(ir.DataType.INT64))
        frames = _frames(writer, counted, features)
        feed[lengths.name] = writer.op("Cast", frames, to=int(kind))
        # As features of several sounds are padded, so that convolutions see what they have seen.
        feed[data.name] = SoundWriter(writer, features, counted, frames).write(samples)
    else:
        made.inputs.append(samples)
        feed[data.name] = SoundWriter(writer, features).write(samples)
    found = writer.call(Stream(model, contract), feed)
    if blank is not None and lengths is not None:
        first = contract.outputs[0]
        heard = _given_frames(writer, frames, given or FrameCounts())
        found[first.name] = _silent(writer, found[first.name], heard, first, blank)
    made.extend(writer.nodes)
    time = data.dims[1]
    old = {data.dims[0]: _BATCH} | ({time: _FRAMES} if isinstance(time, str) else {})
    outputs = []
    for spec in contract.outputs:
        outputs.append(replace(spec, dims=tuple(old.get(dim, dim) for dim in spec.dims)))
        found[spec.name].name = spec.name
        found[spec.name].shape = ir.Shape(list(outputs[-1].dims))
        made.outputs.append(found[spec.name])
    for name, number in model.graph.opset_imports.items():
        made.opset_imports[name] = number
    result = ir.Model(made, ir_version=model.ir_version)
    name_apart(result)
    rows = str(data.dims[0])
    axes = {_BATCH: contract.axes[rows]} if rows in contract.axes else {}
    least = contract.axes.get(str(time), AxisLimits()).minimum
    axes[_TIME] = _samples(features, time if isinstance(time, int) else max(least, 1), time)
    return Stream(
        result, replace(contract, inputs=tuple(inputs), outputs=tuple(outputs), axes=axes)
    )


def _samples(features: SoundFeatures, frames: int, time: int | str) -> AxisLimits:
    """Those of the fewest ``frames``; where a model takes no others, no more than these have."""
    least = features.shortest + (frames - 1) * features.hop
    if isinstance(time, str):
        return AxisLimits(least)
    exact = features.window - sum(features.edges) + (frames - 1) * features.hop
    return AxisLimits(max(exact, features.shortest), exact + features.hop - 1)


def _frames(writer: Writer, lengths: ir.Value, features: SoundFeatures) -> ir.Value:
    """int64[batch] frames of int64[batch] samples, 1 at least."""
    behind = writer.op("Add", lengths, writer.constant(sum(features.edges) - features.window))
    behind = writer.op("Max", behind, writer.constant(0))
    hops = writer.op("Div", behind, writer.constant(features.hop))
    return writer.op("Add", hops, writer.constant(1))


def _given_frames(writer: Writer, frames: ir.Value, given: FrameCounts) -> ir.Value:
    """int64[batch] frames of answers of int64[batch] frames of features."""
    if given == FrameCounts():
        return frames
    # A division of what is negative would be rounded up.
    more = -(min(0, 1 - given.first) // given.stride)
    behind = writer.op("Add", frames, writer.constant(more * given.stride - given.first))
    strides = writer.op("Div", behind, writer.constant(given.stride))
    return writer.op("Add", strides, writer.constant(given.frames - more))


def _silent(
    writer: Writer, value: ir.Value, frames: ir.Value, spec: TensorSpec, blank: int
) -> ir.Value:
    """``value``, and behind the ``frames`` of each row the blank for certain."""
    labels = spec.dims[-1]
    if len(spec.dims) != 3 or not isinstance(labels, int):
        raise ExportError(
            f"labels of frames must be [batch, frames, labels], the model gives {spec}. "
            "Name another decoder."
        )
    silence = np.full(labels, NEVER, np.dtype(spec.dtype))
    silence[blank] = 0
    inside = inside_rows(writer, value, frames, 2)
    silent = writer.op("Where", inside, value, writer.constant(silence, silence.dtype))
    silent.type = value.type
    return silent


def _require(
    contract: GraphContract, features: SoundFeatures
) -> tuple[TensorSpec, TensorSpec | None]:
    data, *rest = contract.inputs
    fits = (
        data.dtype == "float32"
        and len(data.dims) == 3
        and data.dims[2] == features.width
        and isinstance(data.dims[0], str)
        and len(rest) <= 1
        and all(spec.lengths_of == data.dims[1] for spec in rest)
    )
    if not fits:
        raise ExportError(
            f"a graph behind features must take float32[batch, frames, {features.width}] and maybe "
            f"the frames of each row, it takes {', '.join(map(str, contract.inputs))}. "
            "Give the features that it was trained with."
        )
    return data, (rest[0] if rest else None)
