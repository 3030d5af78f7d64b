"""Any PyTorch recurrent model becomes one folder that any app can run.

Names are resolved when first used, so that ``rnn_edge.Session`` never loads torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rnn_edge.version import VERSION

if TYPE_CHECKING:
    from rnn_edge.bundle import Bundle
    from rnn_edge.checkpoint import load_checkpoint
    from rnn_edge.errors import RnnEdgeError
    from rnn_edge.exporting import export
    from rnn_edge.profiling import profile
    from rnn_edge.quantization import quantize
    from rnn_edge.runtime import Session, StreamPool, StreamSession
    from rnn_edge.stream_file import derive_stream
    from rnn_edge.training import train
    from rnn_edge.tuning import tune
    from rnn_edge.verification import verify

__version__ = VERSION

_HOME = {
    "Bundle": "rnn_edge.bundle",
    "RnnEdgeError": "rnn_edge.errors",
    "Session": "rnn_edge.runtime.session",
    "StreamPool": "rnn_edge.runtime.stream_pool",
    "StreamSession": "rnn_edge.runtime.stream_session",
    "derive_stream": "rnn_edge.stream_file",
    "export": "rnn_edge.exporting",
    "load_checkpoint": "rnn_edge.checkpoint",
    "profile": "rnn_edge.profiling",
    "quantize": "rnn_edge.quantization",
    "train": "rnn_edge.training",
    "tune": "rnn_edge.tuning",
    "verify": "rnn_edge.verification",
}

__all__ = [
    "Bundle",
    "RnnEdgeError",
    "Session",
    "StreamPool",
    "StreamSession",
    "__version__",
    "derive_stream",
    "export",
    "load_checkpoint",
    "profile",
    "quantize",
    "train",
    "tune",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rnn_edge' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
