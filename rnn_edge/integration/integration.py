"""Write the program of one host into a folder, whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from rnn_edge.bundle import Bundle, open_source
from rnn_edge.errors import InputError, IntegrationError
from rnn_edge.folder import replace_folder
from rnn_edge.integration.record import read_record, refuse_other_content, write_record

# Each host lives in rnn_edge/integration/NAME.py, which has a function
# write(source, folder, **options): it fills the folder and returns what is worth telling.
# Options are keyword arguments of that function, so a host that has none takes none.
HOSTS: dict[str, str] = {
    "node": "ONNX Runtime in Node.",
    "web": "A static page, ONNX Runtime as wasm.",
    "c": "C99 over ONNX Runtime.",
    "cpp": "C++17 over ONNX Runtime.",
    "c99": "C99 that needs no runtime, for apps and microcontrollers.",
    "rust": "A Rust crate around that C.",
    "java": "A Java class around that C.",
    "ort-mobile": "ORT format for a minimal ONNX Runtime.",
    "triton": "A model repository for Triton.",
}


@dataclass(frozen=True)
class Integration:
    """What was written: ``files`` by their paths inside ``path``, and what the host says of it."""

    path: Path
    host: str
    files: tuple[str, ...]
    about: dict[str, Any]


def integrate(
    source: Bundle | str | Path, host: str, out_dir: str | Path, **options: Any
) -> Integration:
    """Write a program of ``host`` (one of HOSTS) that runs ``source`` into ``out_dir``.

    ``source`` is a Bundle or its folder; hosts that need no more than a graph take a lone .onnx
    file of a stream graph too. ``options`` are the host's own (``int8=True`` for c99). What
    ``out_dir`` holds already is replaced only when it is as an earlier call wrote it. Raises
    BundleError, InputError, or IntegrationError where the place or the model cannot be used.
    """
    if host not in HOSTS:
        raise InputError(f"host must be one of {', '.join(HOSTS)}, got {host!r}. Choose one.")
    source = open_source(source)
    target = Path(out_dir)
    about: dict[str, Any] = {}

    def fill(folder: Path) -> None:
        module = import_module(f"rnn_edge.integration.{host.replace('-', '_')}")
        about.update(module.write(source, folder, **options) or {})
        write_record(folder, host, source)

    try:
        refuse_other_content(target)
        replace_folder(target, fill)
    except OSError as error:
        raise IntegrationError(
            f"{target} must be a place to write a folder, got: {error.strerror or error}. "
            "Choose another folder."
        ) from None
    return Integration(target, host, tuple(read_record(target)["files"]), about)


def require_bundle(source: Bundle | Path, host: str) -> Bundle:
    """``source`` where a host needs the contract and golden data of a bundle."""
    if isinstance(source, Bundle):
        return source
    raise InputError(
        f"host {host} must get a bundle, got the file {source}. "
        "Give the folder that `rnn-edge export` wrote."
    )
