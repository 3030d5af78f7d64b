"""What `rnn-edge tune` has found fastest on this machine, as a file beside the bundle."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rnn_edge.bundle import MANIFEST, Bundle
from rnn_edge.c99.processor import describe_processor

FORMAT = "rnn-edge-tuning"


@dataclass(frozen=True)
class Tuning:
    """``threads``, ``groups`` (rows of alike lengths run together) and ``options`` are those of
    Session, ``engine``, ``step`` and ``stream_options`` are those of StreamSession; None where that
    was not tuned."""

    threads: int | None = None
    groups: bool | None = None
    engine: str | None = None
    options: tuple[str, ...] | None = None
    step: bool | None = None
    stream_options: tuple[str, ...] | None = None


def tuning_path(bundle: Bundle) -> Path:
    """``NAME.tuning.json`` beside the bundle's folder."""
    path = bundle.path.resolve()
    return path.with_name(f"{path.name}.tuning.json")


def read_tuning(bundle: Bundle) -> Tuning:
    """What was found on this machine for this very bundle; nothing where nothing was."""
    machines = _read(tuning_path(bundle))
    entry = machines.get(_machine(), {}) if machines else {}
    if entry.get("bundle") != _checksum(bundle):
        return Tuning()
    options, of_streams = (
        None if entry.get(name) is None else tuple(entry[name])
        for name in ("options", "stream_options")
    )
    return Tuning(
        entry.get("threads"), entry.get("groups"), entry.get("engine"), options,
        entry.get("step"), of_streams,
    )  # fmt: skip


def write_tuning(bundle: Bundle, found: Tuning) -> Path:
    """Keep what ``found`` holds, and what was found before of the rest; gives the file."""
    before, path = asdict(read_tuning(bundle)), tuning_path(bundle)
    merged = replace(
        Tuning(**before), **{name: v for name, v in asdict(found).items() if v is not None}
    )
    machines = _read(path)
    machines[_machine()] = {"bundle": _checksum(bundle), **asdict(merged)}
    text = json.dumps({"format": FORMAT, "machines": machines}, indent=2)
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    staging.write_text(text + "\n", encoding="utf-8")
    staging.replace(path)
    return path


def _read(path: Path) -> dict[str, Any]:
    """Machines by checksum; a file that is none of ours counts as no file."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        return {}
    machines = document.get("machines")
    return machines if isinstance(machines, dict) else {}


def _machine() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return hashlib.sha256(f"{describe_processor()} {cores}".encode()).hexdigest()[:16]


def _checksum(bundle: Bundle) -> str:
    return hashlib.sha256((bundle.path / MANIFEST).read_bytes()).hexdigest()
