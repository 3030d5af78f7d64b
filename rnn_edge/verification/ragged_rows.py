"""Whether each row of a graph may be run cut to its length, found by running it so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rnn_edge.contract import GraphContract
from rnn_edge.errors import InputError
from rnn_edge.runtime import Session
from rnn_edge.runtime.ragged import RaggedBatches
from rnn_edge.verification.cases import Case
from rnn_edge.verification.golden import run_at
from rnn_edge.verification.sampling import sample_inputs
from rnn_edge.verification.tolerance import FLOOR

# Of the largest number of an output, in units of what its dtype is allowed at the least.
_NOISE = 10
_ROWS = 6
_SEED = 5


def are_rows_apart(session: Session, graph: GraphContract, cases: Sequence[Case]) -> bool:
    """Run inputs like those of ``cases`` with rows two by two, cut to the longer one, and together.

    Padding holds random values there, so that an answer that depends on it is seen. False where no
    input has rows of different lengths.
    """
    batches = RaggedBatches.of(replace(graph, ragged=True))
    if batches is None:
        return False
    rows = str(graph.input(batches.lengths).dims[0])
    random = np.random.default_rng(_SEED)
    tried = 0
    for sizes in {tuple(sorted({**case.sizes, rows: _ROWS}.items())) for case in cases}:
        feed = sample_inputs(graph, cases[0].inputs, dict(sizes), random)
        lengths = feed[batches.lengths]
        order = np.argsort(-lengths, kind="stable")
        parts = [order[start : start + 2] for start in range(0, len(order), 2)]
        try:
            whole = run_at(session, feed)
            apart = batches.run_parts(feed, parts, lambda part: run_at(session, part))
        except InputError:
            return False
        if apart is not None and not all(map(_equal, whole, apart)):
            return False
        tried += apart is not None and bool(np.ptp(lengths))
    return tried > 0


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    if one.shape != other.shape:
        return False
    if one.dtype.kind != "f":
        return bool(np.array_equal(one, other))
    allowed = _NOISE * FLOOR[str(one.dtype)] * max(1.0, float(np.abs(one).max(initial=0)))
    return bool(np.allclose(one, other, rtol=0, atol=allowed, equal_nan=True))
