"""Does a pipeline graph answer as front end, model and decoder do one after the other?"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rnn_edge.contract import (
    AudioFrontEnd,
    ByteFrontEnd,
    CharacterFrontEnd,
    Contract,
    SeriesFrontEnd,
)
from rnn_edge.errors import VerificationError
from rnn_edge.runtime import LongSequenceWarning, Session
from rnn_edge.runtime.batches import Layout
from rnn_edge.runtime.decoders import Answer, LabelAnswer, TextAnswer, ValueAnswer
from rnn_edge.runtime.front_ends import text_ids
from rnn_edge.runtime.pipeline import padding_of, run_and_decode
from rnn_edge.runtime.pipeline_graph import PipelineGraph
from rnn_edge.verification.tolerance import FACTOR

_SEED = 31
# A person's texts hold these; most models have never seen them.
_TEXTS = (
    "a", "e\u0301\u0302", "one\r\ntwo\n", "\t \u00a0", "\U0001f469\u200d\U0001f680 \U0001f600!",
    "\u4f60\u597d", "\U0010ffff", "No. 7: 3.14, (x) \"y\" 'z'",
)  # fmt: skip
_LONGEST, _FRAMES = 40, 8
# Softmax and sums in float32, where the decoder has float64.
_RELATIVE = 1e-5


@dataclass(frozen=True)
class PipelineReport:
    """Rows that were compared, and the largest error of a number among their answers."""

    rows: int
    error: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Given:
    excerpt: str
    sequence: np.ndarray


def check_pipeline(
    graph: Session, model: Session, contract: Contract
) -> tuple[PipelineReport, Mapping[str, np.ndarray]]:
    """Compare ``graph`` with the front end and decoder of ``contract`` around ``model``.

    ``model`` itself is held against the eager module elsewhere. Gives a report and the inputs of
    a batch. Raises VerificationError naming the row.
    """
    layout = Layout.of(model.contract)
    samples = random_samples(contract, layout, np.random.default_rng(_SEED))
    pipeline = PipelineGraph(graph, contract)
    padding = padding_of(contract.front_end)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LongSequenceWarning)
        # Each alone, without padding: what stands behind a row's end must change no answer.
        right = [
            answer
            for sample in samples
            for answer in run_and_decode(model, contract.decoder, [sample], padding)
        ]
        answers = pipeline.answer(samples)
    worst, allowed = 0.0, _allowed(layout.output.dtype)
    for sample, expected, answer in zip(samples, right, answers, strict=True):
        worst = max(worst, _difference(answer, expected, sample, allowed))
    few = samples[:3] if len({len(sample.sequence) for sample in samples}) > 1 else samples[:1]
    return PipelineReport(len(samples), worst), pipeline.feed(few)


def random_samples(contract: Contract, layout: Layout, random: np.random.Generator) -> list[_Given]:
    """Raw inputs of several lengths that the model takes; texts among them with odd characters."""
    limits = contract.graphs["model"].axes.get(layout.sequence or "")
    least = limits.minimum if limits else 1
    known_limits = (limits.maximum, limits.trained_maximum) if limits else ()
    # Of sound, several frames.
    reach = least + max(_LONGEST, _FRAMES * least)
    most = min([reach, *(each for each in known_limits if each is not None)])
    most = max(least, most)
    front_end = contract.front_end
    if isinstance(front_end, CharacterFrontEnd | ByteFrontEnd):
        vocabulary = getattr(front_end, "vocabulary", "abcdefgh")
        known = [entry for entry in vocabulary if len(entry) == 1] or ["a"]
        texts = ["".join(random.choice(known, size)) for size in (least, most, (least + most) // 2)]
        found = [_Given(text, text_ids(front_end, text, "text")) for text in (*texts, *_TEXTS)]
        return [each for each in found if least <= len(each.sequence) <= most]
    dims = layout.data.dims
    if not layout.stands_row_after_row(front_end):
        fixed = [dim if isinstance(dim, int) else most for dim in dims[1:]]
        shapes = [fixed, fixed]
    else:
        sizes = [int(dim) for dim in dims[2:]]
        shapes = [[length, *sizes] for length in (least, most, (least + most) // 2, least + 1)]
        shapes = [shape for shape in shapes if shape[0] <= most]
    kind = np.dtype(layout.data.dtype)
    return [_Given("", _numbers(front_end, shape, random).astype(kind)) for shape in shapes]


def _numbers(front_end: Any, shape: Sequence[int], random: np.random.Generator) -> np.ndarray:
    """As an app may have them: in the front end's units."""
    drawn = random.uniform(-1, 1, shape)
    if isinstance(front_end, SeriesFrontEnd):
        return drawn * np.array(front_end.std) + np.array(front_end.mean)
    if isinstance(front_end, AudioFrontEnd):
        return drawn
    found: np.ndarray = (drawn + 1) / 2 * front_end.maximum
    return found


def _allowed(dtype: str) -> float:
    """A row in a batch may be rounded otherwise than alone, in the model's own dtype."""
    kind = np.dtype(dtype)
    return max(_RELATIVE, FACTOR * float(np.finfo(kind).eps) if kind.kind == "f" else 0.0)


def _difference(answer: Answer, expected: Answer, sample: _Given, allowed: float) -> float:
    """The largest error of a number; what is not a number must be the same."""
    found, right = (_numbers_of(each) for each in (answer, expected))
    if found.shape != right.shape or _words(answer) != _words(expected):
        raise VerificationError(
            f"pipeline.onnx must answer {_words(expected)!r:.80} as front end, model and decoder "
            f"do, got {_words(answer)!r:.80} for {sample.excerpt or sample.sequence.shape!r:.40}. "
            "Nothing that is wrong is to be shipped: report the model."
        )
    if not found.size:
        return 0.0
    error = float(np.max(np.abs(found - right)))
    if not error <= allowed * max(1.0, float(np.max(np.abs(right)))):
        raise VerificationError(
            f"numbers of pipeline.onnx must be those of front end, model and decoder, the error is "
            f"{error:.2g} for {sample.excerpt or sample.sequence.shape!r:.40}. "
            "Nothing that is wrong is to be shipped: report the model."
        )
    return error


def _numbers_of(answer: Answer) -> np.ndarray:
    if isinstance(answer, LabelAnswer):
        return answer.probabilities
    if isinstance(answer, ValueAnswer):
        return answer.values
    if isinstance(answer, TextAnswer):
        return np.array(answer.log_probabilities)
    return np.array([])


def _words(answer: Answer) -> Any:
    if isinstance(answer, TextAnswer):
        return answer.texts, answer.places
    return answer.columns if isinstance(answer, ValueAnswer) else answer.labels
