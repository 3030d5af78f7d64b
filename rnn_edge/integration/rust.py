"""Host rust: a crate without dependencies around the generated C."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rnn_edge.bundle import Bundle
from rnn_edge.c99.generation import Tensor
from rnn_edge.integration.program import TEMPLATES
from rnn_edge.integration.wrapped import Wrapping, own_name, package_name
from rnn_edge.rendering import render_folder

_KINDS = {
    "float32": "f32", "float64": "f64", "int64": "i64", "int32": "i32", "int16": "i16",
    "int8": "i8", "uint8": "u8", "bool": "bool",
}  # fmt: skip
KEYWORDS = {
    "abstract", "as", "async", "await", "become", "box", "crate", "dyn", "extern", "final", "fn",
    "gen", "impl", "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv",
    "pub", "ref", "self", "Self", "super", "trait", "try", "type", "typeof", "unsafe", "unsized",
    "use", "virtual", "where", "yield", "std", "core", "alloc", "test",
    # Names that the templates use.
    "answer", "failed", "state", "frames", "frame", "model", "reader", "worst", "row", "rows",
    "starts", "step", "error", "found", "right", "native",
}  # fmt: skip


def write(source: Bundle | Path, folder: Path, int8: bool = False) -> dict[str, Any]:
    """Fill ``folder``; gives the sizes that a person asks for first."""
    wrapping = Wrapping.of(source, int8)
    values = wrapping.values(describe)
    crate = package_name(wrapping.generated.name, KEYWORDS)
    tensors = (*values["inputs"], *values["outputs"], *values["states"])
    values |= {"crate": crate, "package": crate.replace("_", "-"), "literal": literal}
    values |= {"kinds": sorted({tensor.kind for tensor in tensors})}
    files = render_folder(TEMPLATES / "rust", values)
    if wrapping.frames is None:
        del files["src/self_test.rs"]
    wrapping.write(folder, files, values)
    return wrapping.about


def describe(tensor: Tensor) -> dict[str, Any]:
    kind = _KINDS[tensor.dtype.name]
    zero = "false" if kind == "bool" else "0.0" if kind[0] == "f" else "0"
    return {"own": own_name(tensor, KEYWORDS), "kind": kind, "zero": f"{zero}"}


def literal(text: str) -> str:
    """A string literal of Rust in plain ASCII."""
    plain = (c if " " <= c <= "~" and c not in '"\\' else f"\\u{{{ord(c):x}}}" for c in text)
    return f'"{"".join(plain)}"'
