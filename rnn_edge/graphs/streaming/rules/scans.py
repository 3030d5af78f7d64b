"""Scan over time: what its body carries goes from chunk to chunk."""

from __future__ import annotations

import onnx_ir as ir

from rnn_edge.graphs.streaming.branches import run_where_frames
from rnn_edge.graphs.streaming.derivation import Derivation
from rnn_edge.graphs.streaming.kinds import Carried, Counted, Final, Static, Timed, same
from rnn_edge.graphs.streaming.rules.recurrent import check_final_states
from rnn_edge.graphs.streaming.shifting import align, settle
from rnn_edge.graphs.zero_state import is_zero


def derive_scan(derivation: Derivation, node: ir.Node) -> None:
    count = node.attributes["num_scan_inputs"].as_int()
    body = node.attributes["body"].as_graph()
    carried = len(node.inputs) - count
    captured = {
        value
        for inner in body.all_nodes()
        for value in inner.inputs
        if value is not None and derivation.kinds.get(value) is not None
    }
    kinds = [derivation.kind(value) for value in node.inputs]
    for value in captured:
        if not isinstance(derivation.kind(value), Static | Carried):
            derivation.refuse("every step of it looks at the whole sequence")
    scanned = kinds[carried:]
    if not any(isinstance(kind, Timed) for kind in kinds):
        if any(isinstance(kind, Counted) for kind in kinds):
            derivation.refuse("it needs the length of the whole sequence")
        for output in node.outputs:
            derivation.kinds[output] = next(
                (k for k in kinds if not isinstance(k, Static)), Static()
            )
        return
    if any(not isinstance(kind, Static | Carried) for kind in kinds[:carried]):
        derivation.refuse("its initial state is known only when the sequence has ended")
    timed = [kind for kind in scanned if isinstance(kind, Timed)]
    if len(timed) < len(scanned):
        derivation.refuse("it runs over something that has another length than time")
    _check_directions(derivation, node, timed)
    _settle_inputs(derivation, node, carried, timed)
    settled = derivation.kind(node.inputs[carried])
    assert isinstance(settled, Timed)
    check_final_states(derivation, node.outputs[:carried], settled)
    stem = node.name or "scan"
    starts = [
        _carry(derivation, node, body, place, f"{stem}.state_{place}") for place in range(carried)
    ]
    for place, output in enumerate(node.outputs):
        if place < carried:
            derivation.kinds[output] = Final()
            continue
        axes = node.attributes.get("scan_output_axes")
        axis = axes.as_ints()[place - carried] if axes is not None else 0
        axis %= derivation.rank(output)
        derivation.kinds[output] = Timed(axis, settled.clock, settled.length, settled.offset)
    if settled.clock.may_pause:
        empties = [
            _empty(derivation, node, place, carried) for place in range(carried, len(node.outputs))
        ]
        run_where_frames(derivation, node, settled.clock, [*starts, *empties])


def _check_directions(derivation: Derivation, node: ir.Node, timed: list[Timed]) -> None:
    for name in ("scan_input_directions", "scan_output_directions"):
        given = node.attributes.get(name)
        if given is not None and any(given.as_ints()):
            derivation.refuse("it runs backwards through time")
    axes = node.attributes.get("scan_input_axes")
    places = list(axes.as_ints()) if axes is not None else [0] * len(timed)
    if any(kind.axis != axis for kind, axis in zip(timed, places, strict=True)):
        derivation.refuse("it does not run over time")
    if any(not same(kind.length, timed[0].length) or not kind.plain for kind in timed):
        derivation.refuse("it runs over sequences of different lengths")


def _settle_inputs(derivation: Derivation, node: ir.Node, carried: int, timed: list[Timed]) -> None:
    values = [value for value in node.inputs[carried:] if value is not None]
    values, timed = align(derivation, values, timed)
    for place, (value, kind) in enumerate(zip(values, timed, strict=True)):
        ready, settled = settle(derivation, value, kind)
        derivation.kinds[ready] = settled
        if node.inputs[carried + place] is not ready:
            node.replace_input_with(carried + place, ready)


def _carry(
    derivation: Derivation, node: ir.Node, body: ir.Graph, place: int, stem: str
) -> ir.Value:
    initial = node.inputs[place]
    assert initial is not None
    if isinstance(derivation.kind(initial), Carried):
        return initial
    dims = derivation.dims(initial)
    assert initial.dtype is not None
    start = None if is_zero(initial) else initial
    state = derivation.add_state(
        stem, str(initial.dtype.numpy()), dims, derivation.batch_axis(dims), start
    )
    node.replace_input_with(place, state)
    derivation.keep_state_after(node, node.outputs[place])
    return state


def _empty(
    derivation: Derivation, node: ir.Node, place: int, carried: int
) -> list[int | str | None]:
    kind = derivation.kind(node.outputs[place])
    assert isinstance(kind, Timed)
    dims = derivation.dims(node.outputs[place])
    dims[kind.axis] = 0
    return dims
