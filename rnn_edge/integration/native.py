"""What C and C++ share: the contract as constant tables, SHA-256, and what they cannot take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rnn_edge.contract import (
    CharacterFrontEnd,
    GraphContract,
    LabelDecoder,
    NextCharacterDecoder,
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
_NO_C_TYPE = ("float16", "string")


def native_files(program: Program) -> dict[str, str]:
    """contract.h, contract.c and sha256 by name. Raises IntegrationError."""
    for graph in _graphs(program).values():
        _require_representable(graph)
    return render_folder(TEMPLATES / "native", native_values(program))


def _graphs(program: Program) -> dict[str, GraphContract]:
    """Those that a native program calls: it has its own loop to generate."""
    graphs = program.bundle.contract.graphs
    return {name: graphs[name] for name in ("model", "stream", "step") if name in graphs}


def native_values(program: Program) -> dict[str, Any]:
    contract, evidence = program.bundle.contract, program.bundle.evidence
    front_end, decoder = contract.front_end, contract.decoder
    text = front_end if isinstance(front_end, CharacterFrontEnd) else None
    series = front_end if isinstance(front_end, SeriesFrontEnd) else None
    names: Sequence[str] = ()
    if isinstance(decoder, LabelDecoder):
        names = decoder.labels
    elif isinstance(decoder, ValueDecoder):
        names = decoder.columns
    elif isinstance(decoder, NextCharacterDecoder) and text:
        names = text.vocabulary
    return program.values() | {
        "graphs": [
            (name, graph, _axes(graph), _noises(evidence, name, graph))
            for name, graph in _graphs(program).items()
        ],
        "files": [(name, entry["sha256"]) for name, entry in evidence["files"].items()],
        "characters": sorted_characters(text.vocabulary) if text else (),
        "unknown": text.unknown if text else 0,
        "columns": series.columns if series else program.plain_columns,
        "names": names,
        "never": decoder.never if isinstance(decoder, NextCharacterDecoder) else (),
        "c_string": c_string,
        "place": _place,
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


def sorted_characters(vocabulary: Sequence[str]) -> list[tuple[int, int]]:
    """(code point, id), sorted; entries that are no single character stand in no text."""
    return sorted((ord(entry), id) for id, entry in enumerate(vocabulary) if len(entry) == 1)


def _axes(graph: GraphContract) -> list[str]:
    """The dynamic axes of the inputs first, then those that only outputs have."""
    dims = [dim for spec in (*graph.inputs, *graph.outputs) for dim in spec.dims]
    return list(dict.fromkeys(dim for dim in dims if isinstance(dim, str)))


def _noises(evidence: Any, name: str, graph: GraphContract) -> dict[str, float]:
    """What each output lost at the export; a state, of which that is not known, as the worst."""
    report = evidence.get("parity" if name == "model" else "stream") or {}
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
