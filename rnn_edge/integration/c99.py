"""Host c99: the stream graph as C of its own, with a self-test, a Makefile and a README."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rnn_edge.bundle import Bundle
from rnn_edge.c99.generation import HEADER, Generated, Tensor, generate
from rnn_edge.c99.memory import c_type
from rnn_edge.c99.tables import literal
from rnn_edge.integration.golden_frames import Frames, golden_frames
from rnn_edge.integration.words import Words
from rnn_edge.rendering import render_folder
from rnn_edge.version import VERSION

_TEMPLATES = Path(__file__).parent / "templates" / "c99"

# The largest error of a self-test that is right, relative to the largest value and to 1. What int8
# weights lose is the model's own; the limit only tells a broken build from a coarse one.
TOLERANCE = 1e-4
INT8_TOLERANCE = 0.1


def write(source: Bundle | Path, folder: Path, int8: bool = False) -> dict[str, Any]:
    """Fill ``folder``; gives the sizes that a person asks for first."""
    generated = generate(source, int8=int8)
    frames = golden_frames(source, generated) if isinstance(source, Bundle) else None
    write_sources(generated, frames, folder)
    words = Words.of(source) if isinstance(source, Bundle) else Words()
    values = _values(generated, frames) | words.values()
    for name, text in {**render_folder(_TEMPLATES, values), **words.render(values)}.items():
        if frames is not None or name != "selftest.c":
            (folder / name).write_text(text, encoding="utf-8")
    return {
        "weights": f"{generated.weight_bytes:,} bytes",
        "multiplications a step": f"{generated.macs:,}",
    }


def write_sources(generated: Generated, frames: Frames | None, folder: Path) -> None:
    """model.h and model.c, and the golden frames as golden.h."""
    for name, text in generated.sources.items():
        (folder / name).write_text(text, encoding="utf-8")
    if frames is not None:
        (folder / "golden.h").write_text(golden_header(generated, frames), encoding="utf-8")


def golden_header(generated: Generated, frames: Frames) -> str:
    """The golden frames as tables of C."""
    lines = [
        f"/* Golden frames of {generated.name}: where a sequence starts, inputs, right answers. */",
        "#include <stdbool.h>",
        "#include <stdint.h>",
        "",
        f"enum {{ GOLDEN_FRAMES = {len(frames.starts)} }};",
        "",
        _table("golden_starts", np.array(frames.starts)),
    ]
    for tensor, array in zip(generated.inputs, frames.inputs, strict=True):
        lines.append(_table(f"golden_{tensor.c_name}", array))
    for tensor, array, sizes in zip(generated.outputs, frames.outputs, frames.sizes, strict=True):
        lines.append(_table(f"golden_{tensor.c_name}", array))
        lines.append(_table(f"golden_size_{tensor.c_name}", np.array(sizes, np.int32)))
    for tensor, array in zip(generated.states, frames.states, strict=True):
        lines.append(_table(f"golden_state_{tensor.c_name}", array))
    return "\n".join(lines) + "\n"


def _table(name: str, array: np.ndarray) -> str:
    items = [literal(value, array.dtype) for value in array.reshape(-1).tolist()]
    text = ",\n    ".join(", ".join(items[start : start + 8]) for start in range(0, len(items), 8))
    return f"static const {c_type(array.dtype)} {name}[{array.size}] = {{\n    {text}\n}};\n"


def _values(generated: Generated, frames: Frames | None) -> dict[str, Any]:
    return {
        "name": generated.name,
        "p": generated.prefix,
        "P": generated.prefix.upper(),
        "producer": f"rnn-edge {VERSION}",
        "header": HEADER,
        "sha256": generated.sha256,
        "inputs": generated.inputs,
        "outputs": generated.outputs,
        "states": generated.states,
        "frames": generated.frames,
        "int8": generated.int8,
        "weight_bytes": generated.weight_bytes,
        "macs": generated.macs,
        "partial": [t.c_name for t in generated.outputs if t.name in generated.starts],
        "has_golden": frames is not None,
        "tolerance": f"{INT8_TOLERANCE if generated.int8 else TOLERANCE:g}",
        "is_float": _is_float,
    }


def _is_float(tensor: Tensor) -> bool:
    return tensor.dtype.kind == "f"
