"""Node: an ES module over onnxruntime-node, with types and a streaming Transform."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rnn_edge.bundle import Bundle
from rnn_edge.integration.integration import require_bundle
from rnn_edge.integration.javascript import library
from rnn_edge.integration.program import TEMPLATES, Program, copy_bundle, write_files
from rnn_edge.rendering import render_folder


def write(source: Bundle | Path, folder: Path) -> dict[str, Any]:
    program = Program(require_bundle(source, "node"))
    files = render_folder(TEMPLATES / "node", program.values())
    if program.stream is None:
        del files["transform.js"]
    if program.kind not in ("image", "picture", "clip", "audio"):
        del files["files.js"]
    files |= {f"lib/{name}": text for name, text in library(program).items()}
    write_files(folder, files)
    copy_bundle(program.bundle, folder)
    return {}
