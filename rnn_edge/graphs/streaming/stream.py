"""A graph for whole sequences becomes one for chunks, its state in and out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from rnn_edge.contract import AxisLimits, GraphContract, StatePair, StreamRule, TensorSpec
from rnn_edge.errors import StreamError
from rnn_edge.graphs.cleaning import clean
from rnn_edge.graphs.constant_fills import FoldConstantFills
from rnn_edge.graphs.reading import values_read
from rnn_edge.graphs.streaming.derivation import Derivation
from rnn_edge.graphs.streaming.fixed_length import loosen
from rnn_edge.graphs.streaming.kinds import (
    TOTALS,
    Carried,
    Clock,
    Counted,
    Static,
    Timed,
    difference,
    lags,
)
from rnn_edge.graphs.streaming.rules.table import RULES
from rnn_edge.graphs.streaming.shapes import infer_shapes
from rnn_edge.graphs.streaming.shifting import delay, settle, unfold
from rnn_edge.graphs.streaming.totals import so_far

STREAM_FILE = "stream.onnx"


@dataclass(frozen=True)
class Stream:
    model: ir.Model
    contract: GraphContract


def derive_stream(
    model: ir.Model,
    contract: GraphContract,
    axis: str | None = None,
    batch: str = "batch",
    *,
    reset: bool = False,
) -> Stream:
    """The graph of ``model`` for chunks of any length along ``axis``, the axis of time.

    With ``reset`` the graph has an input of that name that clears every state of a row; otherwise
    only where a state does not start with zeros.

    ``model`` stays as it is. Raises StreamError, naming operator, place in the module and reason,
    where an answer needs frames that have not come yet. ``axis`` is a name, or, in a graph for one
    length only, an input and a place, such as ``x.1``.
    """
    axis = axis or find_time_axis(contract, batch)
    copy = model.clone()
    # Exporters leave numbers such as the width of a padding to be computed.
    FoldConstantFills()(copy)
    clean(copy)
    # Shapes that an exporter left out are needed to follow the axis of time.
    infer_shapes(copy)
    contract, axis, length = loosen(copy, contract, axis)
    derivation = Derivation(copy, batch if _has_axis(contract, batch) else None, reset)
    derivation.fixed = length
    nodes = list(copy.graph)
    clock = _read_inputs(derivation, contract, axis)
    for node in nodes:
        if node.graph is None:
            continue  # a rule has taken it with another
        derivation.node = node
        _derive_node(derivation, node)
    latency, rates = _settle_outputs(derivation, contract, clock)
    _drop_idle_states(derivation)
    if derivation.reset is not None:
        copy.graph.inputs.append(derivation.reset)
    if length is not None:
        forget_shapes(copy)
    clean(copy)
    forget_shapes(copy)
    return Stream(copy, _describe(derivation, contract, axis, latency, rates))


def find_time_axis(contract: GraphContract, batch: str = "batch") -> str:
    """``sequence``, ``time``, or the one named axis of the inputs that is not the batch."""
    given = [spec for spec in contract.inputs if spec.name not in contract.state_inputs]
    names = dict.fromkeys(
        dim for spec in given for dim in spec.dims if isinstance(dim, str) and dim != batch
    )
    if not names:
        raise StreamError(
            "an input must have a dynamic axis of time to come in chunks, got "
            f"{', '.join(map(str, given))}. Where a fixed axis is time's, give an input and a "
            "place, such as x.1 (export --time-axis, stream --axis)."
        )
    usual: list[str] = [name for name in ("sequence", "time") if name in names]
    usual = usual or list(names)
    if "sequence" in names or len(usual) == 1:
        return usual[0]
    raise StreamError(
        f"one axis must be time's, got {', '.join(names)}. Name it (export "
        "--time-axis, stream --axis); where it is fixed give an input and a place, such as x.1."
    )


def _has_axis(contract: GraphContract, axis: str) -> bool:
    return any(axis in spec.dims for spec in contract.inputs)


def _read_inputs(derivation: Derivation, contract: GraphContract, axis: str) -> Clock:
    graph = derivation.graph
    derivation.node = graph[0]
    values = {value.name: value for value in graph.inputs}
    timed = [spec for spec in contract.inputs if axis in spec.dims]
    if not timed:
        raise StreamError(f"an input must have the axis {axis!r}, none has. Name another axis.")
    first = values[timed[0].name]
    sizes = derivation.emit("Shape", [first], like=derivation.numbers(0))
    place = derivation.numbers(timed[0].dims.index(axis))
    frames = derivation.emit("Gather", [sizes, place], {"axis": 0}, like=sizes)
    # Of what is too short for the whole graph nothing is known.
    totals = np.maximum(TOTALS, contract.axes.get(axis, AxisLimits()).minimum)
    clock = Clock(totals, frames)
    for spec in contract.inputs:
        value = values[spec.name]
        if spec.dims.count(axis) > 1:
            raise StreamError(
                f"an input must have one axis of time, {spec} has more. Give it frame by frame."
            )
        if axis in spec.dims:
            derivation.kinds[value] = Timed(spec.dims.index(axis), clock, totals)
        elif spec.lengths_of == axis:
            _fill_lengths(derivation, value, first, timed[0], clock)
        elif spec.name in contract.state_inputs:
            state = (
                _clear_declared(derivation, contract, value) if derivation.always_reset else value
            )
            derivation.kinds[state] = Carried()
        else:
            derivation.kinds[value] = Static()
    return clock


def _clear_declared(derivation: Derivation, contract: GraphContract, value: ir.Value) -> ir.Value:
    """A state that the model itself takes, cleared in the rows that start anew."""
    pair = next(pair for pair in contract.states if pair.input == value.name)
    assert value.dtype is not None
    initial = derivation.constant(np.array(pair.initial, value.dtype.numpy()))
    users = list(value.uses())
    current = derivation.cleared(value, derivation.dims(value), pair.batch_axis, initial)
    for node, place in users:
        node.replace_input_with(place, current)
    return current


def _fill_lengths(
    derivation: Derivation, value: ir.Value, first: ir.Value, spec: TensorSpec, clock: Clock
) -> None:
    """A stream has no padding: the length of every row is what has come."""
    like = derivation.numbers(0)
    sizes = derivation.emit("Shape", [first], like=like)
    assert derivation.batch is not None
    place = derivation.numbers(spec.dims.index(derivation.batch))
    rows = derivation.emit("Gather", [sizes, place], {"axis": 0}, like=like)
    lengths = derivation.emit("Expand", [clock.frames, rows], like=like)
    assert value.dtype is not None
    if value.dtype != ir.DataType.INT64:
        lengths = derivation.emit("Cast", [lengths], {"to": int(value.dtype)}, like=value)
    lengths.shape, lengths.type = value.shape, value.type
    value.replace_all_uses_with(lengths)
    derivation.graph.inputs.remove(value)
    derivation.kinds[lengths] = Counted((clock.total,))


def _derive_node(derivation: Derivation, node: ir.Node) -> None:
    used = [value for value in values_read(node) if value in derivation.kinds]
    if all(isinstance(derivation.kind(value), Static) for value in used):
        if node.op_type in ("Shape", "ConstantOfShape"):
            RULES[node.op_type](derivation, node)
            return
        for output in node.outputs:
            derivation.kinds[output] = Static()
        return
    rule = RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if rule is None:
        derivation.refuse(f"{node.op_type} has no streaming form here")
    rule(derivation, node)


def _settle_outputs(
    derivation: Derivation, contract: GraphContract, clock: Clock
) -> tuple[int, dict[str, tuple[Clock, int]]]:
    """Outputs without frames that are none; gives the latency and each output's clock."""
    latency, rates = 0, {}
    names = {spec.name for spec in contract.outputs}
    graph = derivation.graph
    for place, value in enumerate(list(graph.outputs)):
        if value.name not in names:
            continue
        kind = derivation.kind(value)
        producer = value.producer()
        derivation.node = producer or graph[-1]
        if isinstance(kind, Counted):
            _tell_length(derivation, value, place)
        if not isinstance(kind, Timed):
            continue
        name = value.name
        end = ir.node("Identity", [value])
        graph.append(end)
        derivation.node = end
        kind = unfold(derivation, kind)
        if not kind.plain or kind.context:
            derivation.node = producer or graph[-1]
            derivation.refuse(f"output {value.name} merges time with other axes")
        ready, settled = settle(derivation, value, kind)
        early = difference(settled.clock.total, settled.length)
        if early is None and lags(settled.length, settled.clock.total) is None:
            derivation.node = producer or graph[-1]
            derivation.refuse("whether its last frames so far are of it depends on what comes")
        if early is not None and early > 0:
            # The last frames so far are not of it: whether more come is not known yet.
            ready, settled = settle(derivation, *delay(derivation, ready, settled, early))
        end.replace_input_with(0, ready)
        latency = max(latency, int(np.max(settled.length - settled.clock.total)))
        value.name = derivation.name_for(f"{name}_frames")
        output = end.outputs[0]
        output.name, output.type = name, value.type
        graph.outputs[place] = output
        rates[str(name)] = (settled.clock, settled.axis)
    return latency, rates


def _tell_length(derivation: Derivation, value: ir.Value, place: int) -> None:
    """An output that is a length: that of all that has come so far."""
    graph, name = derivation.graph, value.name
    end = ir.node("Identity", [value])
    graph.append(end)
    derivation.node = end
    end.replace_input_with(0, so_far(derivation, value))
    value.name = derivation.name_for(f"{name}_chunk")
    output = end.outputs[0]
    output.name, output.type, output.shape = name, value.type, value.shape
    graph.outputs[place] = output


def _drop_idle_states(derivation: Derivation) -> None:
    """A state goes where nothing but itself reads it, and reset where no state is left for it."""
    graph = derivation.graph
    for state in list(derivation.states):
        before = next(value for value in graph.inputs if value.name == state.input)
        after = next(value for value in graph.outputs if value.name == state.output)
        if _reaches_output(graph, before, after):
            continue
        graph.outputs.remove(after)
        common.RemoveUnusedNodesPass()(ir.Model(graph, ir_version=10))
        graph.inputs.remove(before)
        derivation.states.remove(state)
    derivation.in_step = any(each.batch_axis is None for each in derivation.states)
    if derivation.reset is not None and not derivation.reset.uses():
        derivation.reset = None


def _reaches_output(graph: ir.Graph, value: ir.Value, except_for: ir.Value) -> bool:
    reached = {value}
    for node in graph:
        if not reached.isdisjoint(values_read(node)):
            reached.update(node.outputs)
    return any(output in reached and output is not except_for for output in graph.outputs)


def forget_shapes(model: ir.Model) -> None:
    """Drop the shapes that were the whole sequence's: onnxruntime would share memory by them."""
    fixed = {*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()}
    for node in model.graph.all_nodes():
        for value in node.outputs:
            if value not in fixed:
                value.shape = None


def _describe(
    derivation: Derivation,
    contract: GraphContract,
    axis: str,
    latency: int,
    rates: dict[str, tuple[Clock, int]],
) -> GraphContract:
    old = {spec.name: spec for spec in (*contract.inputs, *contract.outputs)}
    states = {state.input for state in derivation.states}
    inputs, outputs = [], []
    for value in derivation.graph.inputs:
        spec = old.get(str(value.name))
        inputs.append(spec or _spec(value, _meaning(derivation, value, states)))
    for value in derivation.graph.outputs:
        spec = old.get(str(value.name))
        if spec is None:
            outputs.append(_spec(value, "what the state is after this chunk"))
        elif spec.name in rates:
            clock, place = rates[spec.name]
            dims = list(spec.dims)
            dims[place] = axis if clock.parent is None else f"{spec.name}.frames"
            value.shape = ir.Shape(dims)
            outputs.append(TensorSpec(spec.name, spec.dtype, tuple(dims), spec.meaning))
        else:
            outputs.append(spec)
    pairs = [StatePair(state.input, state.output, state.batch_axis) for state in derivation.states]
    axes = {name: limits for name, limits in contract.axes.items() if name != axis}
    rule = StreamRule(
        axis, latency, None if derivation.reset is None else str(derivation.reset.name),
        derivation.in_step,
    )  # fmt: skip
    return GraphContract(
        STREAM_FILE, tuple(inputs), tuple(outputs), (*contract.states, *pairs),
        {**axes, axis: AxisLimits()}, rule,
    )  # fmt: skip


def _meaning(derivation: Derivation, value: ir.Value, states: Collection[str]) -> str:
    if value is derivation.reset:
        return "true for the rows that start anew with this chunk"
    return (
        "what the state was after the chunk before; zeros at the start"
        if value.name in states
        else ""
    )


def _spec(value: ir.Value, meaning: str) -> TensorSpec:
    assert value.name is not None
    assert value.dtype is not None
    assert value.shape is not None
    dims = tuple(dim if isinstance(dim, int) else str(dim.value) for dim in value.shape)
    return TensorSpec(value.name, str(value.dtype.numpy()), dims, meaning)
