"""Nodes that ONNX Runtime cannot run on no frames: run only where a chunk brings some."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from rnn_edge.graphs.streaming.derivation import Derivation
from rnn_edge.graphs.streaming.kinds import Clock


def run_where_frames(
    derivation: Derivation,
    node: ir.Node,
    clock: Clock,
    otherwise: Sequence[ir.Value | Sequence[int | str | None] | None],
) -> None:
    """Put ``node`` into the branch of an If that is taken when ``clock`` gives frames.

    ``otherwise`` has, for each output, the value that stands for it when there are none, or the
    shape of a tensor of zeros; names in a shape are read from the first input's own axes.
    """
    if not clock.may_pause:
        return
    used = [
        place
        for place, output in enumerate(node.outputs)
        if output.uses() or output.is_graph_output()
    ]
    some = derivation.emit("Greater", [clock.frames, derivation.numbers(0)])
    flat = derivation.emit("Squeeze", [some, derivation.numbers(0)], like=some)
    still = [_stand_in(derivation, node, place, otherwise[place]) for place in used]
    inner = ir.Node(
        node.domain, node.op_type, node.inputs, node.attributes.values(),
        num_outputs=len(node.outputs), name=node.name,
    )  # fmt: skip
    for own, new in zip(node.outputs, inner.outputs, strict=True):
        new.name, new.type, new.shape = derivation.name_for(f"{own.name}_some"), own.type, own.shape
    then = ir.Graph([], [inner.outputs[place] for place in used], nodes=[inner], name="frames")
    copies = [ir.node("Identity", [value]) for value in still]
    for copy, place in zip(copies, used, strict=True):
        own = node.outputs[place]
        copy.outputs[0].name = derivation.name_for(f"{own.name}_none")
        copy.outputs[0].type = own.type
    other = ir.Graph([], [copy.outputs[0] for copy in copies], nodes=copies, name="pause")
    choice = ir.Node(
        "", "If", [flat],
        [ir.AttrGraph("then_branch", then), ir.AttrGraph("else_branch", other)],
        num_outputs=len(used),
    )  # fmt: skip
    derivation.graph.insert_before(node, choice)
    for place, new in zip(used, choice.outputs, strict=True):
        own = node.outputs[place]
        new.name = derivation.name_for(f"{own.name}_if")
        derivation.replace(own, new, derivation.kind(own))
    derivation.graph.remove(node, safe=True)


def _stand_in(
    derivation: Derivation,
    node: ir.Node,
    place: int,
    given: ir.Value | Sequence[int | str | None] | None,
) -> ir.Value:
    if isinstance(given, ir.Value):
        return given
    output, source = node.outputs[place], node.inputs[0]
    assert given is not None
    assert source is not None
    dims = derivation.dims(source)
    sizes = derivation.emit("Shape", [source], like=derivation.numbers(0))
    parts = []
    for dim in given:
        if isinstance(dim, int):
            parts.append(derivation.numbers(dim))
        elif dim in dims:
            at = derivation.numbers(dims.index(dim))
            parts.append(derivation.emit("Gather", [sizes, at], {"axis": 0}, like=sizes))
        else:
            derivation.refuse(f"the size of axis {dim} of {output.name} must be known")
    assert output.dtype is not None
    zero = derivation.constant(np.zeros((), output.dtype.numpy()))
    return derivation.emit("Expand", [zero, derivation.concat(parts, 0)], like=output)
