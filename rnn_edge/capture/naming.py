"""Names that a person can read, in place of those that tracing left: inputs, axes, nodes, weights.

What tracing recorded of the author's machine (stack traces, file paths) is removed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import onnx_ir as ir
from onnx_ir.passes import common

from rnn_edge.capture.tracing import FlatForward
from rnn_edge.graphs.origin import MODULE_KEY, WEIGHTS_KEY, Origin, keep_origin, read_origin

# Sizes that depend on values, as the longest of the lengths, are no axis of the inputs.
_COMPUTED_AXIS = "longest"

_SYMBOL = re.compile(r"\b[su]\d+\b")
_RECURRENT = ("RNN", "GRU", "LSTM")
_WEIGHT_NAMES = {1: "W", 2: "R", 3: "B"}


def name_everything(
    model: ir.Model,
    input_names: Sequence[str],
    output_names: Sequence[str],
    symbols: Mapping[str, str],
    owner: str,
) -> None:
    """Rename ``model`` in place; ``symbols`` maps symbols as ``s77`` to axis names.

    ``owner`` is the class of the module.
    """
    _name_nodes(model.graph, owner)
    _name_weights(model.graph)
    _name_axes(model, symbols)
    _name_interface(model.graph, input_names, output_names)
    common.NameFixPass()(model)
    _forget_origin(model)


def _name_interface(
    graph: ir.Graph, input_names: Sequence[str], output_names: Sequence[str]
) -> None:
    interface = {*graph.inputs, *graph.outputs}
    wanted = {*input_names, *output_names}
    for value in _values(graph):
        if value.name in wanted and value not in interface:
            value.name = f"{value.name}_inner"
    # In two steps, since a wanted name may still be another interface value's old one.
    renamed = [*zip(graph.inputs, input_names, strict=True)]
    renamed += [*zip(graph.outputs, output_names, strict=True)]
    for index, (value, _) in enumerate(renamed):
        value.name = f"rnn_edge_interface_{index}"
    for value, name in renamed:
        value.name = name


def _name_nodes(graph: ir.Graph, owner: str) -> None:
    counts: Counter[str] = Counter()
    for node in graph.all_nodes():
        origin = _origin(node, owner)
        path = origin.path
        keep_origin(node, origin)
        is_recurrent = node.op_type in _RECURRENT and node.domain == ""
        stem = f"{path}.layer" if is_recurrent and path else f"{path}/{node.op_type}".strip("/")
        node.name = f"{stem}_{counts[stem]}"
        counts[stem] += 1
        if path:
            node.metadata_props[MODULE_KEY] = path


def tell_owners(model: ir.Model, parameters: Mapping[str, str]) -> None:
    """Give recurrent nodes the path of the module that their weights belong to.

    Where loops were rolled back, no call of it was traced. ``parameters`` has the names of weights
    in the module by those in the trace.
    """
    for node in model.graph.all_nodes():
        name = parameters.get(node.metadata_props.get(WEIGHTS_KEY, ""), "")
        if name.startswith(FlatForward.PREFIX):
            path = name.removeprefix(FlatForward.PREFIX).rpartition(".")[0]
            node.metadata_props.setdefault(MODULE_KEY, path)


def _origin(node: ir.Node, owner: str) -> Origin:
    found = read_origin(node, FlatForward.PREFIX)
    told = node.metadata_props.get(MODULE_KEY)
    if told is not None and not found.path:
        return Origin(told, "", found.line)
    # What forward() was traced in may be a stand-in of the module.
    return replace(found, owner=owner) if found.owner and not found.path else found


def _name_weights(graph: ir.Graph) -> None:
    for value in list(graph.initializers.values()):
        if value.name and value.name.startswith(FlatForward.PREFIX):
            value.name = value.name.removeprefix(FlatForward.PREFIX)
    for node in graph.all_nodes():
        if node.op_type not in _RECURRENT or node.domain != "":
            continue
        for index, suffix in _WEIGHT_NAMES.items():
            weight = node.inputs[index] if index < len(node.inputs) else None
            if weight is not None and weight.is_initializer() and len(weight.uses()) == 1:
                weight.name = f"{node.name}.{suffix}"


def _name_axes(model: ir.Model, symbols: Mapping[str, str]) -> None:
    names = dict(symbols)

    def name_of(match: re.Match[str]) -> str:
        symbol = match.group()
        if symbol not in names:
            taken = sum(name.startswith(_COMPUTED_AXIS) for name in names.values())
            names[symbol] = f"{_COMPUTED_AXIS}_{taken}" if taken else _COMPUTED_AXIS
        return names[symbol]

    for value in _values(model.graph):
        if value.shape is None:
            continue
        value.shape = ir.Shape(
            [
                dim if isinstance(dim, int) or dim.value is None
                else _SYMBOL.sub(name_of, str(dim.value)).replace(" ", "")
                for dim in value.shape
            ]
        )  # fmt: skip


def _values(graph: ir.Graph) -> list[ir.Value]:
    values = [*graph.inputs, *graph.initializers.values()]
    for node in graph.all_nodes():
        values.extend(node.outputs)
    return list(dict.fromkeys(values))


def _forget_origin(model: ir.Model) -> None:
    for node in model.graph.all_nodes():
        kept = node.metadata_props.get(MODULE_KEY)
        node.metadata_props.clear()
        node.doc_string = None
        if kept:
            node.metadata_props[MODULE_KEY] = kept
    for value in _values(model.graph):
        value.metadata_props.clear()
        value.doc_string = None
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.doc_string = model.graph.doc_string = None
