"""What C and C++ share: the contract as constant tables, SHA-256, and what they cannot take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rnn_edge.contract import (
    GraphContract,
    LabelDecoder,
    SeriesFrontEnd,
    TensorSpec,
    ValueDecoder,
)
from rnn_edge.errors import IntegrationError
from rnn_edge.integration.program import TEMPLATES, Program
from rnn_edge.rendering import render_folder

# As contract.h says; more than any graph of ours has had.
_MOST_AXES = 8
_MOST_TENSORS = 256
_NO_C_TYPE = ("float16",)


def native_files(program: Program) -> dict[str, str]:
    """contract.h, contract.c and sha256 by name. Raises IntegrationError."""
    for graph in _graphs(program).values():
        _require_representable(graph)
    return render_folder(TEMPLATES / "native", native_values(program))


def _graphs(program: Program) -> dict[str, GraphContract]:
    """Those that a native program calls: the pipeline where that reads what a person has."""
    graphs = program.bundle.contract.graphs
    asked = ("pipeline",) if _asks(program) else ()
    return {name: graphs[name] for name in ("model", "stream", "step", *asked) if name in graphs}


def _asks(program: Program) -> bool:
    return program.kind not in (None, "series")


def native_values(program: Program) -> dict[str, Any]:
    contract, evidence = program.bundle.contract, program.bundle.evidence
    front_end, decoder = contract.front_end, contract.decoder
    series = front_end if isinstance(front_end, SeriesFrontEnd) else None
    names: Sequence[str] = ()
    if isinstance(decoder, LabelDecoder):
        names = decoder.labels
    elif isinstance(decoder, ValueDecoder):
        names = decoder.columns
    return program.values() | {
        "graphs": [
            (name, graph, _axes(graph), _noises(evidence, name, graph))
            for name, graph in _graphs(program).items()
        ],
        "files": [(name, entry["sha256"]) for name, entry in evidence["files"].items()],
        "asks": _asks(program),
        "columns": series.columns if series else program.plain_columns,
        "names": names,
        "c_string": c_string,
        "place": _place,
        "floor": _floor,
        "shape_of": _shape_of,
    }


def c_string(text: str) -> str:
    """A string literal of C; what is not plain ASCII stands as octal escapes of its UTF-8."""
    plain = {ord(c) for c in " !#$%&'()*+,-./:;<=>@[]^_`{|}~"}
    parts = [
        chr(byte) if byte in plain or (chr(byte).isalnum() and byte < 128) else f"\\{byte:03o}"
        for byte in text.encode()
    ]
    return f'"{"".join(parts)}"'


def _axes(graph: GraphContract) -> list[str]:
    """The dynamic axes of the inputs first, then those that only outputs have."""
    dims = [dim for spec in (*graph.inputs, *graph.outputs) for dim in spec.dims]
    return list(dict.fromkeys(dim for dim in dims if isinstance(dim, str)))


def _floor(graph: GraphContract, axis: str) -> int:
    """The least that may be run: a graph that takes rows one after the other fills empty ones."""
    return 0 if any(spec.splits == axis for spec in graph.inputs) else 1


def _noises(evidence: Any, name: str, graph: GraphContract) -> dict[str, float]:
    """What each output lost at the export; a state, of which that is not known, as the worst."""
    report = evidence.get("stream" if name in ("stream", "step") else "parity") or {}
    known = {output["name"]: float(output["noise"]) for output in report.get("outputs", ())}
    worst = max(known.values(), default=0.0)
    return {spec.name: known.get(spec.name, worst) for spec in graph.outputs}


def _place(specs: Sequence[TensorSpec], name: str) -> int:
    return [spec.name for spec in specs].index(name)


def _shape_of(spec: TensorSpec) -> str:
    """The shape of one row with one step, as C and C++ write it."""
    return ", ".join(str(dim) if isinstance(dim, int) else "1" for dim in spec.dims)


def _require_representable(graph: GraphContract) -> None:
    for spec in (*graph.inputs, *graph.outputs):
        if spec.dtype in _NO_C_TYPE or len(spec.dims) > _MOST_AXES:
            raise IntegrationError(
                f"tensors must be of a type of C and have at most {_MOST_AXES} axes, "
                f"{spec} is not. Use host node, or export in float32."
            )
    if len(_axes(graph)) > _MOST_AXES or len(graph.inputs) + len(graph.outputs) > _MOST_TENSORS:
        raise IntegrationError(
            f"graphs must have at most {_MOST_AXES} dynamic axes and {_MOST_TENSORS} tensors, "
            f"{graph.file} has more. Use host node."
        )
