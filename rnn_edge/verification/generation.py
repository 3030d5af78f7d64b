"""Does a generating graph write what the module would? Each row again, by the eager module."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np

from rnn_edge.contract import AxisLimits, GraphContract, TensorSpec
from rnn_edge.errors import VerificationError
from rnn_edge.graphs.generation.model import name_beside
from rnn_edge.runtime import Session
from rnn_edge.verification.cases import Answer
from rnn_edge.verification.sampling import sample_inputs
from rnn_edge.verification.tolerance import compare

_SEED = 29
# Lengths of the prompts of each batch, and the options that are not the defaults.
_TRIALS: tuple[tuple[tuple[int, ...], dict[str, float]], ...] = (
    ((5, 1, 3), {"temperature": 0, "max_new": 9}),
    ((1,), {"temperature": 0, "max_new": 1}),
    ((3,), {"temperature": 0, "max_new": 7}),
    ((6,), {"temperature": 0.9, "top_k": 4, "max_new": 6}),
    ((2, 7), {"temperature": 1.3, "max_new": 12}),
    ((4, 4, 2, 9), {"temperature": 0.8, "top_k": 5, "top_p": 0.9, "max_new": 8}),
)
# Where the graph looks for the likeliest text as well.
_SEARCHES: tuple[tuple[tuple[int, ...], dict[str, float]], ...] = (
    ((2, 4), {"beams": 3, "max_new": 6, "end": 1}),
    ((1,), {"beams": 2, "max_new": 5}),
)
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class GenerationReport:
    """The worst errors against the eager module that is given the prompt and what was written."""

    rows: int
    written: int
    log_probability_error: float
    state_error: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Answering(Protocol):
    """Who knows the right answers: an Oracle, or what stands for one."""

    def answer(self, inputs: Arrays) -> list[Answer]:
        """The model's outputs for ``inputs``, in the order of its contract."""


def check_generation(
    session: Session,
    model: GraphContract,
    oracle: Answering,
    never: Sequence[int],
    examples: Mapping[str, np.ndarray],
) -> tuple[GenerationReport, Arrays]:
    """Compare every row that ``session`` writes with ``oracle``, one row at a time.

    The eager module reads prompt and written ids at once: its log-probabilities of those ids, its
    likeliest ids at temperature 0 and its states must be the graph's. ``model`` is the contract of
    the module's own graph; what stays the same while it writes is drawn as ``examples`` are, by
    name, as far as there are such. Gives a report, and the inputs of the first trial. Raises
    VerificationError.
    """
    random = np.random.default_rng(_SEED)
    tried = (*_TRIALS, *(_SEARCHES if _searches(session) else ()))
    trials = [_feed(session.contract, model, trial, examples, random) for trial in tried]
    worst = {"log_probabilities": 0.0, "states": 0.0}
    rows = written = 0
    for feed in trials:
        outputs = session.run_named(feed)
        for row in range(len(feed["lengths"])):
            rows += 1
            written += int(outputs["generated_lengths"][row])
            for what, error in _check_row(session, model, oracle, never, feed, outputs, row):
                worst[what] = max(worst[what], error)
    report = GenerationReport(rows, written, worst["log_probabilities"], worst["states"])
    return report, trials[0]


def _feed(
    contract: GraphContract,
    model: GraphContract,
    trial: tuple[tuple[int, ...], dict[str, float]],
    examples: Mapping[str, np.ndarray],
    random: np.random.Generator,
) -> Arrays:
    """Prompts, options, what stays the same, and the states that the eager module takes; it starts
    others itself."""
    lengths, options = trial
    tokens = contract.inputs[0]
    low, high = int(tokens.minimum or 0), int(tokens.maximum or 0)
    ids = random.integers(low, high + 1, (len(lengths), max(lengths)))
    feed = {tokens.name: ids, "lengths": np.array(lengths)}
    feed["seed"] = random.integers(0, 2**31, len(lengths))
    for name, value in options.items():
        feed[name] = np.array(value, contract.input(name).dtype)
    for spec in contract.inputs:
        if spec.name in model.state_inputs:
            shape = [len(lengths) if isinstance(dim, str) else dim for dim in spec.dims]
            feed[spec.name] = random.uniform(-1, 1, shape).astype(spec.dtype)
    return feed | _draw_beside(contract, model, len(lengths), examples, random)


def _draw_beside(
    contract: GraphContract,
    model: GraphContract,
    rows: int,
    examples: Mapping[str, np.ndarray],
    random: np.random.Generator,
) -> Arrays:
    beside = _beside(contract, model)
    if not beside:
        return {}
    sizes = {"batch": rows}
    for spec in beside.values():
        for dim in spec.dims:
            if isinstance(dim, str) and dim not in sizes:
                limits = contract.axes.get(dim, AxisLimits())
                least, most = max(1, limits.minimum), limits.maximum or math.inf
                sizes[dim] = int(min(least + random.integers(8), most))
    given = {
        name: examples.get(spec.name, np.zeros([1] * len(spec.dims), spec.dtype))
        for name, spec in beside.items()
    }
    inputs = tuple(contract.input(name) for name in beside)
    return sample_inputs(replace(contract, inputs=inputs), given, sizes, random)


def _beside(contract: GraphContract, model: GraphContract) -> dict[str, TensorSpec]:
    """What the module is given that stays the same while it writes, by the generator's names."""
    tokens = contract.inputs[0].name
    return {
        name_beside(spec): spec
        for spec in model.inputs
        if spec.name != tokens and spec.name not in model.state_inputs
    }


def _check_row(
    session: Session,
    model: GraphContract,
    oracle: Answering,
    never: Sequence[int],
    feed: Arrays,
    outputs: Arrays,
    row: int,
) -> Iterator[tuple[str, float]]:
    asked = _Row(session.contract, model, feed, row)
    written = outputs["generated"][row, : outputs["generated_lengths"][row]]
    answers = oracle.answer(asked.given(written[np.newaxis, :-1]))
    own, truth = (
        _after_prompt(logits, len(written), never) for logits in (answers[0].own, answers[0].truth)
    )
    places = np.arange(len(written)), written
    deviation = compare(
        outputs["log_probabilities"][row, : len(written)].astype(np.float32),
        own[places].astype(np.float32),
        truth[places],
        answers[0].sensitivity,
    )
    _hold(deviation.error, deviation.tolerance, "log_probabilities", feed, row)
    yield "log_probabilities", deviation.error
    if feed.get("beams", 1) > 1:
        lost = _likeliest(asked, oracle, never) - float(truth[places].sum())
        _hold(lost, 2 * len(written) * deviation.tolerance, "generated", feed, row)
    elif feed.get("temperature", 1) == 0:
        lost = float(np.max(truth.max(axis=1) - truth[places]))
        _hold(lost, 2 * deviation.tolerance, "generated", feed, row)
    names = [spec.name for spec in model.outputs]
    for pair in model.states:
        answer = answers[names.index(pair.output)]
        found = outputs[pair.output].take([row], pair.batch_axis or 0)
        deviation = compare(found, answer.own, answer.truth, answer.sensitivity)
        _hold(deviation.error, deviation.tolerance, pair.output, feed, row)
        yield "states", deviation.error


@dataclass(frozen=True)
class _Row:
    """What the eager module is given for one row of a generator's inputs."""

    contract: GraphContract
    model: GraphContract
    feed: Arrays
    row: int

    def given(self, written: np.ndarray) -> Arrays:
        """The module's inputs for texts of ``written``, int64[texts, steps], behind the prompt."""
        tokens = self.contract.inputs[0].name
        prompt = self.feed[tokens][self.row, : self.feed["lengths"][self.row]]
        prompts = np.broadcast_to(prompt, (len(written), len(prompt)))
        found = {tokens: np.concatenate([prompts, written], axis=1)}
        for pair in self.model.states:
            if pair.batch_axis is not None:
                found[pair.input] = self._of_row(pair.input, pair.batch_axis, len(written))
        for name, spec in _beside(self.contract, self.model).items():
            found[spec.name] = (
                self._of_row(name, spec.dims.index("batch"), len(written))
                if "batch" in spec.dims
                else self.feed[name]
            )
        return {spec.name: found[spec.name] for spec in self.model.inputs}

    def _of_row(self, name: str, axis: int, times: int) -> np.ndarray:
        return self.feed[name].take([self.row] * times, axis)


def _likeliest(asked: _Row, oracle: Answering, never: Sequence[int]) -> float:
    """The log-probability of the likeliest text that a beam search finds with ``oracle``."""
    beams, end = int(asked.feed["beams"]), int(asked.feed.get("end", -1))
    texts, scores = np.zeros((1, 0), np.int64), np.zeros(1)
    for _ in range(int(asked.feed["max_new"])):
        logits = oracle.answer(asked.given(texts))[0].truth[:, -1].astype(np.float64)
        logits[:, list(never)] = -np.inf
        chances = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        if texts.shape[1]:
            over = texts[:, -1] == end
            chances[over] = -np.inf
            chances[over, end] = 0
        totals = (scores[:, np.newaxis] + chances).reshape(-1)
        best = np.argsort(-totals, kind="stable")[:beams]
        parents, ids = np.divmod(best, chances.shape[1])
        texts = np.concatenate([texts[parents], ids[:, np.newaxis]], axis=1)
        scores = totals[best]
    return float(scores[0])


def _searches(session: Session) -> bool:
    return any(spec.name == "beams" for spec in session.contract.inputs)


def _after_prompt(logits: np.ndarray, count: int, never: Sequence[int]) -> np.ndarray:
    """Log-probabilities float64[count, vocabulary] of what was written."""
    last = logits[0, -count:].astype(np.float64)
    last[:, list(never)] = -np.inf
    last = last - last.max(axis=1, keepdims=True)
    result: np.ndarray = last - np.log(np.exp(last).sum(axis=1, keepdims=True))
    return result


def _hold(error: float, tolerance: float, output: str, feed: Arrays, row: int) -> None:
    if error > tolerance:
        raise VerificationError(
            f"{output!r} of generate.onnx must be within {tolerance:.2g} of the eager module, "
            f"error is {error:.2g} in row {row} of prompts of {feed['lengths'].tolist()} ids. "
            "Nothing that is wrong is to be shipped: export without the decoder, or in float32."
        )
