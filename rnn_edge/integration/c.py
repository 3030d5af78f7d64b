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


# What reads the files of each kind of front end, and says what a pipeline answers.
_READERS = {
    "series": ("table",),
    "characters": ("pipeline",),
    "image": ("pipeline", "pictures"),
    "picture": ("pipeline", "pictures"),
    "clip": ("pipeline", "pictures"),
    "audio": ("pipeline", "sound"),
}


def write(source: Bundle | Path, folder: Path) -> dict[str, Any]:
    program = Program(require_bundle(source, "c"))
    values = native_values(program)
    core = core_files(program)
    values["sources"] = source_names(core)
    rendered = render_folder(TEMPLATES / "c", values)
    write_files(folder, core | {name: rendered[name] for name in _PROGRAM})
    copy_bundle(program.bundle, folder)
    return {}


def core_files(program: Program) -> dict[str, str]:
    """The sources without main(), for programs in other languages that call them."""
    values = native_values(program) | {"sources": ()}
    files = native_files(program) | render_folder(TEMPLATES / "c", values)
    used = {*_READERS.get(program.kind or "", ()), *(("generation",) if program.generates else ())}
    optional = {"generation", *(name for names in _READERS.values() for name in names)} - used
    return {
        name: text
        for name, text in files.items()
        if name not in _PROGRAM and name.partition(".")[0] not in optional
    }


def source_names(files: dict[str, str]) -> list[str]:
    return sorted(name for name in files if name.endswith(".c"))
