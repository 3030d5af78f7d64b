"""What generate.onnx and pipeline.onnx of a quantised bundle lose beside float32."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from rnn_edge.bundle import Bundle, golden_sets_in
from rnn_edge.contract import ByteFrontEnd, CharacterFrontEnd, NextCharacterDecoder
from rnn_edge.quantization.comparison import Loss, loss_of, random_feeds
from rnn_edge.runtime import Session
from rnn_edge.runtime.batches import Layout, answering_graph
from rnn_edge.runtime.generation import prompt_feed
from rnn_edge.runtime.pipeline_graph import PIPELINE, PipelineGraph
from rnn_edge.verification.golden import read_golden_set, run_at
from rnn_edge.verification.kept_inputs import repeat_kept
from rnn_edge.verification.pipeline import random_samples
from rnn_edge.verification.written_texts import random_prompts

_GENERATE = "generate"
# What a pipeline of a decoder of texts gives first.
_TEXT = "written"
_SEED = 11
_PROMPTS, _LONGEST_PROMPT, _WRITTEN = 16, 8, 32
_BATCHES = 8
Arrays = dict[str, np.ndarray]


def compare_graphs(one: Bundle, other: Bundle) -> list[Loss]:
    """The loss of what each of the two graphs is there for, where the bundle has it.

    Of a graph that writes: the log-probabilities of the ids that both take at temperature 0 after
    the same prompt, up to the first that differs, in units of the logits' standard deviation. Of
    another pipeline: the share of its labels that change, or of the characters of its text, or the
    relative error of its numbers, as Loss has it.
    """
    losses = []
    for name in (_GENERATE, PIPELINE):
        if name not in one.contract.graphs:
            continue
        pair = [Session(each, graph=name, threads=1) for each in (one, other)]
        if name == _GENERATE or isinstance(one.contract.decoder, NextCharacterDecoder):
            feed = _ids(pair[0], one) if name == _GENERATE else _texts(pair[0], one)
            found = [_named(session, feed) for session in pair]
            losses.append(_written(found[0], found[1], _spread(one), one.graph(name).file))
        else:
            losses.append(_answered(pair[0], pair[1], one))
    return losses


def _ids(session: Session, bundle: Bundle) -> Arrays:
    random, tokens = np.random.default_rng(_SEED), session.contract.inputs[0]
    low, high = int(tokens.minimum or 0), int(tokens.maximum or 0)
    ids = random.integers(low, high, (_PROMPTS, _LONGEST_PROMPT), endpoint=True)
    lengths = random.integers(1, _LONGEST_PROMPT, _PROMPTS, endpoint=True)
    golden, _ = read_golden_set(golden_sets_in(bundle.path / _GENERATE)[0], session.contract)
    beside = repeat_kept(session.contract, golden, _PROMPTS)
    return {**_options(), tokens.name: ids, "lengths": lengths, **beside}


def _texts(session: Session, bundle: Bundle) -> Arrays:
    random, front_end = np.random.default_rng(_SEED), bundle.contract.front_end
    assert isinstance(front_end, CharacterFrontEnd | ByteFrontEnd)
    sizes = random.integers(1, _LONGEST_PROMPT, _PROMPTS, endpoint=True)
    prompts = random_prompts(front_end, sizes.tolist(), random)
    contract = bundle.graph(_GENERATE)
    golden, _ = read_golden_set(golden_sets_in(bundle.path / _GENERATE)[0], contract)
    beside = repeat_kept(contract, golden, _PROMPTS)
    return {**_options(), **prompt_feed(session, prompts), **beside}


def _options() -> Arrays:
    return {
        "seed": np.zeros(_PROMPTS, np.int64),
        "temperature": np.array(0, np.float32),
        "max_new": np.array(_WRITTEN),
    }


def _written(truth: Arrays, found: Arrays, spread: float, file: str) -> Loss:
    output = f"log-probabilities of {file}"
    errors = []
    for row, ids in enumerate(truth["generated"]):
        others = found["generated"][row]
        if ids.shape != others.shape:
            return Loss(output, "other shapes", math.inf, math.inf)
        # The likeliest of both may be compared still where it is another id, but nothing behind.
        differs = np.flatnonzero(ids != others)
        end = differs[0] + 1 if differs.size else len(ids)
        chances = (each["log_probabilities"][row, :end] for each in (truth, found))
        errors.append(np.subtract(*chances, dtype=np.float64))
    joined = np.concatenate(errors)
    drop = float(np.sqrt(np.mean(joined**2))) / spread
    largest = float(np.abs(joined).max())
    return Loss(output, "relative error", drop if math.isfinite(drop) else math.inf, largest)


def _spread(bundle: Bundle) -> float:
    """The standard deviation of the model's logits."""
    session = Session(bundle, threads=1, quantised=False)
    logits = [run_at(session, feed)[0].ravel() for feed in random_feeds(bundle, bundle.graph())]
    return float(np.concatenate(logits).astype(np.float64).std()) or 1.0


def _answered(one: Session, other: Session, bundle: Bundle) -> Loss:
    names = [spec.name for spec in one.contract.outputs]
    # Of a transcript, what begins at each frame: a text is another by one frame alone.
    name = "labels" if "labels" in names else names[0]
    pairs, error = [], 0.0
    for feed in _raw_feeds(one, bundle):
        truth, found = _named(one, feed), _named(other, feed)
        pairs.append(_comparable(truth[name], found[name], name))
        error = max([error, *_number_errors(truth, found)])
    loss = loss_of(f"{name} of {one.contract.file}", pairs, labelled=False)
    return replace(loss, error=error)


def _raw_feeds(session: Session, bundle: Bundle) -> Iterator[Mapping[str, np.ndarray]]:
    for place in golden_sets_in(bundle.path / PIPELINE):
        yield read_golden_set(place, session.contract)[0]
    pipeline = PipelineGraph(session, bundle.contract)
    layout, random = Layout.of(answering_graph(bundle.contract)), np.random.default_rng(_SEED)
    for _ in range(_BATCHES):
        yield pipeline.feed(random_samples(bundle.contract, layout, random))


def _number_errors(truth: Arrays, found: Arrays) -> Iterator[float]:
    for name, right in truth.items():
        if right.dtype.kind == "f" and right.shape == found[name].shape:
            yield float(np.nan_to_num(np.abs(right - found[name])).max(initial=0.0))


def _comparable(truth: np.ndarray, found: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Texts by their characters; of numbers, a row without an answer is 0."""
    if truth.dtype.kind == "f":
        return np.nan_to_num(truth), np.nan_to_num(found)
    if name != _TEXT:
        return truth, found
    width = max(len(str(text)) for text in (*truth, *found))
    one, other = (
        np.array([list(str(text).ljust(width)) for text in each], "U1") for each in (truth, found)
    )
    return one, other


def _named(session: Session, feed: Mapping[str, np.ndarray]) -> Arrays:
    names = [spec.name for spec in session.contract.outputs]
    return dict(zip(names, run_at(session, dict(feed)), strict=True))
