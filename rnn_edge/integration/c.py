"""C99 over ONNX Runtime's C API, built with CMake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rnn_edge.bundle import Bundle
from rnn_edge.integration.integration import require_bundle
from rnn_edge.integration.native import native_files, native_values
from rnn_edge.integration.program import TEMPLATES, Program, copy_bundle, write_files
from rnn_edge.rendering import render_folder

# What is a program rather than what a program is made of.
_PROGRAM = ("main.c", "CMakeLists.txt", "README.md")


def write(source: Bundle | Path, folder: Path) -> dict[str, Any]:
    program = Program(require_bundle(source, "c"))
    write_files(folder, _all_files(program))
    copy_bundle(program.bundle, folder)
    return {}


def core_files(program: Program) -> dict[str, str]:
    """The sources without main(), for programs in other languages that call them."""
    return {name: text for name, text in _all_files(program).items() if name not in _PROGRAM}


def _all_files(program: Program) -> dict[str, str]:
    files = native_files(program) | render_folder(TEMPLATES / "c", native_values(program))
    if program.kind is None:
        del files["front_end.c"], files["front_end.h"]
    if not program.generates:
        del files["generation.c"], files["generation.h"]
    return files
