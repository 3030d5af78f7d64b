"""What the programs of all hosts over ONNX Runtime are told of a bundle."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rnn_edge.bundle import Bundle
from rnn_edge.contract import GraphContract, NextCharacterDecoder, SeriesFrontEnd
from rnn_edge.runtime.stream_form import StreamForm

TEMPLATES = Path(__file__).parent / "templates"
BUNDLE_FOLDER = "bundle"
# What programs read into pipeline.onnx, which says all the rest.
FRONT_ENDS = ("characters", "bytes", "image", "picture", "clip", "audio")
# What they say themselves of rows of numbers, which they read step by step too.
DECODERS = ("plain", "labels", "values")


@dataclass(frozen=True)
class Program:
    """A bundle as a program sees it: its graphs, and what stands before and after them."""

    bundle: Bundle

    @property
    def graph(self) -> GraphContract:
        return self.bundle.graph()

    @cached_property
    def stream(self) -> StreamForm | None:
        """The parts of the stream graph's tensors; None where the model does not stream."""
        if "stream" not in self.bundle.contract.graphs:
            return None
        return StreamForm.of(self.bundle.graph("stream"))

    @property
    def whole(self) -> GraphContract | None:
        """The graph from what a person has to what a person reads; None where there is none."""
        return self.bundle.contract.graphs.get("pipeline")

    @property
    def kind(self) -> str | None:
        """The front end's kind; ``series`` for plain rows of numbers, None where the program cannot
        read files into the inputs or say what the outputs mean: then it takes and gives arrays."""
        front_end = self.bundle.contract.front_end
        if isinstance(front_end, SeriesFrontEnd) or self.plain_columns:
            return "series" if self.decoder_kind in DECODERS else None
        if front_end is None or self.whole is None:
            return None
        # Of both a person gives a text.
        kind = "characters" if front_end.kind == "bytes" else front_end.kind
        return kind if kind in FRONT_ENDS else None

    @property
    def plain_columns(self) -> tuple[str, ...]:
        """The columns of a model without front end that takes float[batch, sequence, size]."""
        given = [
            spec
            for spec in self.graph.inputs
            if spec.name not in self.graph.state_inputs and spec.lengths_of is None
        ]
        if self.bundle.contract.front_end is not None or len(given) != 1:
            return ()
        (spec,) = given
        size = spec.dims[-1] if len(spec.dims) == 3 else None
        if not isinstance(size, int) or not spec.dtype.startswith("float"):
            return ()
        return tuple(f"{spec.name}[{place}]" for place in range(size))

    @property
    def generates(self) -> bool:
        """Whether it goes on from a text."""
        decoder = self.bundle.contract.decoder
        return self.whole is not None and isinstance(decoder, NextCharacterDecoder)

    @property
    def styles(self) -> tuple[str, ...]:
        """Those of a model of tunes."""
        decoder = self.bundle.contract.decoder
        return decoder.styles if isinstance(decoder, NextCharacterDecoder) else ()

    @property
    def opening(self) -> str:
        """A text to go on from: a tune begins with its style."""
        return f"\nR:{self.styles[0]}\n" if self.styles else "The "

    @property
    def decoder_kind(self) -> str:
        decoder = self.bundle.contract.decoder
        return "plain" if decoder is None else decoder.kind

    @property
    def identifier(self) -> str:
        """The bundle's name as the languages and their package managers take it."""
        return re.sub(r"[^a-z0-9]+", "_", self.bundle.name.lower()).strip("_") or "model"

    def values(self) -> dict[str, Any]:
        """What templates may use."""
        form = self.stream
        return {
            "name": self.bundle.name,
            "identifier": self.identifier,
            "package": self.identifier.replace("_", "-"),
            "contract": self.bundle.contract,
            "graph": self.graph,
            "kind": self.kind,
            "plain_columns": self.plain_columns,
            "generates": self.generates,
            "styles": self.styles,
            "opening": self.opening,
            "whole": self.whole,
            "shell_string": shell_string,
            "decoder_kind": self.decoder_kind,
            "streams": form is not None,
            "chunk": form.chunk if form else (),
            "context": form.context if form else (),
            "answers": form.outputs if form else (),
        }


def shell_string(text: str) -> str:
    """``text`` as a person types it in a shell."""
    if "\n" not in text:
        return f'"{text}"'
    for mark, told in (("\\", "\\\\"), ("'", "\\'"), ("\n", "\\n")):
        text = text.replace(mark, told)
    return f"$'{text}'"


def write_files(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def copy_bundle(bundle: Bundle, folder: Path) -> None:
    """The whole bundle, golden data included, beside the program."""
    shutil.copytree(bundle.path, folder / BUNDLE_FOLDER)
