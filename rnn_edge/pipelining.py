"""pipeline.onnx: from what an app has to what a person reads; derived, proved, written."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnn_edge.contract import Contract, TextDecoder
from rnn_edge.errors import ContractError, ExportError, InputError, VerificationError
from rnn_edge.runtime import Session
from rnn_edge.streaming import save_graph

if TYPE_CHECKING:
    import onnx_ir as ir

    from rnn_edge.generating import GeneratePart
    from rnn_edge.graphs.streaming import Stream


@dataclass(frozen=True)
class PipelinePart:
    """What an export learns of raw input: a graph with its evidence and golden inputs."""

    graph: Stream | None
    evidence: Mapping[str, Any]
    golden: Mapping[str, np.ndarray]


def add_pipeline(
    model: ir.Model,
    contract: Contract,
    session: Session,
    portable: bool = False,
    generation: GeneratePart | None = None,
) -> PipelinePart:
    """Put front end and decoder of ``contract`` around ``model``, and hold the whole against them.

    ``session`` runs ``model``, which stays as it is. Where there is no such graph, the reason
    becomes the evidence. Of a model that writes, ``generation`` has the graphs that stand in the
    place of ``model``: one that continues ids, or gives the ids of whole answers.
    """
    if generation is not None and generation.texts is not None:
        return _add_answers(generation.texts, contract, portable)
    if generation is not None and generation.unanswered:
        return PipelinePart(None, {"refused": generation.unanswered}, {})
    generator = None if generation is None else generation.generator
    from rnn_edge.graphs.pipelines import derive_pipeline
    from rnn_edge.verification.pipeline import check_pipeline
    from rnn_edge.verification.written_texts import check_texts

    if contract.front_end is None or contract.decoder is None:
        return PipelinePart(None, {"refused": "no front end and decoder"}, {})
    try:
        graph = derive_pipeline(model, contract, portable=portable, generator=generator)
        with tempfile.TemporaryDirectory() as staging:
            path = Path(staging) / graph.contract.file
            save_graph(graph.model, graph.contract, path)
            whole = Session(path, trusted=True)
            if generation is None or generator is None:
                report, golden = check_pipeline(whole, session, contract)
            else:
                ids = Path(staging) / generator.contract.file
                save_graph(generator.model, generator.contract, ids)
                report, golden = check_texts(
                    whole, Session(ids, trusted=True), contract, generation.golden
                )
    except (ContractError, ExportError, InputError, VerificationError) as error:
        return PipelinePart(None, {"refused": str(error)}, {})
    return PipelinePart(graph, report.to_dict(), golden)


def _add_answers(texts: Stream, contract: Contract, portable: bool) -> PipelinePart:
    """The front end, ``texts``, and the characters of its ids."""
    assert isinstance(contract.decoder, TextDecoder)
    places = replace(contract.decoder, start=None)
    answering = replace(contract, graphs={"model": texts.contract}, decoder=places)
    with tempfile.TemporaryDirectory() as staging:
        path = Path(staging) / texts.contract.file
        save_graph(texts.model, texts.contract, path)
        return add_pipeline(texts.model, answering, Session(path, trusted=True), portable)


def write_pipeline(folder: Path, part: PipelinePart, about: Contract) -> None:
    """Write pipeline.onnx and ``pipeline/test_data_set_0`` into ``folder``, if there is such."""
    from rnn_edge.verification.golden import write_golden_set

    if part.graph is None:
        return
    path = folder / part.graph.contract.file
    save_graph(part.graph.model, part.graph.contract, path, about)
    session = Session(path, trusted=True)
    filled = session.fill(part.golden)
    # As the file has them: input_0.pb is the graph's first.
    inputs = {spec.name: filled[spec.name] for spec in session.contract.inputs}
    place = folder / "pipeline"
    place.mkdir()
    write_golden_set(place, 0, inputs, session.run_named(inputs))
