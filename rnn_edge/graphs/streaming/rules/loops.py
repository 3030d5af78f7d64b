"""Loop over time, frames read at the iteration's number: the same as a Scan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from rnn_edge.graphs.streaming.derivation import Derivation
from rnn_edge.graphs.streaming.kinds import Counted, Timed, same
from rnn_edge.graphs.streaming.rules.layout import derive_transpose
from rnn_edge.graphs.streaming.rules.scans import derive_scan


@dataclass(frozen=True)
class _Collected:
    """What a Loop puts into a list, frame by frame, to be joined along ``axis`` at the end."""

    element: ir.Value
    join: ir.Node
    axis: int


def derive_loop(derivation: Derivation, node: ir.Node) -> None:
    body = node.attributes["body"].as_graph()
    number = derivation.kind(node.inputs[0])
    if not isinstance(number, Counted) or number.single is None:
        derivation.refuse("how often it runs does not follow the sequence")
    if not _runs_on(derivation, node, body):
        derivation.refuse("a condition ends it")
    frames = _read_frames(derivation, body, number)
    if not frames:
        derivation.refuse("it reads no frame at the number of its iteration")
    if body.inputs[0].uses():
        derivation.refuse("it computes with the number of its iteration")
    states, lists = _sort_states(derivation, node, body)
    elements = [each.element for each in lists]
    carried = len(node.inputs) - 2
    scanned = list(body.outputs[1 + carried :])
    after = [body.outputs[1 + place] for place in states]
    before = [body.inputs[2 + place] for place in states]
    body.inputs[:] = [*before, *frames.values()]
    body.outputs[:] = [*after, *scanned, *elements]
    _drop_unused(body)
    for value in body.inputs:
        value.shape = None
    scan = ir.Node(
        "", "Scan",
        [*(node.inputs[2 + place] for place in states), *(source for source, _ in frames)],
        [ir.AttrGraph("body", body), ir.AttrInt64("num_scan_inputs", len(frames)),
         ir.AttrInt64s("scan_input_axes", [axis for _, axis in frames])],
        num_outputs=len(body.outputs), name=node.name,
    )  # fmt: skip
    olds = [*(node.outputs[place] for place in states), *node.outputs[carried:]]
    for new, old in zip(scan.outputs, olds, strict=False):
        new.name, new.type = derivation.name_for(f"{old.name}_scan"), old.type
        new.shape = old.shape
    for new, each in zip(scan.outputs[len(olds) :], lists, strict=True):
        _describe(derivation, new, each)
    derivation.insert(scan)
    derive_scan(derivation, scan)
    for new, old in zip(list(scan.outputs), olds, strict=False):
        derivation.replace(old, new, derivation.kind(new))
    for new, each in zip(list(scan.outputs)[len(olds) :], lists, strict=True):
        _join(derivation, new, each)
    derivation.graph.remove(node, safe=True)


def _runs_on(derivation: Derivation, node: ir.Node, body: ir.Graph) -> bool:
    """Whether the condition stays true."""

    def holds(value: ir.Value | None) -> bool:
        if value is None or value is body.inputs[1]:
            return True
        array = derivation.array(value)
        if array is not None:
            return bool(array.all())
        producer = value.producer()
        return (
            producer is not None
            and producer.op_type in ("Identity", "Cast")
            and holds(producer.inputs[0])
        )

    return holds(node.inputs[1]) and holds(body.outputs[0])


def _read_frames(
    derivation: Derivation, body: ir.Graph, number: Counted
) -> dict[tuple[ir.Value, int], ir.Value]:
    """Inputs of the body for the frames that it gathers, by tensor and axis."""
    found: dict[tuple[ir.Value, int], ir.Value] = {}
    for inner in list(body):
        if inner.op_type != "Gather" or inner.inputs[1] is not body.inputs[0]:
            continue
        source = _outer(derivation, inner.inputs[0])
        kind = derivation.kind(source)
        if source is None or not isinstance(kind, Timed):
            continue
        axis = inner.attributes["axis"].as_int() if "axis" in inner.attributes else 0
        if axis % derivation.rank(source) != kind.axis or not kind.plain:
            derivation.refuse("it does not run over time")
        assert number.single is not None
        if not same(kind.length, number.single):
            derivation.refuse("it does not run over all frames")
        if (source, kind.axis) not in found:
            found[source, kind.axis] = ir.val(
                derivation.name_for(f"{source.name}.frame"), source.dtype
            )
        inner.outputs[0].replace_all_uses_with(found[source, kind.axis], replace_graph_outputs=True)
        body.remove(inner, safe=True)
    return found


def _outer(derivation: Derivation, value: ir.Value | None) -> ir.Value | None:
    """The tensor outside the body that ``value`` is, whole."""
    while value is not None and value not in derivation.kinds:
        producer = value.producer()
        if producer is None or producer.op_type not in ("Identity", "Slice"):
            return None
        if producer.op_type == "Slice":
            numbers = [
                derivation.array(each) for each in (*producer.inputs[1:3], *producer.inputs[4:])
            ]
            if any(each is None for each in numbers):
                return None
            start, end, *step = (int(each.ravel()[0]) for each in numbers if each is not None)
            if start != 0 or end < np.iinfo(np.int32).max or step not in ([], [1]):
                return None
        value = producer.inputs[0]
    return value


def _sort_states(
    derivation: Derivation, node: ir.Node, body: ir.Graph
) -> tuple[list[int], list[_Collected]]:
    """The places of the states that are tensors, and the lists among them."""
    states, lists = [], []
    for place, initial in enumerate(node.inputs[2:]):
        producer = None if initial is None else initial.producer()
        if producer is None or producer.op_type != "SequenceEmpty":
            states.append(place)
            continue
        own, result = body.inputs[2 + place], body.outputs[1 + place]
        insert = result.producer()
        users = [user for user, _ in node.outputs[place].uses()]
        if (
            insert is None
            or insert.op_type != "SequenceInsert"
            or len(insert.inputs) != 2
            or insert.inputs[0] is not own
            or len(own.uses()) != 1
            or len(users) != 1
            or users[0].op_type != "ConcatFromSequence"
            or not users[0].attributes.get_int("new_axis", 0)
        ):
            derivation.refuse("it does more with a list than append to it and stack it")
        element = insert.inputs[1]
        assert element is not None
        lists.append(_Collected(element, users[0], users[0].attributes["axis"].as_int()))
    return states, lists


def _describe(derivation: Derivation, value: ir.Value, each: _Collected) -> None:
    joined = each.join.outputs[0]
    dims = derivation.dims(joined)
    axis = each.axis % len(dims)
    value.name, value.type = derivation.name_for(f"{joined.name}_scan"), joined.type
    value.shape = ir.Shape([dims[axis], *dims[:axis], *dims[axis + 1 :]])


def _join(derivation: Derivation, value: ir.Value, each: _Collected) -> None:
    joined = each.join.outputs[0]
    rank = derivation.rank(joined)
    order = list(range(1, rank))
    order.insert(each.axis % rank, 0)
    moved = derivation.emit("Transpose", [value], {"perm": order}, like=joined)
    moved.shape = joined.shape
    producer = moved.producer()
    assert producer is not None
    derive_transpose(derivation, producer)
    derivation.replace(joined, moved, derivation.kind(moved))
    derivation.graph.remove(each.join, safe=True)


def _drop_unused(body: ir.Graph) -> None:
    kept = set(body.outputs)
    for inner in reversed(list(body)):
        if not any(output.uses() or output in kept for output in inner.outputs):
            body.remove(inner, safe=True)
