"""An input that is too small is an error of one node, where a runtime would end its process."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from rnn_edge.graphs.writing import Weights, Writer

# Sizes that a Reshape keeps, and those that it refuses.
_SAME, _NONE = 0, -2


def refuse_small(graph: ir.Graph, name: str, least: Sequence[int]) -> None:
    """Let a run of ``graph`` fail where an axis of its input ``name`` is smaller than ``least``.

    ``least`` has a number for each axis. ONNX Runtime names the node that fails, so its name says
    what must be.
    """
    given = next(value for value in graph.inputs if value.name == name)
    uses = list(given.uses())
    writer = Writer(Weights(graph))
    small = writer.op("Less", writer.op("Shape", given), writer.constant(list(least)))
    row = writer.op("ReduceMax", writer.op("Cast", small, to=int(ir.DataType.INT64)), keepdims=0)
    forms = writer.constant(np.array([[_SAME] * len(least), [_NONE] * len(least)]))
    same = writer.op("Reshape", given, writer.op("Gather", forms, row, axis=0))
    same.shape, same.type = given.shape, given.type
    node = same.producer()
    assert node is not None
    node.name = f"{name} must be at least [{', '.join(map(str, least))}]"
    for user, place in uses:
        user.replace_input_with(place, same)
    graph.insert_before(graph[0], writer.nodes)
