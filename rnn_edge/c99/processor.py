"""The processor that C is compiled for, and that speed was measured on."""

from __future__ import annotations

import platform
from pathlib import Path


def describe_processor() -> str:
    """What this processor is and can do: what -march=native follows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    told = ("model name", "flags", "Features", "CPU part")
    return "\n".join(dict.fromkeys(line for line in lines if line.startswith(told)))
