"""A pipeline for an .onnx file that came from elsewhere: front end, file and decoder in one."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rnn_edge.contract import (
    AudioFrontEnd,
    Contract,
    CtcDecoder,
    Decoder,
    FrontEnd,
    GraphContract,
)
from rnn_edge.errors import ExportError, InputError
from rnn_edge.extras import import_extra
from rnn_edge.folder import replace_file
from rnn_edge.pipelining import add_pipeline
from rnn_edge.runtime import Session
from rnn_edge.runtime.pipeline import plain_front_end
from rnn_edge.sound_features import SoundFeatures
from rnn_edge.streaming import save_graph


@dataclass(frozen=True)
class PipelineFile:
    """A file that was written: where, what it takes and gives, and how it was proved."""

    path: Path
    contract: GraphContract
    evidence: Mapping[str, Any]


def derive_pipeline(
    source: str | Path,
    out: str | Path | None = None,
    *,
    front_end: FrontEnd | SoundFeatures | None,
    decoder: Decoder,
    lengths: str | None = None,
    axes: Mapping[str, str] | None = None,
    portable: bool = False,
) -> PipelineFile:
    """Put ``front_end`` before and ``decoder`` behind any .onnx file, which stays as it is.

    Of ``SoundFeatures`` the file reads features, and the new one samples; of None it reads rows of
    numbers as they are. ``out`` is a folder or a file; left out, ``NAME.pipeline.onnx`` is written
    beside the source. ``lengths`` names the input that holds the steps of each row, ``axes`` says
    which names of the file are "batch" and "sequence" (``{"N": "batch"}``), where it has others.
    With ``portable`` texts are code points.

    The answers are compared with those of front end, file and decoder in Python, one after the
    other. Raises InputError, ExportError with the reason where there is no such graph.
    """
    onnx_ir = import_extra("onnx_ir")
    from rnn_edge.graphs.sound_features import put_sound_features

    path = Path(source)
    if path.is_dir():
        raise InputError(
            f"{path} must be an .onnx file, it is a folder. A bundle has its pipeline.onnx."
        )
    whole = Session(path)
    model = onnx_ir.load(path)
    onnx_ir.external_data.load_to_model(model)
    graph = _named(whole.contract, lengths, axes or {})
    with tempfile.TemporaryDirectory() as staging:
        if isinstance(front_end, SoundFeatures):
            blank = decoder.blank if isinstance(decoder, CtcDecoder) else None
            heard = put_sound_features(model, graph, front_end, blank)
            if isinstance(decoder, CtcDecoder):
                decoder = replace(decoder, stride=front_end.hop)
            model, graph = heard.model, heard.contract
            front_end = AudioFrontEnd(front_end.rate, front_end.text)
        elif front_end is None:
            front_end = plain_front_end(graph, path)
        draft = Path(staging) / path.name
        save_graph(model, graph, draft)
        contract = Contract(path.stem, {"model": graph}, None, front_end, decoder)
        part = add_pipeline(model, contract, Session(draft, trusted=True), portable)
        if part.graph is None:
            raise ExportError(str(part.evidence["refused"]))
        target = path.with_name(f"{path.stem}.pipeline.onnx") if out is None else Path(out)
        if target.suffix != ".onnx" or target.is_dir():
            target = target / part.graph.contract.file
        written = replace(part.graph.contract, file=target.name)
        save_graph(part.graph.model, written, draft, contract)
        replace_file(draft, target)
    return PipelineFile(target, written, part.evidence)


def _named(contract: GraphContract, lengths: str | None, axes: Mapping[str, str]) -> GraphContract:
    """``contract`` with its axes named as ours are, and the input of lengths known."""
    if lengths is not None:
        contract.input(lengths)
    specs = (*contract.inputs, *contract.outputs)
    names = {dim for spec in specs for dim in spec.dims if isinstance(dim, str)}
    unknown = sorted(set(axes) - names)
    if unknown:
        raise InputError(
            f"axes must be among {', '.join(sorted(names))}, got {', '.join(unknown)}. "
            "Name them as `rnn-edge inspect` does."
        )

    def renamed(spec: Any) -> Any:
        dims = tuple(axes.get(dim, dim) if isinstance(dim, str) else dim for dim in spec.dims)
        return replace(
            spec, dims=dims, lengths_of="sequence" if spec.name == lengths else spec.lengths_of
        )

    return replace(
        contract,
        inputs=tuple(map(renamed, contract.inputs)),
        outputs=tuple(map(renamed, contract.outputs)),
        axes={axes.get(name, name): limits for name, limits in contract.axes.items()},
    )
