"""Streaming: a whole-sequence graph becomes one that takes chunks and carries its state."""

from rnn_edge.graphs.streaming.step import (
    STEP_FILE,
    choose_step,
    derive_single_row,
    derive_step,
)
from rnn_edge.graphs.streaming.stream import STREAM_FILE, Stream, derive_stream, find_time_axis

__all__ = [
    "STEP_FILE",
    "STREAM_FILE",
    "Stream",
    "choose_step",
    "derive_single_row",
    "derive_step",
    "derive_stream",
    "find_time_axis",
]
