"""Run exported graphs with numpy and onnxruntime alone; nothing here loads torch or onnx."""

from rnn_edge.runtime.feed import LongSequenceWarning
from rnn_edge.runtime.generation import Sampling
from rnn_edge.runtime.pipeline import Pipeline
from rnn_edge.runtime.session import Session
from rnn_edge.runtime.stream_pool import StreamPool
from rnn_edge.runtime.stream_session import StreamSession

__all__ = [
    "LongSequenceWarning",
    "Pipeline",
    "Sampling",
    "Session",
    "StreamPool",
    "StreamSession",
]
