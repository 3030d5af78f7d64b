"""Does a graph that continues texts write what the one that continues ids writes?"""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnn_edge.contract import ByteFrontEnd, CharacterFrontEnd, Contract
from rnn_edge.errors import VerificationError
from rnn_edge.runtime import Session
from rnn_edge.runtime.generation import prompt_feed
from rnn_edge.verification.kept_inputs import repeat_kept
from rnn_edge.verification.pipeline import PipelineReport

_SEED = 37
_TRIALS: tuple[dict[str, Any], ...] = (
    {"temperature": 0.0, "max_new": 9},
    {"temperature": 1.2, "max_new": 14, "top_k": 7},
)


def check_texts(
    texts: Session, ids: Session, contract: Contract, golden: Mapping[str, np.ndarray]
) -> tuple[PipelineReport, Mapping[str, Any]]:
    """Compare ``texts`` with ``ids``, which is held against the eager module elsewhere.

    What stays the same is taken from ``golden``, inputs of ``ids``. Gives a report, and the inputs
    of a run. Raises VerificationError naming the prompt.
    """
    front_end = contract.front_end
    assert isinstance(front_end, CharacterFrontEnd | ByteFrontEnd)
    random = np.random.default_rng(_SEED)
    prompts = [*random_prompts(front_end, (1, 6, 3), random), "\U0010ffff?"]
    rows = [_ids(front_end, prompt) for prompt in prompts]
    tokens = np.full((len(rows), max(map(len, rows))), front_end.padding)
    for row, found in enumerate(rows):
        tokens[row, : len(found)] = found
    lengths = np.array([len(row) for row in rows])
    seeds = random.integers(0, 2**31, len(rows))
    name = ids.contract.inputs[0].name
    beside = {"seed": seeds, **repeat_kept(ids.contract, golden, len(rows))}
    for options in _TRIALS:
        given = {name: tokens, "lengths": lengths, **beside, **options}
        expected = ids.run_named(given)
        outputs = texts.run_named({**prompt_feed(texts, prompts), **beside, **options})
        for row, prompt in enumerate(prompts):
            written = expected["generated"][row, : expected["generated_lengths"][row]]
            text = _text(front_end, written.tolist())
            if outputs["text"][row] != text:
                raise VerificationError(
                    f"pipeline.onnx must write {text!r} after {prompt!r}, as generate.onnx does, "
                    f"got {outputs['text'][row]!r}. Nothing that is wrong is to be shipped: report "
                    "the model."
                )
    report = PipelineReport(len(_TRIALS) * len(prompts), 0.0)
    return report, {**prompt_feed(texts, prompts), **beside, **_TRIALS[0]}


def random_prompts(
    front_end: CharacterFrontEnd | ByteFrontEnd, sizes: Sequence[int], random: np.random.Generator
) -> list[str]:
    """Texts of so many characters that the model knows."""
    entries = getattr(front_end, "vocabulary", "\n aA\u00e9\u597d")
    known = [entry for entry in entries if len(entry) == 1] or ["a"]
    return ["".join(random.choice(known, size)) for size in sizes]


def _ids(front_end: CharacterFrontEnd | ByteFrontEnd, prompt: str) -> list[int]:
    if isinstance(front_end, ByteFrontEnd):
        return [byte + front_end.offset for byte in prompt.encode()]
    places = {entry: place for place, entry in enumerate(front_end.vocabulary) if len(entry) == 1}
    return [places.get(character, front_end.unknown) for character in prompt]


def _text(front_end: CharacterFrontEnd | ByteFrontEnd, ids: Sequence[int]) -> str:
    if isinstance(front_end, CharacterFrontEnd):
        return "".join(_character(front_end, place) for place in ids)
    # An unfinished character at the end is none yet.
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return decoder.decode(bytes(place - front_end.offset for place in ids))


def _character(front_end: CharacterFrontEnd, place: int) -> str:
    entry = front_end.vocabulary[place]
    if len(entry) == 1 or place not in (front_end.padding, front_end.unknown):
        return entry
    return "" if place == front_end.padding else "\N{REPLACEMENT CHARACTER}"
