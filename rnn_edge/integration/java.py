"""Host java: a class around the generated C, by JNI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rnn_edge.bundle import Bundle
from rnn_edge.c99.generation import Tensor
from rnn_edge.integration.program import TEMPLATES
from rnn_edge.integration.wrapped import Wrapping, own_name, package_name
from rnn_edge.rendering import render_folder

# Java's type, the letter that stands for it in a signature, and how a ByteBuffer gives one.
_KINDS = {
    "float32": ("float", "F", "getFloat()"), "float64": ("double", "D", "getDouble()"),
    "int64": ("long", "J", "getLong()"), "int32": ("int", "I", "getInt()"),
    "int16": ("short", "S", "getShort()"), "int8": ("byte", "B", "get()"),
    "uint8": ("byte", "B", "get()"), "bool": ("boolean", "Z", "get() != 0"),
}  # fmt: skip
KEYWORDS = {
    "abstract", "assert", "boolean", "byte", "catch", "class", "exports", "extends", "final",
    "finally", "implements", "import", "instanceof", "interface", "module", "native", "new", "null",
    "opens", "package", "private", "protected", "provides", "public", "record", "requires",
    "sealed", "strictfp", "super", "synchronized", "this", "throw", "throws", "to", "transient",
    "transitive", "try", "uses", "var", "with", "yield", "java",
    # Names that the templates use.
    "state", "failed", "frames", "answers", "answer", "model", "row", "rows", "starts", "files",
    "step", "golden", "worst", "env", "given", "arrays", "held", "count", "found", "right",
}  # fmt: skip


def write(source: Bundle | Path, folder: Path, int8: bool = False) -> dict[str, Any]:
    """Fill ``folder``; gives the sizes that a person asks for first."""
    wrapping = Wrapping.of(source, int8)
    values = wrapping.values(describe)
    package = package_name(wrapping.generated.name, KEYWORDS)
    tensors = (*values["inputs"], *values["outputs"], *values["states"])
    getters = sorted({(tensor.kind, tensor.getter) for tensor in tensors})
    values |= {"java_package": package, "getters": getters, "literal": literal}
    found = render_folder(TEMPLATES / "java", values)
    files = {name.replace("src/", f"src/{package}/"): text for name, text in found.items()}
    if wrapping.frames is None:
        del files[f"src/{package}/SelfTest.java"]
    wrapping.write(folder, files, values)
    return wrapping.about


def describe(tensor: Tensor) -> dict[str, Any]:
    kind, code, getter = _KINDS[tensor.dtype.name]
    return {
        "own": own_name(tensor, KEYWORDS),
        "kind": kind,
        "code": code,
        "getter": getter,
        "element": kind.title(),
        "number": f"j{kind}",
        "array": f"j{kind}Array",
        "frames_of": f"framesOf{tensor.c_name.title().replace('_', '')}",
    }


def literal(text: str) -> str:
    """A string literal of Java in ASCII; octal where \\u would end the line or the literal."""
    units = text.encode("utf-16-be")
    codes = [int.from_bytes(units[place : place + 2]) for place in range(0, len(units), 2)]
    plain = (
        chr(code) if 32 <= code < 127 and chr(code) not in '"\\' else
        f"\\{code:03o}" if code < 127 else f"\\u{code:04x}"
        for code in codes
    )  # fmt: skip
    return f'"{"".join(plain)}"'
