"""Run exported graphs with numpy and onnxruntime alone; nothing here loads torch or onnx.

Names are resolved when first used: a program that runs whole sequences loads nothing of streams.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rnn_edge.runtime.feed import LongSequenceWarning
    from rnn_edge.runtime.generation import Sampling
    from rnn_edge.runtime.pipeline import Pipeline
    from rnn_edge.runtime.session import Session
    from rnn_edge.runtime.stream_pool import StreamPool
    from rnn_edge.runtime.stream_session import StreamSession

_HOME = {
    "LongSequenceWarning": "feed",
    "Pipeline": "pipeline",
    "Sampling": "generation",
    "Session": "session",
    "StreamPool": "stream_pool",
    "StreamSession": "stream_session",
}

__all__ = [
    "LongSequenceWarning",
    "Pipeline",
    "Sampling",
    "Session",
    "StreamPool",
    "StreamSession",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rnn_edge.runtime' has no attribute {name!r}")
    return getattr(import_module(f"rnn_edge.runtime.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
