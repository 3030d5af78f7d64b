"""The C of a stream graph as a shared library of this machine, built once and kept."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rnn_edge.bundle import Bundle
from rnn_edge.c99.generation import HEADER, SOURCE, Generated, Tensor, generate, stream_file
from rnn_edge.c99.processor import describe_processor
from rnn_edge.errors import ProviderError
from rnn_edge.rendering import render
from rnn_edge.version import VERSION

CACHE_VARIABLE = "RNN_EDGE_CACHE"
_COMPILERS = ("cc", "gcc", "clang")
# Vector code for this very machine, and the model's own tanh and sigmoid, which it needs.
_FLAGS = (
    *("-std=c99", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno"),
    *("-fno-trapping-math", "-fPIC", "-shared"),
)
_BYTES = ("__AVX512VNNI__", "__AVX512BW__", "__AVX512F__")
_HOME = Path(__file__).parent
_LIBRARY, _ABOUT = "library.so", "library.json"


@dataclass(frozen=True)
class Part:
    """An input, output or state of one step; ``shape`` has an axis of rows of size 1."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))


@dataclass(frozen=True)
class Library:
    """``path`` is the shared library; a step takes ``frames`` frames."""

    path: Path
    frames: int
    inputs: tuple[Part, ...]
    outputs: tuple[Part, ...]
    states: tuple[Part, ...]
    #: Frames that the first steps of a sequence give, by output; those after them give all.
    starts: dict[str, tuple[int, ...]] = field(default_factory=dict)
    #: The state that counts the frames before a step, where there are such first steps.
    counter: str | None = None


def open_library(
    source: Bundle | Path, check: Callable[[Library], None], *, int8: bool = False
) -> Library:
    """The library of a bundle's stream graph, or of a lone file of one; built if it is not there.

    ``check`` is called with one that was built, and must raise unless its answers are right: only
    then is it kept, in the folder that RNN_EDGE_CACHE names (``~/.cache/rnn-edge`` by default),
    under a checksum of the graph, of what writes the C, of the compiler and of the processor.
    Raises ProviderError without a compiler, IntegrationError naming an operator that has no C.
    """
    compiler = _find_compiler()
    place = _cache() / "libraries" / _key(stream_file(source)[1], compiler, int8)
    if not (place / _LIBRARY).exists():
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=place.parent) as staging:
            folder = Path(staging) / "built"
            folder.mkdir()
            tiled = int8 and _multiplies_bytes(compiler)
            _build(generate(source, int8=int8, tiled=tiled, shared=True), compiler, folder)
            check(_read(folder))
            _move(folder, place)
    return _read(place)


def _multiplies_bytes(compiler: str) -> bool:
    """Whether code of ``compiler`` for this processor may use AVX512-VNNI."""
    command = [compiler, "-march=native", "-dM", "-E", "-x", "c", os.devnull]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return all(f"#define {name} " in done.stdout for name in _BYTES)


def _build(generated: Generated, compiler: str, folder: Path) -> None:
    for name, text in generated.sources.items():
        (folder / name).write_text(text, encoding="utf-8")
    values: dict[str, Any] = {
        "name": generated.name, "header": HEADER, "p": generated.prefix,
        "P": generated.prefix.upper(), "has_start": generated.has_start,
        "inputs": generated.inputs, "outputs": generated.outputs, "states": generated.states,
        "shares": generated.shares,
    }  # fmt: skip
    engine = folder / "engine.c"
    engine.write_text(render(_HOME / "templates" / "engine.c.jinja", values), encoding="utf-8")
    own_math = f"-D{generated.prefix.upper()}_OWN_MATH=1"
    command = [compiler, *_FLAGS, own_math, SOURCE, engine.name, "-lm", "-o", _LIBRARY]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[0]
        raise ProviderError(
            f"{compiler} must compile {generated.name}, it failed: {reason}. "
            "Use the engine 'onnxruntime'."
        )
    about = {
        "frames": generated.frames,
        "inputs": [_describe(tensor) for tensor in generated.inputs],
        "outputs": [_describe(tensor) for tensor in generated.outputs],
        "states": [_describe(tensor) for tensor in generated.states],
        "starts": generated.starts,
        "counter": generated.counter,
    }
    (folder / _ABOUT).write_text(json.dumps(about), encoding="utf-8")


def _describe(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": tensor.dtype.name, "shape": list(tensor.shape)}


def _read(folder: Path) -> Library:
    about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
    parts = {
        kind: tuple(
            Part(each["name"], np.dtype(each["dtype"]), tuple(each["shape"]))
            for each in about[kind]
        )
        for kind in ("inputs", "outputs", "states")
    }
    starts = {name: tuple(counts) for name, counts in about["starts"].items()}
    return Library(
        folder / _LIBRARY, about["frames"], **parts, starts=starts, counter=about["counter"]
    )


def _move(folder: Path, place: Path) -> None:
    try:
        folder.rename(place)
    except OSError:
        # Another process has built the same meanwhile.
        if not (place / _LIBRARY).exists():
            raise


def _cache() -> Path:
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rnn-edge"


def _find_compiler() -> str:
    wanted = os.environ.get("CC")
    for name in (wanted,) if wanted else _COMPILERS:
        found = shutil.which(name)
        if found is not None:
            return found
    raise ProviderError(
        f"engine 'c' needs a C compiler, found neither of {', '.join(_COMPILERS)}. "
        "Install gcc, or use the engine 'onnxruntime'."
        if not wanted
        else f"CC must name a C compiler, {wanted!r} was not found. Correct CC."
    )


def _key(path: Path, compiler: str, int8: bool) -> str:
    """What the library depends on, as a checksum."""
    found = hashlib.sha256(path.read_bytes())
    for file in sorted(_HOME.rglob("*")):
        if file.suffix in {".py", ".jinja"}:
            found.update(file.read_bytes())
    tool = Path(compiler).resolve().stat()
    rest = [VERSION, compiler, tool.st_size, tool.st_mtime_ns, _FLAGS, int8, describe_processor()]
    found.update(repr(rest).encode())
    return found.hexdigest()
