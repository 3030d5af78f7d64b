"""What the programs that wrap the generated C have in common, whatever their language."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnn_edge.bundle import Bundle
from rnn_edge.c99.generation import Generated, Tensor, generate
from rnn_edge.integration.c99 import INT8_TOLERANCE, TOLERANCE
from rnn_edge.integration.golden_frames import Frames, golden_frames
from rnn_edge.integration.program import TEMPLATES, write_files
from rnn_edge.integration.words import Words
from rnn_edge.rendering import render_folder
from rnn_edge.version import VERSION

GOLDEN = "golden.bin"


@dataclass(frozen=True)
class Wrapping:
    """The C of a source, and the golden frames where it is a bundle."""

    generated: Generated
    frames: Frames | None
    words: Words

    @classmethod
    def of(cls, source: Bundle | Path, int8: bool) -> Wrapping:
        generated = generate(source, int8=int8)
        if isinstance(source, Bundle):
            return cls(generated, golden_frames(source, generated), Words.of(source))
        return cls(generated, None, Words())

    def values(self, describe: Callable[[Tensor], Mapping[str, Any]]) -> dict[str, Any]:
        """What templates may use; ``describe`` gives a tensor's words of the language."""
        made = self.generated
        return {
            "name": made.name,
            "p": made.prefix,
            "P": made.prefix.upper(),
            "producer": f"rnn-edge {VERSION}",
            "sha256": made.sha256,
            "frames": made.frames,
            "inputs": [_Described(tensor, describe) for tensor in made.inputs],
            "outputs": [_Described(tensor, describe) for tensor in made.outputs],
            # Those of which the first steps of a sequence give fewer frames.
            "partial": [t.name for t in made.outputs if t.name in made.starts],
            "states": [_Described(tensor, describe) for tensor in made.states],
            "has_golden": self.frames is not None,
            "steps": 0 if self.frames is None else len(self.frames.starts),
            "golden_bytes": 0 if self.frames is None else len(_numbers(self.frames)),
            "tolerance": f"{INT8_TOLERANCE if made.int8 else TOLERANCE:g}",
            **self.words.values(),
        }

    def write(self, folder: Path, files: Mapping[str, str], values: Mapping[str, Any]) -> None:
        """``files``, the C and its glue in ``native/``, and the golden frames as numbers."""
        native = {**self.generated.sources, **render_folder(TEMPLATES / "wrapped", values)}
        native |= self.words.render(values)
        write_files(folder, {**files, **{f"native/{name}": t for name, t in native.items()}})
        if self.frames is not None:
            (folder / GOLDEN).write_bytes(_numbers(self.frames))

    @property
    def about(self) -> dict[str, Any]:
        return {
            "weights": f"{self.generated.weight_bytes:,} bytes",
            "multiplications a step": f"{self.generated.macs:,}",
        }


class _Described:
    """A tensor with the words of a language, as templates read them."""

    def __init__(self, tensor: Tensor, describe: Callable[[Tensor], Mapping[str, Any]]) -> None:
        for field in ("name", "c_name", "type", "size", "dims", "meaning"):
            setattr(self, field, getattr(tensor, field))
        for field, word in describe(tensor).items():
            setattr(self, field, word)


def own_name(tensor: Tensor, keywords: Collection[str]) -> str:
    """The tensor's name in a language with these keywords."""
    return f"{tensor.c_name}_" if tensor.c_name in keywords else tensor.c_name


def package_name(name: str, keywords: Collection[str]) -> str:
    """A bundle's name in small letters, digits and underscores, a letter first."""
    word = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "model"
    return f"model_{word}" if word[0].isdigit() or word in keywords else word


def _numbers(frames: Frames) -> bytes:
    """Starts, inputs, outputs with how much is known of them, states: little-endian, in turn."""
    arrays: list[Any] = [np.array(frames.starts), *frames.inputs]
    for array, sizes in zip(frames.outputs, frames.sizes, strict=True):
        arrays += [array, np.array(sizes, np.int32)]
    arrays += frames.states
    return b"".join(
        np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes() for array in arrays
    )
