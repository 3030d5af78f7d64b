"""A graph for single frames against the eager module, frame after frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np

from rnn_edge.contract import GraphContract
from rnn_edge.runtime import Session
from rnn_edge.verification.cases import Case
from rnn_edge.verification.chunks import check_stream
from rnn_edge.verification.single_rows import session_for_rows

# Frames of the longest sequence that is run through.
_MOST = 256


class _AsStream:
    """A step graph that says of itself what its stream graph says."""

    def __init__(self, step: Session, contract: GraphContract) -> None:
        self.contract = contract
        self._step = session_for_rows(step, contract)

    def run(self, *arrays: Any) -> list[np.ndarray]:
        answers: list[np.ndarray] = self._step.run(*arrays)
        return answers


def check_single_steps(
    step: Session, stream: GraphContract, whole: Session, cases: Sequence[Case]
) -> None:
    """Run every case frame by frame; ``stream`` is the contract of the graph that takes chunks.

    Raises VerificationError at the first answer that is off.
    """
    rule = stream.stream
    assert rule is not None
    short = [case for case in cases if case.sizes[rule.axis] <= _MOST]
    check_stream(cast(Session, _AsStream(step, stream)), whole, short, _cut)


def _cut(steps: int, _: np.random.Generator) -> Iterator[tuple[str, list[int]]]:
    yield "single steps, step graph", [1] * steps
