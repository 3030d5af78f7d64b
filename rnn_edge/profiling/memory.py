"""How much memory a process of its own takes, and how much the model takes on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnn_edge.profiling.child import Program, start_fresh

RUNS = 20


@dataclass(frozen=True)
class Memory:
    """Resident memory in bytes: after the imports, and at its peak over RUNS runs.

    Both hold the interpreter and the libraries; None where the system keeps no peak (no /proc).
    """

    engine: str
    imported_bytes: int | None
    peak_bytes: int | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure_memory(program: Program, feed: Mapping[str, np.ndarray], folder: Path) -> Memory:
    """Run ``feed`` in a fresh process; ``folder`` holds the feed."""
    start = start_fresh(program, feed, folder, repeats=RUNS)
    return Memory(program.engine, start.imported_bytes, start.peak_bytes)


def folder_bytes(folder: Path) -> int:
    """The size of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
