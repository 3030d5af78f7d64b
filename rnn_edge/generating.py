"""Generating graphs: derived from a language model's stream graph, proved, written beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnn_edge.contract import (
    ByteFrontEnd,
    CharacterFrontEnd,
    Contract,
    Decoder,
    FrontEnd,
    GraphContract,
    NextCharacterDecoder,
    StreamRule,
    TextDecoder,
    is_written,
)
from rnn_edge.errors import ExportError, InputError, StreamError, VerificationError
from rnn_edge.runtime import Session
from rnn_edge.streaming import save_graph

if TYPE_CHECKING:
    from torch import nn

    from rnn_edge.capture.arguments import Arguments
    from rnn_edge.graphs.streaming import Stream
    from rnn_edge.verification.language_oracle import Answering


@dataclass(frozen=True)
class GeneratePart:
    """What an export learns of generating: a graph with its evidence and golden inputs.

    ``texts`` writes the whole answers of a model whose texts are about something; ``unanswered``
    is why there is none.
    """

    generator: Stream | None
    evidence: Mapping[str, Any]
    golden: Mapping[str, np.ndarray]
    texts: Stream | None = None
    unanswered: str = ""


def add_generator(
    stream: Stream | None,
    whole: Stream,
    original: tuple[nn.Module, Arguments],
    staging: Path,
    decoder: Decoder | None,
) -> GeneratePart:
    """Derive the graph that generates and hold it against the eager module.

    There is one for a module whose outputs are decoded as next characters and that streams, or
    whose own graph, ``whole``, takes and gives its states; otherwise, the reason becomes the
    evidence.
    """
    from rnn_edge.capture import evaluating
    from rnn_edge.verification.oracle import Oracle

    module, arguments = original
    if not is_written(decoder):
        return _refused("no decoder of next characters")
    examples = {argument.name: argument.example.numpy() for argument in arguments.tensors}
    with evaluating(module):
        oracle = Oracle(module, arguments)
        return prove_generator(stream, whole, oracle, staging, decoder, examples)


def prove_generator(
    stream: Stream | None,
    whole: Stream,
    oracle: Answering,
    staging: Path,
    decoder: Decoder | None,
    examples: Mapping[str, np.ndarray] | None = None,
) -> GeneratePart:
    """As add_generator(), against ``oracle``, which answers as ``whole`` does.

    ``examples`` are inputs of ``whole``, by name.
    """
    if not is_written(decoder):
        return _refused("no decoder of next characters")
    axis = _time_axis(whole.contract)
    candidates = [] if stream is None else [stream]
    if axis is not None:
        # What takes and gives its states is called for each chunk; what has none reads all again.
        in_chunks = replace(whole.contract, stream=StreamRule(axis))
        candidates.append(replace(whole, contract=in_chunks))
    told = len(candidates)
    if axis is None or whole.contract.states:
        candidates.append(whole)  # called for each step
    reasons = []
    for candidate in candidates:
        try:
            return _prove(candidate, whole.contract, (oracle, examples or {}), staging, decoder)
        except (ExportError, InputError, StreamError, VerificationError) as error:
            reasons.append(str(error))
    return _refused(reasons[max(told, 1) - 1])


def _refused(reason: str) -> GeneratePart:
    return GeneratePart(None, {"refused": reason}, {})


def _time_axis(model: GraphContract) -> str | None:
    from rnn_edge.graphs.streaming import find_time_axis

    try:
        return find_time_axis(model)
    except StreamError:
        return None


def _prove(
    stream: Stream,
    model: GraphContract,
    known: tuple[Answering, Mapping[str, np.ndarray]],
    staging: Path,
    decoder: NextCharacterDecoder | TextDecoder,
) -> GeneratePart:
    from rnn_edge.graphs.generation import (
        derive_generator,
        derive_texts,
        find_form,
        probe,
        reread,
    )
    from rnn_edge.verification.answers import check_answers
    from rnn_edge.verification.generation import check_generation
    from rnn_edge.verification.language_oracle import LanguageOracle

    rule = stream.contract.stream
    late = rule is not None and rule.latency > 0
    form = find_form(model if late else stream.contract, None if rule is None else rule.axis)
    asked = LanguageOracle(known[0], model, form, known[1])
    form = replace(form, shift=asked.find_shift())
    asked = LanguageOracle(known[0], model, form, known[1])
    form = replace(form, probabilities=asked.tells_probabilities())
    never = sorted({*(place for place in decoder.never if place < form.vocabulary), *form.unread})
    asked = LanguageOracle(known[0], model, form, known[1])
    if rule is not None and not stream.contract.states:
        stream, form = reread(stream, form)
    elif late or form.shift:
        stream, form = probe(stream, form)
    generator = derive_generator(stream, never, form)
    session = Session(_save(generator, staging), trusted=True)
    report, golden = check_generation(session, model, asked, never)
    texts = None
    if isinstance(decoder, TextDecoder):
        try:
            texts = derive_texts(stream, decoder, never, form)
            check_answers(Session(_save(texts, staging), trusted=True), session, golden, decoder)
        except (ExportError, VerificationError) as error:
            return GeneratePart(generator, report.to_dict(), golden, None, str(error))
    return GeneratePart(generator, report.to_dict(), golden, texts)


def never_without_text(
    decoder: Decoder | None, front_end: FrontEnd | None, model: GraphContract
) -> Decoder | None:
    """``decoder``; of a language model, what is no byte and no character is never to be sampled."""
    if not isinstance(decoder, NextCharacterDecoder):
        return decoder
    if isinstance(front_end, ByteFrontEnd):
        known = range(front_end.offset, front_end.offset + 256)
    elif isinstance(front_end, CharacterFrontEnd):
        known = range(len(front_end.vocabulary))
    else:
        return decoder
    others = {place for place in range(_count_logits(model)) if place not in known}
    return replace(decoder, never=tuple(sorted({*decoder.never, *others})))


def _count_logits(model: GraphContract) -> int:
    """How many ids a language model tells of; 0 where it is none."""
    from rnn_edge.graphs.generation import find_form

    try:
        return find_form(model, _time_axis(model)).vocabulary
    except ExportError:
        return 0


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
