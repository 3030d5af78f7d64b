"""Graphs from any exporter become what a pipeline is put around: rows first, then time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from rnn_edge.contract import GraphContract, TensorSpec
from rnn_edge.errors import ExportError, InputError
from rnn_edge.graphs.streaming.stream import Stream
from rnn_edge.graphs.writing import Weights, Writer, name_apart, variable
from rnn_edge.runtime.batches import Layout

BATCH = "batch"
# Has StringConcat.
OPSET = 20
# What a model of these versions means is the same in version 20, but for these operators.
_ALIKE = range(18, OPSET)
_CHANGED = {"DFT", "GridSample"}


def put_in_usual_form(model: ir.Model, contract: GraphContract) -> Stream:
    """``model``, which stays as it is, as a graph that takes [batch, sequence, ...].

    Its answers stand with their rows first too, states begin with what they begin with, and a
    graph for one row alone, or without an axis for rows, is called once for each. Functions of the
    file are written out, and an operator set older than 18 is converted. Raises ExportError.
    """
    model = renew(model)
    try:
        layout = Layout.of(contract)
    except InputError as error:
        raise ExportError(str(error)) from None
    if layout.batch not in (None, 1) and not isinstance(layout.batch, str):
        raise ExportError(
            f"a graph in a pipeline must take any number of rows, or one, it takes {layout.data}. "
            "Export it again with a dynamic batch."
        )
    if layout.batch not in (None, 1, BATCH) and layout.lengths is None:
        # Rows and time may stand in either order, which no comparison would tell.
        raise ExportError(
            f"the axis of rows must be known by lengths or be called {BATCH}, got {layout.data}. "
            "Say which of its axes are batch and sequence (--axis)."
        )
    order = _order(layout, layout.data)
    rows = isinstance(layout.batch, str)
    first = layout.output.dims[:1] == (layout.batch,)
    if rows and first and order == sorted(order) and not contract.states:
        return Stream(model, _named(contract, layout))
    return _wrap(model, contract, layout)


def renew(model: ir.Model) -> ir.Model:
    """A copy without functions, of an operator set that stands beside ours. Raises ExportError."""
    model = model.clone()
    if model.functions:
        common.InlinePass()(model)
        common.RemoveUnusedOpsetsPass()(model)
    version = model.graph.opset_imports.get("", 0)
    changed = {node.op_type for node in model.graph.all_nodes()} & _CHANGED
    if version >= OPSET or (version in _ALIKE and not changed):
        return model
    try:
        proto = onnx.version_converter.convert_version(ir.to_proto(model), OPSET)
    except Exception as error:  # noqa: BLE001 (the converter raises whatever it meets)
        told = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise ExportError(
            f"a model in a pipeline must be of opset {_ALIKE[0]} or newer, or be converted to "
            f"{OPSET}, got opset {version}: {told[0]:.300}. Export it again with a newer one."
        ) from None
    return ir.from_proto(proto)


def _named(contract: GraphContract, layout: Layout) -> GraphContract:
    """``contract`` with its axis of rows called "batch"."""

    def named(spec: TensorSpec) -> TensorSpec:
        return replace(spec, dims=tuple(BATCH if d == layout.batch else d for d in spec.dims))

    return replace(
        contract,
        inputs=tuple(map(named, contract.inputs)),
        outputs=tuple(map(named, contract.outputs)),
        axes={BATCH if k == layout.batch else k: v for k, v in contract.axes.items()},
    )


def _wrap(model: ir.Model, contract: GraphContract, layout: Layout) -> Stream:
    made = ir.Graph([], [], nodes=[], opset_imports=dict(model.graph.opset_imports), name="rows")
    writer = Writer(Weights(made))
    inputs = [_turned(layout.data, layout)]
    if layout.lengths is not None:
        inputs.append(replace(layout.lengths, dims=(BATCH,)))
    for spec in inputs:
        kind = ir.DataType.from_numpy(np.dtype(spec.dtype))
        made.inputs.append(variable(spec.name, kind, spec.dims))
    wanted = [s for s in contract.outputs if layout.batch is None or layout.batch in s.dims]
    if layout.output not in wanted:
        raise ExportError(
            f"answers of a pipeline must have an axis of rows, the model gives {layout.output}. "
            "Call the model itself."
        )
    caller = _Caller(Stream(model, contract), layout, wanted)
    several = isinstance(layout.batch, str)
    found = (caller.call if several else caller.repeat)(writer, list(made.inputs))
    outputs = [_turned(spec, layout) for spec in wanted]
    for spec, value in zip(outputs, found, strict=True):
        value.name, value.shape = spec.name, ir.Shape(list(spec.dims))
        value.type = ir.TensorType(ir.DataType.from_numpy(np.dtype(spec.dtype)))
        made.outputs.append(value)
    made.extend(writer.nodes)
    result = ir.Model(made, ir_version=model.ir_version)
    name_apart(result)
    axes = {BATCH if name == layout.batch else name: at for name, at in contract.axes.items()}
    return Stream(
        result,
        replace(
            contract, inputs=tuple(inputs), outputs=tuple(outputs), states=(), axes=axes,
            ragged=False,
        ),
    )  # fmt: skip


class _Caller:
    """Calls a graph on tensors in the usual order, and puts its answers into it."""

    def __init__(self, stream: Stream, layout: Layout, wanted: Sequence[TensorSpec]) -> None:
        self._stream, self._layout, self._wanted = stream, layout, wanted

    def call(self, writer: Writer, values: Sequence[ir.Value]) -> list[ir.Value]:
        """``values`` are [batch, sequence, ...] and maybe the lengths."""
        data, *lengths = values
        order = _order(self._layout, self._layout.data)
        feed = {self._layout.data.name: _transpose(writer, data, np.argsort(order).tolist())}
        if self._layout.lengths is not None:
            feed[self._layout.lengths.name] = lengths[0]
        feed.update(self._states(writer, data))
        found = writer.call(self._stream, feed)
        return [
            _transpose(writer, found[spec.name], _order(self._layout, spec))
            for spec in self._wanted
        ]

    def repeat(self, writer: Writer, values: Sequence[ir.Value]) -> list[ir.Value]:
        """As ``call``, one row after the other."""
        number = variable("row", ir.DataType.INT64, [])
        goes_on = variable("more_rows", ir.DataType.BOOL, [])
        inner = Writer(writer.weights)
        zero = inner.constant([0])
        place = inner.op("Unsqueeze", number, zero)
        data, *lengths = [inner.op("Gather", value, place, axis=0) for value in values]
        bare = self._layout.batch is None
        if bare:
            data = inner.op("Squeeze", data, zero)
        found = self.call(inner, [data, *lengths])
        found = [inner.op("Identity" if bare else "Squeeze", v, *(() if bare else (zero,)))
                 for v in found]  # fmt: skip
        body = ir.Graph(
            [number, goes_on], [inner.op("Identity", goes_on), *found], nodes=inner.nodes,
            name="call_for_a_row",
        )  # fmt: skip
        count = writer.op("Squeeze", writer.op("Shape", values[0], start=0, end=1))
        return list(writer.repeat(count, writer.constant(True, np.bool_), [], body))

    def _states(self, writer: Writer, data: ir.Value) -> Mapping[str, ir.Value]:
        found = {}
        for pair in self._stream.contract.states:
            spec = self._stream.contract.input(pair.input)
            parts = [self._size(writer, dim, spec, data) for dim in spec.dims]
            shape = writer.op("Concat", *parts, axis=0) if parts else writer.constant([])
            start = writer.constant(pair.initial, np.dtype(spec.dtype))
            found[pair.input] = writer.op("Expand", start, shape)
        return found

    def _size(self, writer: Writer, dim: int | str, spec: TensorSpec, data: ir.Value) -> ir.Value:
        if isinstance(dim, int):
            return writer.constant([dim])
        if dim != self._layout.batch:
            raise ExportError(
                f"a state must have fixed sizes beside its rows, got {spec}. Name its axes."
            )
        return writer.op("Shape", data, start=0, end=1)


def _order(layout: Layout, spec: TensorSpec) -> list[int]:
    """Where the axes of a tensor in the usual order stand in ``spec``: rows, time, the others."""
    dims = list(spec.dims)
    first = [dims.index(layout.batch)] if layout.batch in dims else []
    time = [dims.index(layout.sequence)] if layout.sequence in dims else []
    rest = [place for place in range(len(dims)) if place not in (*first, *time)]
    return [*first, *time, *rest]


def _turned(spec: TensorSpec, layout: Layout) -> TensorSpec:
    dims = [spec.dims[place] for place in _order(layout, spec)]
    return replace(spec, dims=(BATCH, *(dims if layout.batch is None else dims[1:])))


def _transpose(writer: Writer, value: ir.Value, order: list[int]) -> ir.Value:
    if order == sorted(order):
        return writer.op("Identity", value)
    return writer.op("Transpose", value, perm=order)
