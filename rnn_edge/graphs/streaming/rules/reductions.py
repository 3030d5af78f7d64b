"""Operators over whole axes: sums, maxima, softmax, normalisation, products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from rnn_edge.graphs.streaming.branches import run_where_frames
from rnn_edge.graphs.streaming.derivation import Derivation
from rnn_edge.graphs.streaming.kinds import (
    EVERY_PAIR,
    TO_EVERY_STEP,
    Counted,
    Final,
    Static,
    Timed,
    same,
)
from rnn_edge.graphs.streaming.leads import lead_after
from rnn_edge.graphs.streaming.rules.counting import count
from rnn_edge.graphs.streaming.rules.pointwise import combine_still
from rnn_edge.graphs.streaming.rules.whole import derive_total
from rnn_edge.graphs.streaming.shifting import align, settle

# Stand for the axes that an Einsum's dots mean.
_DIGITS = "0123456789"


def derive_reduction(derivation: Derivation, node: ir.Node) -> None:
    """Reduce*, ArgMax, ArgMin."""
    value, (output,) = node.inputs[0], node.outputs
    assert value is not None
    kind = derivation.kind(value)
    if isinstance(kind, Counted):
        if node.op_type not in ("ReduceMax", "ReduceMin") or kind.single is None:
            derivation.refuse("it needs the length of the whole sequence")
        derivation.kinds[output] = Counted((kind.single,))
        return
    if not isinstance(kind, Timed):
        derivation.kinds[output] = kind
        return
    rank = derivation.rank(value)
    axes = _reduced(derivation, node, rank)
    keeps = node.attributes["keepdims"].as_int() if "keepdims" in node.attributes else 1
    if kind.axis in axes:
        if node.op_type == "ReduceSum" and kind.truth and kind.delay == 0 and kind.plain:
            derivation.kinds[output] = Counted((kind.length,))
            return
        derive_total(derivation, node, kind)
        return
    axis = kind.axis - (0 if keeps else sum(a < kind.axis for a in axes))
    after = _after(derivation, node, kind, axis)
    derivation.kinds[output] = after
    if kind.clock.may_pause:
        # Of no elements onnxruntime gives another number of axes.
        empty = [0 if n == axis else dim for n, dim in enumerate(derivation.dims(output))]
        run_where_frames(derivation, node, kind.clock, [empty])


def _reduced(derivation: Derivation, node: ir.Node, rank: int) -> set[int]:
    if node.op_type in ("ArgMax", "ArgMin"):
        return {(node.attributes["axis"].as_int() if "axis" in node.attributes else 0) % rank}
    if "axes" in node.attributes:
        given = list(node.attributes["axes"].as_ints())
    else:
        array = derivation.array(node.inputs[1]) if len(node.inputs) > 1 else None
        if array is None and len(node.inputs) > 1 and node.inputs[1] is not None:
            derivation.refuse("the axes that it looks at must be known")
        given = [] if array is None else [int(axis) for axis in array.ravel()]
    return {axis % rank for axis in given} or set(range(rank))


def _after(
    derivation: Derivation, node: ir.Node, kind: Timed, axis: int, output: ir.Value | None = None
) -> Timed:
    """The kind of an output that looks at each frame of ``kind`` alone."""
    lead = lead_after(derivation, node, output or node.outputs[0])
    return replace(kind, axis=axis, lead=lead, first=None, truth=None)


def derive_along_axis(derivation: Derivation, node: ir.Node) -> None:
    """Softmax and what else looks along one axis and keeps it."""
    value = node.inputs[0]
    assert value is not None
    kind = derivation.kind(value)
    if isinstance(kind, Counted):
        if node.op_type != "TopK" or kind.single is None:
            derivation.refuse("it needs the length of the whole sequence")
        # All are alike, so that they stay in their order.
        derivation.kinds[node.outputs[0]] = Counted((kind.single,))
        derivation.kinds[node.outputs[1]] = Static()
        return
    if isinstance(kind, Timed):
        rank = derivation.rank(value)
        default = {"LpNormalization": -1, "TopK": -1}.get(node.op_type, -1)
        axis = node.attributes["axis"].as_int() if "axis" in node.attributes else default
        if axis % rank == kind.axis:
            derivation.refuse("it looks at the whole sequence")
        for output in node.outputs:
            derivation.kinds[output] = _after(derivation, node, kind, kind.axis, output)
        return
    for output in node.outputs:
        derivation.kinds[output] = kind


def derive_normalization(derivation: Derivation, node: ir.Node) -> None:
    """LayerNormalization, BatchNormalization, InstanceNormalization, GroupNormalization."""
    value = node.inputs[0]
    assert value is not None
    kind = derivation.kind(value)
    if isinstance(kind, Timed):
        rank = derivation.rank(value)
        if node.op_type in ("LayerNormalization", "RMSNormalization"):
            axis = node.attributes["axis"].as_int() if "axis" in node.attributes else -1
            whole = kind.axis >= axis % rank
        elif node.op_type == "BatchNormalization":
            whole = kind.axis == 1
        else:
            whole = kind.axis >= 1
        if whole:
            derivation.refuse("it looks at the whole sequence")
        for output in node.outputs:
            derivation.kinds[output] = _after(derivation, node, kind, kind.axis, output)
        return
    for output in node.outputs:
        derivation.kinds[output] = kind


def derive_matmul(derivation: Derivation, node: ir.Node) -> None:
    (output,) = node.outputs
    kinds = [derivation.kind(value) for value in node.inputs]
    left, right = node.inputs[:2]
    assert left is not None
    assert right is not None
    timed = [kind for kind in kinds if isinstance(kind, Timed)]
    if not timed:
        derivation.kinds[output] = combine_still(kinds)
        return
    ranks, rank = (derivation.rank(left), derivation.rank(right)), derivation.rank(output)
    axes = []
    for place, (kind, own) in enumerate(zip(kinds, ranks, strict=True)):
        if not isinstance(kind, Timed):
            if isinstance(kind, Final):
                derivation.refuse(TO_EVERY_STEP)
            continue
        contracted = own - 1 if place == 0 else max(own - 2, 0)
        if kind.axis == contracted:
            derivation.refuse("it looks at the whole sequence")
        axes.append(kind.axis + rank - own if min(ranks) > 1 else kind.axis)
    if len(set(axes)) > 1:
        derivation.refuse(EVERY_PAIR)
    kind = _aligned(derivation, node, kinds)
    derivation.kinds[output] = _after(derivation, node, kind, axes[0])


def _aligned(derivation: Derivation, node: ir.Node, kinds: Sequence[object]) -> Timed:
    places = [n for n, kind in enumerate(kinds) if isinstance(kind, Timed)]
    timed = [kind for kind in kinds if isinstance(kind, Timed)]
    if any(not same(kind.length, timed[0].length) for kind in timed):
        derivation.refuse("it joins sequences of different lengths")
    values = [value for value in (node.inputs[n] for n in places) if value is not None]
    values, timed = align(derivation, values, timed)
    for place, value, kind in zip(places, values, timed, strict=True):
        derivation.kinds[value] = kind
        node.replace_input_with(place, value)
    return timed[0]


def derive_gemm(derivation: Derivation, node: ir.Node) -> None:
    (output,) = node.outputs
    kinds = [derivation.kind(value) for value in node.inputs]
    if not any(isinstance(kind, Timed) for kind in kinds):
        derivation.kinds[output] = combine_still(kinds)
        return
    first = kinds[0]
    flipped = "transA" in node.attributes and node.attributes["transA"].as_int()
    if not isinstance(first, Timed) or any(isinstance(kind, Timed) for kind in kinds[1:]):
        derivation.refuse("it looks at the whole sequence")
    if first.axis != (1 if flipped else 0):
        derivation.refuse("it looks at the whole sequence")
    if any(isinstance(kind, Final) for kind in kinds):
        derivation.refuse(TO_EVERY_STEP)
    derivation.kinds[output] = _after(derivation, node, first, 0)


def derive_einsum(derivation: Derivation, node: ir.Node) -> None:
    (output,) = node.outputs
    kinds = [derivation.kind(value) for value in node.inputs]
    if not any(isinstance(kind, Timed) for kind in kinds):
        derivation.kinds[output] = combine_still(kinds)
        return
    terms, result = _spelt_out(derivation, node)
    names = {
        term[kind.axis] for term, kind in zip(terms, kinds, strict=True) if isinstance(kind, Timed)
    }
    if len(names) > 1:
        derivation.refuse(EVERY_PAIR)
    (name,) = names
    if name not in result:
        derivation.refuse("it looks at the whole sequence")
    if any(isinstance(kind, Final) for kind in kinds):
        derivation.refuse(TO_EVERY_STEP)
    kind = _aligned(derivation, node, kinds)
    derivation.kinds[output] = _after(derivation, node, kind, result.index(name))


def _spelt_out(derivation: Derivation, node: ir.Node) -> tuple[list[str], str]:
    """The terms of an Einsum and its result, a letter for every axis: dots get digits."""
    equation = node.attributes["equation"].as_string().replace(" ", "")
    left, arrow, result = equation.partition("->")
    terms = left.split(",")
    widths = [
        derivation.rank(value) - len(term.replace("...", "")) if "..." in term else 0
        for term, value in zip(terms, node.inputs, strict=True)
        if value is not None
    ]
    if max(widths) > len(_DIGITS):
        derivation.refuse("its equation must name every axis")
    if not arrow:
        letters = left.replace("...", "").replace(",", "")
        once = sorted(letter for letter in set(letters) if letters.count(letter) == 1)
        result = "..." + "".join(once)
    # Axes that dots stand for are aligned from the right.
    spelt = [
        term.replace("...", _DIGITS[len(_DIGITS) - width :])
        for term, width in zip(terms, widths, strict=True)
    ]
    return spelt, result.replace("...", _DIGITS[len(_DIGITS) - max(widths) :])


def derive_cumulative_sum(derivation: Derivation, node: ir.Node) -> None:
    """A running sum: what it has come to goes from chunk to chunk."""
    value, (output,) = node.inputs[0], node.outputs
    assert value is not None
    kind = derivation.kind(value)
    array = derivation.array(node.inputs[1])
    if not isinstance(kind, Timed):
        if isinstance(kind, Counted) and not count(derivation, node):
            derivation.refuse("it needs the length of the whole sequence")
        derivation.kinds.setdefault(output, kind)
        return
    if array is None:
        derivation.refuse("the axis that it sums along must be known")
    if int(array.item()) % derivation.rank(value) != kind.axis or not kind.plain:
        derivation.kinds[output] = replace(kind, first=None, truth=None)
        return
    flag = {name: node.attributes[name].as_int() for name in ("reverse", "exclusive")
            if name in node.attributes}  # fmt: skip
    if flag.get("reverse"):
        derivation.refuse("it sums backwards through time")
    ready, settled = settle(derivation, value, kind)
    node.replace_input_with(0, ready)
    dims = [1 if n == kind.axis else dim for n, dim in enumerate(derivation.dims(value))]
    assert value.dtype is not None
    state = derivation.add_state(
        f"{output.name}.sum", str(value.dtype.numpy()), dims, derivation.batch_axis(dims), None
    )
    added = derivation.emit(
        "ReduceSum", [ready, derivation.numbers(kind.axis)], {"keepdims": 1}, like=value
    )
    derivation.keep_state(derivation.emit("Add", [state, added], like=value))
    sums = ir.Node("", "CumSum", [ready, node.inputs[1]], node.attributes.values(), num_outputs=1)
    sums.outputs[0].name = derivation.name_for("stream_cumsum")
    sums.outputs[0].type = value.type
    derivation.insert(sums)
    total = derivation.emit("Add", [sums.outputs[0], state], like=value)
    derivation.replace(output, total, replace(settled, first=None, truth=None))
