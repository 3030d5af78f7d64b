"""Operators over time that see one frame only: a recurrence without a loop."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir


def take_final_states(model: ir.Model) -> None:
    """Read what RNN, GRU and LSTM give for all steps from their final state, the only step."""
    graph = model.graph
    for node in list(graph):
        if node.op_type not in ("RNN", "GRU", "LSTM") or len(node.outputs) < 2:
            continue
        steps, final = node.outputs[:2]
        shape = node.inputs[0].shape if node.inputs[0] is not None else None
        if not steps.uses() or steps.is_graph_output() or shape is None or shape[0] != 1:
            continue
        if final.name is None or final.type is None:
            final.name, final.type = f"{steps.name}.final", steps.type
        axes = ir.val(
            f"{steps.name}.axes", const_value=ir.tensor(np.array([0]), name=f"{steps.name}.axes")
        )
        graph.initializers[str(axes.name)] = axes
        view = ir.node("Unsqueeze", [final, axes])
        view.outputs[0].name, view.outputs[0].type = f"{steps.name}.step", steps.type
        view.outputs[0].shape = steps.shape
        graph.insert_after(node, view)
        steps.replace_all_uses_with(view.outputs[0])


def inline_scans(model: ir.Model) -> bool:
    """Put the body of every Scan over one frame in the place of the Scan; whether there was one."""
    found = [node for node in model.graph if node.op_type == "Scan" and _runs_once(node)]
    for node in found:
        _inline(model.graph, node)
    return bool(found)


def _runs_once(node: ir.Node) -> bool:
    count = node.attributes["num_scan_inputs"].as_int()
    axes = _axes(node, "scan_input_axes", count)
    scanned = node.inputs[len(node.inputs) - count :]
    # All that it runs over is of one length.
    return any(
        value is not None and value.shape is not None and value.shape[axis] == 1
        for value, axis in zip(scanned, axes, strict=True)
    )


def _axes(node: ir.Node, name: str, count: int) -> list[int]:
    attribute = node.attributes.get(name)
    return list(attribute.as_ints()) if attribute is not None else [0] * count


def _inline(graph: ir.Graph, node: ir.Node) -> None:
    body = node.attributes["body"].as_graph()
    count = node.attributes["num_scan_inputs"].as_int()
    carried = len(node.inputs) - count
    stem = str(node.outputs[0].name)
    for place, (own, given) in enumerate(zip(body.inputs, node.inputs, strict=True)):
        assert given is not None
        if place >= carried:
            axis = _axes(node, "scan_input_axes", count)[place - carried]
            given = _view(graph, node, "Squeeze", given, axis, f"{stem}.in_{place}")
        own.replace_all_uses_with(given, replace_graph_outputs=True)
    results = list(body.outputs)
    for value in list(body.initializers.values()):
        del body.initializers[str(value.name)]
        value.name = f"{stem}.{value.name}"
        graph.initializers[value.name] = value
    inner = list(body)
    body.outputs.clear()
    body.remove(inner)
    for number, each in enumerate(inner):
        for place, output in enumerate(each.outputs):
            output.name = f"{stem}.body_{number}_{place}"
        each.name = None
    graph.insert_before(node, inner)
    outputs = len(node.outputs) - carried
    for place, (own, result) in enumerate(zip(node.outputs, results, strict=True)):
        if place >= carried:
            axis = _axes(node, "scan_output_axes", outputs)[place - carried]
            result = _view(graph, node, "Unsqueeze", result, axis, f"{stem}.out_{place}")
        _stand_for(graph, node, own, result)
    graph.remove(node, safe=True)


def _stand_for(graph: ir.Graph, node: ir.Node, own: ir.Value, result: ir.Value) -> None:
    if own.is_graph_output():
        copy = ir.node("Identity", [result])
        graph.insert_before(node, copy)
        name, own.name = own.name, f"{own.name}.scanned"
        copy.outputs[0].name, copy.outputs[0].type = name, own.type
        copy.outputs[0].shape = own.shape
        result = copy.outputs[0]
    own.replace_all_uses_with(result, replace_graph_outputs=True)


def _view(
    graph: ir.Graph, node: ir.Node, op_type: str, value: ir.Value, axis: int, name: str
) -> ir.Value:
    axes = ir.val(f"{name}.axes", const_value=ir.tensor(np.array([axis]), name=f"{name}.axes"))
    graph.initializers[str(axes.name)] = axes
    view = ir.node(op_type, [value, axes])
    view.outputs[0].name, view.outputs[0].type = name, value.type
    graph.insert_before(node, view)
    return view.outputs[0]
