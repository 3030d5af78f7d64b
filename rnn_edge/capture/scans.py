"""One Scan node over the first axis, its body written by a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import onnx_ir as ir
from onnx_ir.tape import Tape
from onnxscript import evaluator

# (the tape to write to, the states, the slices) -> (the next states, what to collect)
Body: TypeAlias = Callable[
    [Tape, list[ir.Value], list[ir.Value]], tuple[list[ir.Value], list[ir.Value]]
]


def write_scan(body: Body, initial: Sequence[Any], scanned: Sequence[Any], name: str) -> list[Any]:
    """The last states, then what was collected; ``name`` keeps the body's names apart."""
    tape = Tape()
    states = [ir.val(f"{name}.state_{i}", dtype=value.dtype) for i, value in enumerate(initial)]
    slices = [ir.val(f"{name}.slice_{i}", dtype=value.dtype) for i, value in enumerate(scanned)]
    following, collected = body(tape, states, slices)
    # A graph must not have one value as two outputs.
    outputs = [tape.op("Identity", [value]) for value in (*following, *collected)]
    # A body must not name a value as the graph around it does, which numbers its own.
    for number, value in enumerate(value for node in tape.nodes for value in node.outputs):
        value.name = f"{name}.value_{number}"
    node = ir.node(
        "Scan",
        [*initial, *scanned],
        attributes={
            "body": ir.Graph([*states, *slices], outputs, nodes=tape.nodes, name=name),
            "num_scan_inputs": len(slices),
        },
        num_outputs=len(outputs),
    )
    # op.Scan would give one output: it cannot know how many a body has.
    recorder: Any = evaluator.default()
    recorder.nodes.append(node)
    for place, value in enumerate(initial):
        node.outputs[place].dtype = value.dtype
    return list(node.outputs)
