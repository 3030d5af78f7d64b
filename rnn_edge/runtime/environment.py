"""What this machine has: versions, extras, providers, cores and CPU features.

Nothing is imported to learn its version, except onnxruntime, which alone knows its providers.
"""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata, util
from pathlib import Path
from typing import Any

from rnn_edge.errors import MissingExtraError
from rnn_edge.extras import EXTRA_OF, import_extra
from rnn_edge.runtime.cuda import cuda_obstacle
from rnn_edge.runtime.providers import (
    MOST_DEFAULT_THREADS,
    SMALL_MODEL_BYTES,
    usable_cores,
)
from rnn_edge.version import VERSION

PACKAGES = (
    "numpy", "onnxruntime", "onnxruntime-gpu", "onnx", "onnx-ir", "onnxscript", "torch",
    "lightning", "pandas", "scikit-learn", "matplotlib", "safetensors", "soundfile",
)  # fmt: skip

# Vector, half-precision and int8 instructions that recurrent kernels gain from.
CPU_FEATURES = (
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16",
    "avx512_fp16", "amx_bf16", "amx_int8",
    "neon", "asimd", "asimddp", "asimdhp", "bf16", "i8mm", "sve", "sve2",
)  # fmt: skip


def environment() -> dict[str, Any]:
    """Everything `rnn-edge doctor` shows, as JSON values; None where something is not there."""
    providers, obstacle = _providers()
    cores = usable_cores()
    return {
        "rnn_edge": VERSION,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "extras": extras(),
        "providers": providers,
        "cuda": {"available": obstacle is None, "missing": obstacle},
        "cpu": {
            "model": _cpu_field("model name") or platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "usable_cores": cores,
            "features": cpu_features(),
        },
        "threads": {
            "small_model": 1,
            "large_model": min(cores, MOST_DEFAULT_THREADS),
            "large_from_bytes": SMALL_MODEL_BYTES,
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        },
    }


def extras() -> dict[str, list[str]]:
    """Extra -> the modules of it that are not installed; none where it is complete."""
    missing: dict[str, list[str]] = {extra: [] for extra in dict.fromkeys(EXTRA_OF.values())}
    for module, extra in EXTRA_OF.items():
        if util.find_spec(module) is None:
            missing[extra].append(module)
    return missing


def cpu_features() -> list[str]:
    """Those of CPU_FEATURES that this processor has; empty where the system does not tell."""
    flags = set((_cpu_field("flags") or _cpu_field("Features") or "").split())
    return [feature for feature in CPU_FEATURES if feature in flags]


def _providers() -> tuple[list[str], str | None]:
    try:
        onnxruntime = import_extra("onnxruntime")
    except MissingExtraError as error:
        return [], str(error)
    except ImportError as error:
        return [], f"onnxruntime is installed but does not load: {error}"
    return list(onnxruntime.get_available_providers()), cuda_obstacle()


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _cpu_field(name: str) -> str | None:
    """The first value of a field of /proc/cpuinfo, which only Linux has."""
    if not sys.platform.startswith("linux"):
        return None
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None
