"""Generating graphs: derived from a language model's stream graph, proved, written beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnn_edge.contract import (
    ByteFrontEnd,
    Contract,
    Decoder,
    FrontEnd,
    GraphContract,
    NextCharacterDecoder,
    TextDecoder,
    is_written,
)
from rnn_edge.errors import ExportError, VerificationError
from rnn_edge.runtime import Session
from rnn_edge.streaming import save_graph

if TYPE_CHECKING:
    from torch import nn

    from rnn_edge.capture.arguments import Arguments
    from rnn_edge.graphs.streaming import Stream
    from rnn_edge.verification.generation import Answering


@dataclass(frozen=True)
class GeneratePart:
    """What an export learns of generating: a graph with its evidence and golden inputs.

    ``texts`` writes the whole answers of a model whose texts are about something.
    """

    generator: Stream | None
    evidence: Mapping[str, Any]
    golden: Mapping[str, np.ndarray]
    texts: Stream | None = None


def add_generator(
    stream: Stream | None,
    model: GraphContract,
    original: tuple[nn.Module, Arguments],
    staging: Path,
    decoder: Decoder | None,
) -> GeneratePart:
    """Derive the graph that generates and hold it against the eager module.

    There is one for a module whose outputs are decoded as next characters and that streams;
    otherwise, the reason becomes the evidence.
    """
    from rnn_edge.capture import evaluating
    from rnn_edge.verification.oracle import Oracle

    module, arguments = original
    if stream is None or not is_written(decoder):
        return prove_generator(stream, model, None, staging, decoder)
    examples = {argument.name: argument.example.numpy() for argument in arguments.tensors}
    with evaluating(module):
        oracle = Oracle(module, arguments)
        return prove_generator(stream, model, oracle, staging, decoder, examples)


def prove_generator(
    stream: Stream | None,
    model: GraphContract,
    oracle: Answering | None,
    staging: Path,
    decoder: Decoder | None,
    examples: Mapping[str, np.ndarray] | None = None,
) -> GeneratePart:
    """As add_generator(), against ``oracle``; None will do where there is nothing to generate."""
    from rnn_edge.graphs.generation import derive_generator, derive_texts
    from rnn_edge.verification.answers import check_answers
    from rnn_edge.verification.generation import check_generation

    if not is_written(decoder):
        return GeneratePart(None, {"refused": "no decoder of next characters"}, {})
    if stream is None or oracle is None:
        return GeneratePart(None, {"refused": "a model that does not stream"}, {})
    try:
        generator = derive_generator(stream, decoder.never)
        session = Session(_save(generator, staging), trusted=True)
        report, golden = check_generation(session, model, oracle, decoder.never, examples or {})
        texts = None
        if isinstance(decoder, TextDecoder):
            texts = derive_texts(stream, decoder)
            check_answers(Session(_save(texts, staging), trusted=True), session, golden, decoder)
    except (ExportError, VerificationError) as error:
        return GeneratePart(None, {"refused": str(error)}, {})
    return GeneratePart(generator, report.to_dict(), golden, texts)


def never_but_bytes(
    decoder: Decoder | None, front_end: FrontEnd | None, model: GraphContract
) -> Decoder | None:
    """``decoder``; of a language model of bytes, what is no byte is never to be sampled."""
    if not isinstance(decoder, NextCharacterDecoder) or not isinstance(front_end, ByteFrontEnd):
        return decoder
    logits = model.outputs[0].dims[-1:]
    count = logits[0] if logits and isinstance(logits[0], int) else 0
    bytes_of = range(front_end.offset, front_end.offset + 256)
    others = {place for place in range(count) if place not in bytes_of}
    return replace(decoder, never=tuple(sorted({*decoder.never, *others})))


def write_generator(folder: Path, part: GeneratePart, about: Contract) -> None:
    """Write generate.onnx and ``generate/test_data_set_0`` into ``folder``, if there is such."""
    from rnn_edge.verification.golden import write_golden_set

    if part.generator is None:
        return
    path = _save(part.generator, folder, about)
    session = Session(path, trusted=True)
    filled = session.fill(part.golden)
    # As the file has them: input_0.pb is the graph's first.
    inputs = {spec.name: filled[spec.name] for spec in session.contract.inputs}
    place = folder / "generate"
    place.mkdir()
    write_golden_set(place, 0, inputs, session.run_named(inputs))


def _save(generator: Stream, folder: Path, about: Contract | None = None) -> Path:
    path = folder / generator.contract.file
    save_graph(generator.model, generator.contract, path, about)
    return path
