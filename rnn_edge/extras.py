"""Optional dependencies: import one, or say in one line what to install."""

from __future__ import annotations

import importlib
from types import ModuleType

from rnn_edge.errors import MissingExtraError

# The extra of pyproject.toml that brings each importable module.
EXTRA_OF = {
    "onnxruntime": "cpu",
    "torch": "export",
    "onnx": "export",
    "onnx_ir": "export",
    "onnxscript": "export",
    "jinja2": "integrate",
    "lightning": "train",
    "mido": "train",
    "music21": "train",
    "pandas": "train",
    "sklearn": "train",
    "matplotlib": "train",
    "PIL": "train",
    "safetensors": "train",
    "soundfile": "train",
    "soxr": "train",
    "torchcrf": "train",
    "sacrebleu": "train",
    "seqeval": "train",
    "openvino": "bench",
}


def import_extra(module: str) -> ModuleType:
    """Import ``module`` (``"torch"``, ``"matplotlib.pyplot"``), an optional dependency.

    Raises MissingExtraError, naming the extra to install, when it is absent.
    """
    top = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != top:
            raise
        extra = EXTRA_OF[top]
        raise MissingExtraError(
            f"{top} must be installed for this, it is not found. "
            f"Run: pip install 'rnn-edge[{extra}]'"
        ) from None
