"""C99 over ONNX Runtime's C API, built with CMake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rnn_edge.bundle import Bundle
from rnn_edge.integration.integration import require_bundle
from rnn_edge.integration.native import native_files, native_values
from rnn_edge.integration.program import TEMPLATES, Program, copy_bundle, write_files
from rnn_edge.rendering import render_folder


def write(source: Bundle | Path, folder: Path) -> dict[str, Any]:
    program = Program(require_bundle(source, "c"))
    files = native_files(program) | render_folder(TEMPLATES / "c", native_values(program))
    if program.kind is None:
        del files["front_end.c"], files["front_end.h"]
    if not program.generates:
        del files["generation.c"], files["generation.h"]
    write_files(folder, files)
    copy_bundle(program.bundle, folder)
    return {}
