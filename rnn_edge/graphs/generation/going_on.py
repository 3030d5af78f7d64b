"""A stream graph whose rows have all begun: nothing in it starts a state anew."""

from __future__ import annotations

from dataclasses import replace

from onnx_ir.passes import common

from rnn_edge.graphs.streaming.stream import Stream

_VIEWS = ("Reshape", "Squeeze", "Unsqueeze", "Slice", "Gather", "Identity", "Expand")


def without_reset(stream: Stream) -> Stream:
    """``stream`` as it is for rows that go on, without its reset input if nothing else reads that.

    ``stream`` stays as it is.
    """
    rule = stream.contract.stream
    if rule is None or rule.reset is None:
        return stream
    model = stream.model.clone()
    graph = model.graph
    reset = next(value for value in graph.inputs if value.name == rule.reset)
    false = {reset}
    for node in list(graph):
        if node.op_type in _VIEWS and node.inputs[0] in false:
            false.update(node.outputs)
        elif node.op_type == "Where" and node.inputs[0] in false:
            # A state has the shape of what it becomes.
            kept = node.inputs[2]
            assert kept is not None
            node.outputs[0].replace_all_uses_with(kept, replace_graph_outputs=True)
            graph.remove(node, safe=True)
    common.RemoveUnusedNodesPass()(model)
    if reset.uses():
        return stream
    graph.inputs.remove(reset)
    contract = stream.contract
    inputs = tuple(spec for spec in contract.inputs if spec.name != rule.reset)
    return Stream(model, replace(contract, inputs=inputs, stream=replace(rule, reset=None)))
