"""Host ort-mobile: the graphs in ORT format, and what a runtime for them alone is built of."""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

from rnn_edge.bundle import MANIFEST, Bundle, golden_sets_in
from rnn_edge.errors import IntegrationError
from rnn_edge.extras import import_extra
from rnn_edge.integration.integration import require_bundle
from rnn_edge.integration.program import TEMPLATES, Program, write_files
from rnn_edge.rendering import render_folder
from rnn_edge.runtime.pipeline_graph import PIPELINE
from rnn_edge.version import VERSION

OPERATORS = "required_operators_and_types.config"
# Operators that are not ONNX's own, and those of its part for strings and labels.
_CONTRIBUTED, _ML = "com.microsoft;", "ai.onnx.ml;"


def write(source: Bundle | Path, folder: Path) -> dict[str, Any]:
    """Fill ``folder``; gives the sizes of the graphs."""
    bundle = require_bundle(source, "ort-mobile")
    names = sorted(graph.file for graph in bundle.contract.graphs.values())
    operators = _convert([bundle.path / name for name in names], folder)
    (folder / OPERATORS).write_text(operators, encoding="utf-8")
    shutil.copy(bundle.path / MANIFEST, folder / MANIFEST)
    # Of a stream the sets go on from each other: those are for whoever carries its states.
    for place in (*golden_sets_in(bundle.path), *golden_sets_in(bundle.path / PIPELINE)):
        shutil.copytree(place, folder / place.relative_to(bundle.path))
    program = Program(bundle)
    values = program.values() | {
        "producer": f"rnn-edge {VERSION}",
        "version": import_extra("onnxruntime").__version__,
        "files": [f"{Path(name).stem}.ort" for name in names],
        "operators": OPERATORS,
        "contributed": _CONTRIBUTED in operators,
        "ml": _ML in operators,
        "count": _count(operators),
    }
    write_files(folder, render_folder(TEMPLATES / "ort-mobile", values))
    return {name: f"{(folder / name).stat().st_size:,} bytes" for name in values["files"]}


def _convert(graphs: list[Path], folder: Path) -> str:
    """Write each graph as ``NAME.ort``; gives the list of their operators and types."""
    import_extra("onnx")
    from onnxruntime.tools import convert_onnx_models_to_ort as tools

    with tempfile.TemporaryDirectory() as staging:
        given, made = Path(staging) / "onnx", Path(staging) / "ort"
        given.mkdir()
        made.mkdir()
        for path in graphs:
            shutil.copy(path, given)
        told = io.StringIO()
        before = logging.root.manager.disable
        logging.disable(logging.INFO)
        try:
            with contextlib.redirect_stdout(told):
                tools.convert_onnx_models_to_ort(
                    given,
                    output_dir=made,
                    optimization_styles=[tools.OptimizationStyle.Fixed],
                    # Layouts that only x86 has are left out; it runs there all the same.
                    target_platform="arm",
                    enable_type_reduction=True,
                )
        except Exception as error:  # noqa: BLE001 (the tool raises whatever it meets)
            raise IntegrationError(
                f"graphs must have an ORT format, ONNX Runtime's tool refused: "
                f"{' '.join(str(error).split())[:200]}. Use another host."
            ) from None
        finally:
            logging.disable(before)
        for path in made.glob("*.ort"):
            shutil.copy(path, folder)
        text = next(made.glob("*.config")).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    files = ", ".join(f"{path.stem}.ort" for path in graphs)
    return "\n".join([f"# Operators and types of {files}", *lines]).rstrip() + "\n"


def _count(operators: str) -> int:
    """How many operators the list names; their types stand in braces behind them."""
    found = 0
    for line in operators.splitlines():
        if not line.startswith("#") and line.count(";") >= 2:
            depth = 0
            for letter in line.split(";", 2)[2]:
                depth += {"{": 1, "}": -1}.get(letter, 0)
                found += letter == "," and depth == 0
            found += 1
    return found
