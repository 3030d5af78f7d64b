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
from rnn_edge.errors import RnnEdgeError

FORMAT = "rnn-edge-tuning"
# What whole sequences and streams are tuned in, each; the last says whose graphs they run.
_USES = (
    ("threads", "groups", "options", "quantised"),
    ("engine", "step", "stream_options", "stream_quantised"),
)


@dataclass(frozen=True)
class Tuning:
    """``threads``, ``groups`` (rows of alike lengths run together) and ``options`` are those of
    Session, ``engine``, ``step`` and ``stream_options`` are those of StreamSession; None where that
    was not tuned. ``quantised`` and ``stream_quantised`` are the SHA-256 of the bundle.json beside
    (``quantised_path``) whose graphs are faster; None where the bundle's own are."""

    threads: int | None = None
    groups: bool | None = None
    engine: str | None = None
    options: tuple[str, ...] | None = None
    step: bool | None = None
    stream_options: tuple[str, ...] | None = None
    quantised: str | None = None
    stream_quantised: str | None = None


def tuning_path(bundle: Bundle) -> Path:
    """``NAME.tuning.json`` beside the bundle's folder."""
    path = bundle.path.resolve()
    return path.with_name(f"{path.name}.tuning.json")


def quantised_path(bundle: Bundle) -> Path:
    """``NAME-int8`` beside the bundle's folder, where `rnn-edge quantize` writes."""
    path = bundle.path.resolve()
    return path.with_name(f"{path.name}-int8")


def read_tuning(bundle: Bundle) -> Tuning:
    """What was found on this machine for this very bundle; nothing where nothing was, and none of a
    use for which a quantised bundle was faster that has changed or gone."""
    machines = _read(tuning_path(bundle))
    entry = machines.get(_machine(), {}) if machines else {}
    if entry.get("bundle") != bundle.checksum:
        return Tuning()
    known: dict[str, Any] = {}
    for use in _USES:
        wanted = entry.get(use[-1])
        if wanted is None or wanted == _checksum(quantised_path(bundle)):
            known.update({name: entry.get(name) for name in use})
    found: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in known.items()
    }
    return Tuning(**found)


def load_quantised(bundle: Bundle, wanted: str | None) -> Bundle | None:
    """The quantised bundle beside ``bundle`` whose bundle.json has this SHA-256, checked whole;
    None where none is wanted, or another or a damaged one is there."""
    if wanted is None:
        return None
    path = quantised_path(bundle)
    try:
        return Bundle.load(path) if _checksum(path) == wanted else None
    except RnnEdgeError:
        return None


def write_tuning(bundle: Bundle, found: Tuning) -> Path:
    """Keep what ``found`` holds, of the other use what was found before; gives the file."""
    merged, path = read_tuning(bundle), tuning_path(bundle)
    for use in _USES:
        values = {name: getattr(found, name) for name in use}
        if any(value is not None for value in values.values()):
            merged = replace(merged, **values)
    machines = _read(path)
    machines[_machine()] = {"bundle": bundle.checksum, **asdict(merged)}
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


def _checksum(folder: Path) -> str | None:
    try:
        return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    except OSError:
        return None
