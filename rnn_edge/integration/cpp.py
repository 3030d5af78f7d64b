"""C++17 with the C of host c beneath, over ONNX Runtime's C API, built with CMake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rnn_edge.bundle import Bundle
from rnn_edge.integration.c import core_files, source_names
from rnn_edge.integration.integration import require_bundle
from rnn_edge.integration.native import native_values
from rnn_edge.integration.program import TEMPLATES, Program, copy_bundle, write_files
from rnn_edge.rendering import render_folder

_CORE = "core"
_TYPES = {
    "float32": "float", "float64": "double", "bool": "bool", "int8": "std::int8_t",
    "int16": "std::int16_t", "int32": "std::int32_t", "int64": "std::int64_t",
    "uint8": "std::uint8_t",
}  # fmt: skip


def write(source: Bundle | Path, folder: Path) -> dict[str, Any]:
    program = Program(require_bundle(source, "cpp"))
    values = native_values(program) | {"cpp_types": _TYPES}
    core = {f"{_CORE}/{name}": text for name, text in core_files(program).items()}
    values["sources"] = source_names(core)
    write_files(folder, core | render_folder(TEMPLATES / "cpp", values))
    copy_bundle(program.bundle, folder)
    return {}
