"""How far a stream is from the truth after ten, a hundred, a thousand steps, and so on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from rnn_edge.contract import AxisLimits
from rnn_edge.errors import InputError, VerificationError
from rnn_edge.runtime import Session
from rnn_edge.verification.chunks import run_in_chunks, take_frames
from rnn_edge.verification.golden import run_at
from rnn_edge.verification.oracle import Oracle
from rnn_edge.verification.report import Drift
from rnn_edge.verification.sampling import Arrays, sample_inputs
from rnn_edge.verification.tolerance import compare

_SEED = 22
# Frames of the chunks that are compared with single steps; a prime fits into no horizon.
CHUNK = 97


def measure_drift(
    stream: Session, whole: Session, oracle: Oracle, examples: Arrays, most: int
) -> tuple[Drift, ...]:
    """Stream one row of random frames, in single steps and in chunks, at each horizon up to most.

    Raises VerificationError where a stream is off by more than float32 torch explains, InputError
    where the whole sequence may not be so long.
    """
    rule = stream.contract.stream
    assert rule is not None
    limits = whole.contract.axes.get(rule.axis, AxisLimits())
    if most < limits.minimum or (limits.maximum is not None and most > limits.maximum):
        raise InputError(
            f"horizon must be {limits.minimum} to {limits.maximum or 'any number of'} steps, "
            f"got {most}. Choose another."
        )
    sizes = {
        dim: whole.contract.axes.get(dim, AxisLimits()).minimum
        for spec in whole.contract.inputs
        for dim in spec.dims
        if isinstance(dim, str)
    }
    found: list[Drift] = []
    for steps in horizons(most, limits.minimum):
        inputs = sample_inputs(
            whole.contract,
            examples,
            {**sizes, rule.axis: steps},
            np.random.default_rng(_SEED),
            full_lengths=True,
        )
        found += _measure_at(stream, whole, oracle, inputs, steps)
    return tuple(found)


def horizons(most: int, least: int = 1) -> list[int]:
    """10, 100, 1,000 and so on, below ``most``, and ``most`` itself."""
    powers = [10**power for power in range(1, 10)]
    return [steps for steps in powers if least <= steps < most] + [most]


def _measure_at(
    stream: Session, whole: Session, oracle: Oracle, inputs: Arrays, steps: int
) -> Iterator[Drift]:
    rule = stream.contract.stream
    assert rule is not None
    answers = oracle.answer(inputs)
    offline = run_at(whole, inputs)
    rest = [steps % CHUNK] if steps % CHUNK else []
    ways: tuple[tuple[str, Sequence[int]], ...] = (
        ("single steps", [1] * steps),
        (f"chunks of {CHUNK}", [CHUNK] * (steps // CHUNK) + rest),
    )
    for words, chunks in ways:
        pieces = run_in_chunks(stream, inputs, chunks)
        for spec, answer, array in zip(whole.contract.outputs, answers, offline, strict=True):
            piece = pieces[spec.name]
            own, truth, all_at_once = (
                take_frames(stream.contract.output(spec.name), rule, each, piece)
                for each in (answer.own, answer.truth, array)
            )
            deviation = compare(piece, own, truth, answer.sensitivity)
            if not deviation.allowed:
                raise VerificationError(
                    f"output {spec.name!r} after {steps} steps ({words}) must be within "
                    f"{deviation.tolerance:.2g} of {oracle.kind}, error is {deviation.error:.2g}. "
                    "Reset the stream more often, or run it on whole sequences."
                )
            yield Drift(
                spec.name, steps, words, deviation.error,
                compare(all_at_once, own, truth).error,
                deviation.noise, deviation.tolerance,
                compare(piece, all_at_once, all_at_once).error,
            )  # fmt: skip
