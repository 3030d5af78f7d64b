"""Does a generating graph write what the module would? Each row again, by the eager module."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rnn_edge.contract import GraphContract, TensorSpec
from rnn_edge.errors import VerificationError
from rnn_edge.graphs.generation.form import BATCH
from rnn_edge.graphs.generation.model import name_beside
from rnn_edge.runtime import Session
from rnn_edge.verification.language_oracle import LanguageOracle
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


def check_generation(
    session: Session, model: GraphContract, oracle: LanguageOracle, never: Sequence[int]
) -> tuple[GenerationReport, Arrays]:
    """Compare every row that ``session`` writes with ``oracle``, one row at a time.

    The eager module reads prompt and written ids at once: its log-probabilities of those ids, its
    likeliest ids at temperature 0 and its states must be the graph's. ``model`` is the contract of
    the module's own graph. Gives a report, and the inputs of the first trial. Raises
    VerificationError.
    """
    random = np.random.default_rng(_SEED)
    tried = (*_TRIALS, *(_SEARCHES if _searches(session) else ()))
    trials = [_feed(session.contract, model, oracle, trial, random) for trial in tried]
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
    oracle: LanguageOracle,
    trial: tuple[tuple[int, ...], dict[str, float]],
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
            feed[spec.name] = _draw_state(spec, len(lengths), random)
    others = oracle.draw_others(len(lengths), random)
    return feed | {name_beside(spec): others[spec.name] for spec in oracle.others}


def _draw_state(spec: TensorSpec, rows: int, random: np.random.Generator) -> np.ndarray:
    shape = [rows if isinstance(dim, str) else dim for dim in spec.dims]
    if not spec.dtype.startswith("float"):
        return np.zeros(shape, spec.dtype)  # a count starts where it starts
    return random.uniform(-1, 1, shape).astype(spec.dtype)


def _check_row(
    session: Session,
    model: GraphContract,
    oracle: LanguageOracle,
    never: Sequence[int],
    feed: Arrays,
    outputs: Arrays,
    row: int,
) -> Iterator[tuple[str, float]]:
    asked = _Row(session.contract, model, feed, row)
    written = outputs["generated"][row, : outputs["generated_lengths"][row]]
    told = oracle.tell([*asked.prompt, *written[:-1]], asked.given(oracle), len(written))
    own, truth = (_normalized(logits, never) for logits in (told.logits.own, told.logits.truth))
    places = np.arange(len(written)), written
    deviation = compare(
        outputs["log_probabilities"][row, : len(written)].astype(np.float32),
        own[places].astype(np.float32),
        truth[places],
        told.logits.sensitivity,
    )
    _hold(deviation.error, deviation.tolerance, "log_probabilities", feed, row)
    yield "log_probabilities", deviation.error
    if feed.get("beams", 1) > 1:
        lost = _likeliest(asked, oracle, never) - float(truth[places].sum())
        _hold(lost, 2 * len(written) * deviation.tolerance, "generated", feed, row)
    elif feed.get("temperature", 1) == 0:
        lost = float(np.max(truth.max(axis=1) - truth[places]))
        _hold(lost, 2 * deviation.tolerance, "generated", feed, row)
    for pair in model.states:
        answer, spec = told.states[pair.output], model.output(pair.output)
        found = _own_row(outputs[spec.name], session.contract.output(spec.name), spec, row)
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

    @property
    def prompt(self) -> list[int]:
        ids: list[int] = self.feed[self.contract.inputs[0].name][self.row].tolist()
        return ids[: self.feed["lengths"][self.row]]

    def given(self, oracle: LanguageOracle) -> Arrays:
        """States and what the module reads once, by its names."""
        states = {pair.input: self.model.input(pair.input) for pair in self.model.states}
        named = states | {name_beside(spec): spec for spec in oracle.others}
        return {
            spec.name: _own_row(self.feed[name], self.contract.input(name), spec, self.row)
            for name, spec in named.items()
        }


def _likeliest(asked: _Row, oracle: LanguageOracle, never: Sequence[int]) -> float:
    """The log-probability of the likeliest text that a beam search finds with ``oracle``."""
    beams, end = int(asked.feed["beams"]), int(asked.feed.get("end", -1))
    texts: list[list[int]] = [[]]
    scores, given = np.zeros(1), asked.given(oracle)
    for _ in range(int(asked.feed["max_new"])):
        told = [oracle.tell([*asked.prompt, *text], given, 1).logits.truth for text in texts]
        chances = _normalized(np.concatenate(told), never)
        over = [text[-1:] == [end] for text in texts]
        chances[over] = -np.inf
        chances[over, end] = 0
        totals = (scores[:, np.newaxis] + chances).reshape(-1)
        best = np.argsort(-totals, kind="stable")[:beams]
        parents, ids = np.divmod(best, chances.shape[1])
        texts = [
            [*texts[parent], place] for parent, place in zip(parents, ids.tolist(), strict=True)
        ]
        scores = totals[best]
    return float(scores[0])


def _searches(session: Session) -> bool:
    return any(spec.name == "beams" for spec in session.contract.inputs)


def _own_row(array: np.ndarray, spec: TensorSpec, own: TensorSpec, row: int) -> np.ndarray:
    """Row ``row`` of a tensor of ``spec``, as a module takes it whose tensor is ``own``."""
    if BATCH not in spec.dims:
        return array
    return array.take([row], spec.dims.index(BATCH)).reshape(
        [1 if isinstance(dim, str) else dim for dim in own.dims]
        if len(own.dims) < len(spec.dims)
        else [1 if dim == BATCH else size for dim, size in zip(spec.dims, array.shape, strict=True)]
    )


def _normalized(logits: np.ndarray, never: Sequence[int]) -> np.ndarray:
    """Log-probabilities float64[count, vocabulary] of what was written."""
    last = logits.astype(np.float64)
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
