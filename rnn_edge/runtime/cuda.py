"""What the CUDA provider of ONNX Runtime needs, and which part of it is missing here."""

from __future__ import annotations

import ctypes
import os
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from rnn_edge.extras import import_extra

CUDA_PROVIDER = "CUDAExecutionProvider"
_DRIVER = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"


def cuda_obstacle() -> str | None:
    """What keeps the CUDA provider from running here, with what to do; None when nothing does.

    ONNX Runtime lists the provider as available wherever it was built in, whether or not it can be
    loaded. Its own library must not be tried here: loaded before ONNX Runtime has prepared itself
    for it, it stays unusable for the whole process.
    """
    onnxruntime = import_extra("onnxruntime")
    if CUDA_PROVIDER not in onnxruntime.get_available_providers():
        return f"onnxruntime {onnxruntime.__version__} is the CPU build; {_cure_for_cpu_build()}"
    try:
        error = ctypes.CDLL(_DRIVER).cuInit(0)
    except OSError as missing:
        return f"the NVIDIA driver does not load ({missing}); install it"
    if error:
        return f"the NVIDIA driver finds no GPU that it can use (CUDA error {error})"
    _preload(onnxruntime)
    for library in _libraries(onnxruntime):
        try:
            ctypes.CDLL(library)
        except OSError as missing:
            return (
                f"{library} does not load ({missing}); "
                "pip install 'onnxruntime-gpu[cuda,cudnn]', or install CUDA and cuDNN"
            )
    return None


def _libraries(onnxruntime: Any) -> list[str]:
    """What the provider's library is linked to, and cuDNN, which recurrent operators call."""
    major = (getattr(onnxruntime, "cuda_version", "") or "12").partition(".")[0]
    if os.name == "nt":
        names = ("cudart64", "cublasLt64", "cublas64")
        return [*(f"{name}_{major}.dll" for name in names), "cudnn64_9.dll"]
    names = ("libcudart", "libcublasLt", "libcublas")
    return [*(f"{name}.so.{major}" for name in names), "libcurand.so.10", "libcudnn.so.9"]


def _cure_for_cpu_build() -> str:
    from importlib.metadata import PackageNotFoundError, version  # takes longer than the rest

    try:
        version("onnxruntime-gpu")
    except PackageNotFoundError:
        return (
            "onnxruntime-gpu is not installed "
            "(pip uninstall onnxruntime, then pip install 'rnn-edge[gpu]')"
        )
    return (
        "onnxruntime-gpu is installed too and hidden by it "
        "(pip uninstall onnxruntime, then reinstall onnxruntime-gpu)"
    )


def _preload(onnxruntime: Any) -> None:
    """Let ONNX Runtime find CUDA and cuDNN in NVIDIA's packages, without its printing."""
    if hasattr(onnxruntime, "preload_dlls"):
        with redirect_stdout(StringIO()):
            onnxruntime.preload_dlls()
