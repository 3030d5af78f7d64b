"""A stream graph for chunks of exactly one frame: nothing moves axes of size 1 about."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir
from onnx_ir.passes import common

from rnn_edge.contract import GraphContract, TensorSpec
from rnn_edge.graphs.cleaning import clean
from rnn_edge.graphs.streaming.single_frame import inline_scans, take_final_states
from rnn_edge.graphs.streaming.stream import Stream, forget_shapes
from rnn_edge.graphs.views import fold_sizes, merge_views

STEP_FILE = "step.onnx"

# Bytes of weights with which a call takes so long that what is saved does not show.
_HEAVY = 8 * 2**20
_MANY_NODES = 8

# What one round folds gives the next its shapes: If and Expand among sizes take a second.
_ROUNDS = 3


def derive_step(stream: Stream, rows: int | None = None) -> Stream:
    """The graph of ``stream`` with one frame a call, tensors and states of the same names.

    ``rows`` fixes the batch as well. ``stream`` stays as it is.
    """
    contract = _describe(stream.contract, rows)
    model = stream.model.clone()
    dims = {spec.name: spec.dims for spec in (*contract.inputs, *contract.outputs)}
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.shape = ir.Shape(dims[str(value.name)])
    for _ in range(_ROUNDS):
        common.ShapeInferencePass()(model)
        while inline_scans(model):
            common.ShapeInferencePass()(model)
        take_final_states(model)
        fold_sizes(model)
        merge_views(model)
        clean(model)
    forget_shapes(model)
    return Stream(model, contract)


def is_worth_its_weights(stream: Stream, step: Stream) -> bool:
    """Whether single frames run so much faster that a bundle should hold the weights twice.

    A Scan that is gone makes a call 20 to 40% faster, a node some 1 us; around plain layers that is
    5%, and nothing where products take the time.
    """
    weights = sum(
        value.const_value.nbytes
        for value in step.model.graph.initializers.values()
        if value.const_value is not None
    )
    before, after = ([node.op_type for node in each.model.graph] for each in (stream, step))
    gone = before.count("Scan") > after.count("Scan")
    return weights <= _HEAVY and (gone or len(before) - len(after) >= _MANY_NODES)


def _describe(contract: GraphContract, rows: int | None) -> GraphContract:
    rule = contract.stream
    assert rule is not None
    batches = {
        contract.input(pair.input).dims[pair.batch_axis]
        for pair in contract.states
        if pair.batch_axis is not None
    }
    sizes = {rule.axis: 1, **(dict.fromkeys(batches, rows) if rows is not None else {})}

    def fix(spec: TensorSpec) -> TensorSpec:
        return replace(spec, dims=tuple(sizes.get(dim, dim) for dim in spec.dims))

    return replace(
        contract,
        file=STEP_FILE,
        inputs=tuple(map(fix, contract.inputs)),
        outputs=tuple(map(fix, contract.outputs)),
        axes={name: limits for name, limits in contract.axes.items() if name not in sizes},
    )
