"""Host triton: a model repository whose sequence batcher carries the states of the stream graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rnn_edge.bundle import Bundle
from rnn_edge.contract import METADATA_KEY, GraphContract, StatePair, TensorSpec
from rnn_edge.errors import InputError
from rnn_edge.extras import import_extra
from rnn_edge.integration.integration import require_bundle
from rnn_edge.integration.program import TEMPLATES, Program, write_files
from rnn_edge.rendering import render_folder
from rnn_edge.version import VERSION

MAX_BATCH, MAX_CANDIDATES = 16, 1024
IDLE_MICROSECONDS = 60_000_000
_TYPES = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
    "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64", "float16": "FP16",
    "float32": "FP32", "float64": "FP64",
}  # fmt: skip


def write(source: Bundle | Path, folder: Path) -> dict[str, Any]:
    """Fill ``folder`` with a repository of one model; gives what a person asks for first."""
    bundle = require_bundle(source, "triton")
    program = Program(bundle)
    if program.stream is None:
        raise InputError(
            f"bundle {bundle.name} must hold a stream graph for the sequence batcher, it holds "
            f"{', '.join(bundle.contract.graphs)}. Export a causal model for streaming."
        )
    place = folder / program.identifier
    contract, shortest = _write_graph(bundle, place / "1")
    rule = contract.stream
    assert rule is not None
    states = [_state(pair, contract, place) for pair in contract.states]
    others = {rule.reset, *contract.state_inputs}
    results = {pair.output for pair in contract.states}
    values = {
        "name": bundle.name,
        "identifier": program.identifier,
        "producer": f"rnn-edge {VERSION}",
        "inputs": [_tensor(spec) for spec in contract.inputs if spec.name not in others],
        "outputs": [_tensor(spec) for spec in contract.outputs if spec.name not in results],
        "states": states,
        "reset": rule.reset,
        "max_batch": MAX_BATCH,
        "max_candidates": MAX_CANDIDATES,
        "idle": IDLE_MICROSECONDS,
        "shortest": shortest,
        "front_end": bundle.contract.front_end.kind if bundle.contract.front_end else "none",
    }
    files = render_folder(TEMPLATES / "triton", values)
    files[f"{program.identifier}/config.pbtxt"] = files.pop("config.pbtxt")
    write_files(folder, files)
    return {"states": ", ".join(state["input"] for state in states) or "none"}


def _write_graph(bundle: Bundle, folder: Path) -> tuple[GraphContract, int]:
    """The stream graph with its rows first, as the first version of the model.

    Gives its contract, and how many frames a chunk must have: a client that sends none would end
    the server, so that is an error of the graph.
    """
    ir = import_extra("onnx_ir")
    from rnn_edge.graphs.least_sizes import refuse_small
    from rnn_edge.graphs.rows_first import put_rows_first

    model = ir.load(bundle.graph_path("stream"))
    contract = put_rows_first(model, bundle.graph("stream"))
    rule = contract.stream
    assert rule is not None
    limits = contract.axes.get(rule.axis)
    shortest = max(1, limits.minimum) if limits else 1
    for spec in contract.inputs:
        if rule.axis in spec.dims:
            least = [shortest if dim == rule.axis else 0 for dim in spec.dims]
            refuse_small(model.graph, spec.name, [1, *least[1:]])
    # Its contract is that of the server's file now.
    model.metadata_props.pop(METADATA_KEY, None)
    folder.mkdir(parents=True)
    ir.save(model, folder / "model.onnx")
    return contract, shortest


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    dims = [dim if isinstance(dim, int) else -1 for dim in spec.dims[1:]] or [1]
    if len(spec.dims) < 2:
        raise InputError(
            f"tensors of a request must have an axis besides the batch, {spec} has none. "
            "Give it one in forward()."
        )
    return {
        "name": spec.name,
        "type": f"TYPE_{_TYPES[spec.dtype]}",
        "wire": _TYPES[spec.dtype],
        "numpy": f"{spec.dtype}[{', '.join(map(str, spec.dims))}]",
        "dims": f"[ {', '.join(map(str, dims))} ]",
        "example": ", ".join("1" if dim == -1 else str(dim) for dim in dims),
        "meaning": spec.meaning,
    }


def _state(pair: StatePair, contract: GraphContract, place: Path) -> dict[str, Any]:
    """Its entry; a start that is not zero goes into a file, as the server wants it."""
    spec = contract.input(pair.input)
    tensor = _tensor(spec)
    file = ""
    if pair.initial:
        sizes = [int(dim) for dim in spec.dims[1:]]
        file = pair.input.replace("/", "_")
        (place / "initial_state").mkdir(exist_ok=True)
        array = np.full(sizes, pair.initial, spec.dtype)
        (place / "initial_state" / file).write_bytes(array.tobytes())
    return {**tensor, "input": pair.input, "output": pair.output, "file": file}
