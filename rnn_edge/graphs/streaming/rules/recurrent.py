"""RNN, GRU and LSTM nodes: their final state starts the next chunk."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from rnn_edge.graphs.streaming.branches import run_where_frames
from rnn_edge.graphs.streaming.derivation import Derivation
from rnn_edge.graphs.streaming.kinds import Carried, Counted, Final, Static, Timed, difference
from rnn_edge.graphs.streaming.shifting import settle
from rnn_edge.graphs.zero_state import is_zero

_INITIAL = {"h": 5, "c": 6}


def derive_recurrent(derivation: Derivation, node: ir.Node) -> None:
    value = node.inputs[0]
    assert value is not None
    kind = derivation.kind(value)
    if not isinstance(kind, Timed):
        for output in node.outputs:
            derivation.kinds[output] = kind
        return
    direction = node.attributes.get("direction")
    if direction is not None and direction.as_string() != "forward":
        derivation.refuse(f"its direction is {direction.as_string()}")
    layout = node.attributes.get("layout")
    if kind.axis != 0 or (layout is not None and layout.as_int()):
        derivation.refuse("it does not run over time")
    for weights in node.inputs[1:4]:
        if not isinstance(derivation.kind(weights), Static):
            derivation.refuse("its weights change")
    ready, settled = settle(derivation, value, kind)
    check_final_states(derivation, node.outputs[1:], settled)
    node.replace_input_with(0, ready)
    _drop_lengths(derivation, node, kind)
    names = ("h", "c") if node.op_type == "LSTM" else ("h",)
    node.resize_inputs(max(len(node.inputs), 5 + len(names)))
    node.resize_outputs(1 + len(names))
    stem = _stem(derivation, node)
    states = [
        _carry(derivation, node, ready, name, 1 + place, stem) for place, name in enumerate(names)
    ]
    y, *finals = node.outputs
    for output in node.outputs:
        if output.name is None:
            output.name = derivation.name_for(f"{stem}.{'y' if output is y else 'state'}")
        if output.type is None:
            output.type = value.type
    derivation.kinds[y] = Timed(0, settled.clock, settled.length, settled.offset)
    for final in finals:
        derivation.kinds[final] = Final()
    dims = derivation.dims(value)
    empty = [0, 1, dims[1], node.attributes["hidden_size"].as_int()]
    run_where_frames(derivation, node, settled.clock, [empty, *states])


def check_final_states(derivation: Derivation, finals: Sequence[ir.Value], settled: Timed) -> None:
    """Refuse where the model uses a final state that is not the one after all frames so far."""
    if settled.delay != 0 and any(final.uses() or final.is_graph_output() for final in finals):
        derivation.refuse("its final state is that of another step than the last one so far")


def _drop_lengths(derivation: Derivation, node: ir.Node, kind: Timed) -> None:
    lengths = node.inputs[4] if len(node.inputs) > 4 else None
    if lengths is None:
        return
    counted = derivation.kind(lengths)
    if not isinstance(counted, Counted) or counted.single is None:
        derivation.refuse("the lengths of its rows are computed from values")
    if difference(counted.single, kind.length) != 0:
        derivation.refuse("its rows end before the sequence does")
    node.replace_input_with(4, None)


def _carry(
    derivation: Derivation, node: ir.Node, ready: ir.Value, name: str, output: int, stem: str
) -> ir.Value:
    """Start from the state of the chunk before; the value that the node starts from."""
    place = _INITIAL[name]
    initial = node.inputs[place] if place < len(node.inputs) else None
    given = derivation.kind(initial)
    if isinstance(given, Carried):
        assert initial is not None
        return initial
    if not isinstance(given, Static):
        derivation.refuse("its initial state is known only when the sequence has ended")
    dims = derivation.dims(ready)
    size = node.attributes["hidden_size"].as_int()
    assert ready.dtype is not None
    state = derivation.add_state(
        f"{stem}.{name}",
        str(ready.dtype.numpy()),
        [1, dims[1], size],
        1,
        None if is_zero(initial) else initial,
    )
    node.replace_input_with(place, state)
    own = node.outputs[output]
    own.type = ready.type
    own.name = own.name or derivation.name_for(f"{stem}.{name}_after")
    derivation.keep_state_after(node, own)
    return state


def _stem(derivation: Derivation, node: ir.Node) -> str:
    """``encoder.rnn.layer_0`` from the name of its weights."""
    weights = node.inputs[1]
    name = str(weights.name) if weights is not None else ""
    if name.endswith(".W"):
        return name[:-2]
    return (node.name or "").strip("/").replace("/", ".") or node.op_type.lower()
