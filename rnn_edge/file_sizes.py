"""The sizes that a file from elsewhere takes and gives, found by running it."""

from __future__ import annotations

import numpy as np

from rnn_edge.errors import InputError
from rnn_edge.runtime import Session
from rnn_edge.runtime.batches import Layout

# Steps beyond which it is not asked.
_MOST = 1 << 13


def find_least_steps(session: Session) -> int:
    """The fewest steps of one row that the graph runs on; 1 where it runs on none that is tried."""
    low, high = 0, 1
    while not _runs(session, high):
        low, high = high, 2 * high
        if high > _MOST:
            return 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _runs(session, middle) else (middle, high)
    return high


def count_frames(session: Session, steps: int) -> int | None:
    """Frames of the first output, [batch, frames, ...], for a row of ``steps``.

    None where the graph does not take so many.
    """
    found = _answer(session, steps)
    return found.shape[0] if found is not None and found.ndim > 1 else None


def _runs(session: Session, steps: int) -> bool:
    return _answer(session, steps) is not None


def _answer(session: Session, steps: int) -> np.ndarray | None:
    layout = Layout.of(session.contract)
    dims = layout.data.dims
    apart = {layout.batch, layout.sequence}
    sizes = [dim for dim in dims if isinstance(dim, int) and dim not in apart]
    row = np.zeros((steps, *sizes), layout.data.dtype)
    try:
        return layout.run(session, [row], 0)[0]
    except InputError:
        return None
