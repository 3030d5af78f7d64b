"""Streaming: a whole-sequence graph becomes one that takes chunks and carries its state."""

from rnn_edge.graphs.streaming.step import STEP_FILE, derive_step, is_worth_its_weights
from rnn_edge.graphs.streaming.stream import STREAM_FILE, Stream, derive_stream, find_time_axis

__all__ = [
    "STEP_FILE",
    "STREAM_FILE",
    "Stream",
    "derive_step",
    "derive_stream",
    "find_time_axis",
    "is_worth_its_weights",
]
