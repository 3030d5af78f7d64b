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
    trials = [_feed(session.contract, model, trial, examples, random) for trial in _TRIALS]
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
    tokens = session.contract.inputs[0].name
    prompt = feed[tokens][row, : feed["lengths"][row]]
    written = outputs["generated"][row, : outputs["generated_lengths"][row]]
    read = np.concatenate([prompt, written[:-1]])[np.newaxis]
    states = {
        pair.input: feed[pair.input].take([row], pair.batch_axis)
        for pair in model.states
        if pair.batch_axis is not None
    }
    beside = {
        spec.name: feed[name].take([row], spec.dims.index("batch"))
        if "batch" in spec.dims
        else feed[name]
        for name, spec in _beside(session.contract, model).items()
    }
    given = {tokens: read} | states | beside
    answers = oracle.answer({spec.name: given[spec.name] for spec in model.inputs})
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
    if feed["temperature"] == 0:
        lost = float(np.max(truth.max(axis=1) - truth[places]))
        _hold(lost, 2 * deviation.tolerance, "generated", feed, row)
    names = [spec.name for spec in model.outputs]
    for pair in model.states:
        answer = answers[names.index(pair.output)]
        found = outputs[pair.output].take([row], pair.batch_axis or 0)
        deviation = compare(found, answer.own, answer.truth, answer.sensitivity)
        _hold(deviation.error, deviation.tolerance, pair.output, feed, row)
        yield "states", deviation.error


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
