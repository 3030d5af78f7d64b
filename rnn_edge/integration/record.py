"""integration.json: what was written into a folder, from what, and whether it was changed since."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from rnn_edge.bundle import MANIFEST, Bundle
from rnn_edge.errors import IntegrationError
from rnn_edge.version import VERSION

RECORD = "integration.json"
FORMAT = "rnn-edge-integration"


def write_record(folder: Path, host: str, source: Bundle | Path) -> None:
    """Name host, source and the SHA-256 of every file that ``folder`` holds."""
    manifest = source.path / MANIFEST if isinstance(source, Bundle) else source
    record = {
        "format": FORMAT,
        "host": host,
        "producer": f"rnn-edge {VERSION}",
        "source": {"name": source.name, "sha256": _sha256(manifest)},
        "files": {
            path.relative_to(folder).as_posix(): _sha256(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
    }
    text = json.dumps(record, ensure_ascii=False, indent=2)
    (folder / RECORD).write_text(text + "\n", encoding="utf-8")


def read_record(folder: Path) -> dict[str, Any]:
    """Raises IntegrationError where there is none, or it is not ours."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        record = None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise IntegrationError(
            f"{folder} must be a new folder, an empty one or what `rnn-edge integrate` wrote, "
            "it holds something else. Choose another folder."
        )
    return record


def refuse_other_content(folder: Path) -> None:
    """Raise IntegrationError when ``folder`` holds anything that a new one would lose."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    files = read_record(folder)["files"]
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != RECORD and files.get(name) != _sha256(path):
            raise IntegrationError(
                f"{folder} must be as `rnn-edge integrate` wrote it to be replaced, "
                f"{name} was {'changed' if name in files else 'added'}. "
                "Move what you need away and remove the folder, or choose another one."
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
