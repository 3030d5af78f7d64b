"""From what a person has to what a person reads: front end, batches, session, decoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rnn_edge.bundle import Bundle
from rnn_edge.contract import (
    AudioFrontEnd,
    ByteFrontEnd,
    CharacterFrontEnd,
    ClipFrontEnd,
    CtcDecoder,
    Decoder,
    FrontEnd,
    GraphContract,
    ImageFrontEnd,
    NextCharacterDecoder,
    PictureFrontEnd,
    SeriesFrontEnd,
    is_written,
)
from rnn_edge.errors import InputError
from rnn_edge.runtime import front_ends
from rnn_edge.runtime.batches import Layout, answering_graph
from rnn_edge.runtime.clips import decode_clip, read_frames
from rnn_edge.runtime.decoders import Answer, decode, find_chances
from rnn_edge.runtime.generation import Sampling, generate, write, write_texts
from rnn_edge.runtime.pictures import decode_picture
from rnn_edge.runtime.pipeline_graph import PIPELINE, GivenSample, PipelineGraph
from rnn_edge.runtime.session import Session
from rnn_edge.text_file import decode_text

# The graph of a bundle that writes a text in one run.
GENERATE = "generate"
# The output of a model that attends: what it has written owes to what it has read.
ATTENTION = "attention"


@dataclass(frozen=True)
class Sample:
    """One input: where it came from, what a person recognises it by, and its sequence.

    ``note`` says what had to be done to it, where a person would want to know.
    """

    source: str
    excerpt: str
    sequence: np.ndarray
    note: str = ""

    def last(self, steps: int) -> Sample:
        """The same, of its last ``steps`` alone."""
        sequence = self.sequence[-steps:]
        # Of a text, a step is a character.
        is_text = len(self.excerpt) == len(self.sequence) and self.sequence.dtype == np.int64
        excerpt = self.excerpt[-steps:] if is_text else self.excerpt
        return replace(self, sequence=sequence, excerpt=excerpt)


class Pipeline:
    """A bundle, or a lone .onnx file, with its front end and decoder.

    A file without a front end of its own reads rows of numbers when it takes float[batch,
    sequence, size]; without a decoder its numbers are shown as they are.
    """

    def __init__(
        self, source: Bundle | str | Path, provider: str = "cpu", *, threads: int | None = None
    ) -> None:
        self.session = Session(source, provider, threads=threads)
        self._threads = threads
        about = self.session.about
        self.front_end: FrontEnd = (
            about.front_end if about and about.front_end else None
        ) or plain_front_end(self.session.contract, self.session.path)
        self.decoder: Decoder | None = about.decoder if about else None
        self._whole = None
        bundle = self.session.bundle
        self._layout = Layout.of(self._answering())
        if bundle is not None and self._has_whole and not self.generates:
            whole = Session(bundle, provider, graph=PIPELINE, threads=threads)
            self._whole = PipelineGraph(whole, bundle.contract)

    def _answering(self) -> GraphContract:
        """The graph that takes what a person has. Raises InputError where it cannot run here."""
        about = self.session.about
        if about is None or isinstance(self.decoder, NextCharacterDecoder):
            return self.session.contract
        if is_written(self.decoder) and not self._has_whole:
            raise InputError(
                f"{self.session.path} must have pipeline.onnx beside it and run on the CPU to "
                f"write texts, it is on {self.session.provider}. Give the bundle, or call "
                "generate.onnx."
            )
        return answering_graph(about) if is_written(self.decoder) else self.session.contract

    @property
    def generates(self) -> bool:
        """Whether this is a language model, which continues a prompt."""
        return isinstance(self.decoder, NextCharacterDecoder)

    @property
    def styles(self) -> tuple[str, ...]:
        """Of a language model that writes tunes, those that it knows; else none."""
        decoder = self.decoder
        return decoder.styles if isinstance(decoder, NextCharacterDecoder) else ()

    @property
    def searches(self) -> bool:
        """Whether answers are texts that a beam may look for."""
        return isinstance(self.decoder, CtcDecoder)

    @property
    def reads_images(self) -> bool:
        return isinstance(self.front_end, ImageFrontEnd)

    def read(self, content: bytes, source: str, *, invert: bool = False) -> Sample:
        """The sample in a file's ``content``: a text, a CSV table, a picture, a WAV file or a GIF.

        ``source`` names it in errors. Raises InputError or DataError.
        """
        if isinstance(self.front_end, ImageFrontEnd):
            sequence = front_ends.image(self.front_end, content, source, invert)
            return Sample(source, source, sequence)
        if isinstance(self.front_end, ClipFrontEnd):
            return Sample(source, source, decode_clip(self.front_end, content, source))
        if isinstance(self.front_end, PictureFrontEnd):
            return Sample(source, source, decode_picture(self.front_end, content, source))
        if isinstance(self.front_end, AudioFrontEnd):
            sound, channels = front_ends.audio(self.front_end, content, source)
            mixed = f"{source}: {channels} channels mixed down to one" if channels > 1 else ""
            return Sample(source, source, sound, mixed)
        text = decode_text(content, source)
        if isinstance(self.front_end, SeriesFrontEnd):
            return Sample(source, source, front_ends.table(self.front_end, text, source))
        return self.read_line(text.removesuffix("\n"), source)

    def read_folder(self, folder: Path) -> Sample:
        """The sample whose frames are the pictures of ``folder``. Raises InputError."""
        if not isinstance(self.front_end, ClipFrontEnd):
            raise InputError(f"{folder} must be a file, it is a folder. Give a file.")
        return Sample(str(folder), str(folder), read_frames(self.front_end, folder))

    def read_line(self, text: str, source: str) -> Sample:
        """The sample that ``text`` is: a text, or the numbers of a series with one column."""
        if isinstance(self.front_end, CharacterFrontEnd | ByteFrontEnd):
            return Sample(source, text, front_ends.text_ids(self.front_end, text, source))
        if isinstance(self.front_end, SeriesFrontEnd):
            return Sample(source, text, front_ends.numbers(self.front_end, text, source))
        kinds = {
            AudioFrontEnd: "a WAV file",
            ClipFrontEnd: "a GIF or a folder of frames",
            PictureFrontEnd: "a PNG, JPEG, BMP or GIF picture",
        }
        kind = kinds.get(type(self.front_end), "a PNG image")
        raise InputError(f"{source} must be {kind}, got a text. Give such a file.")

    def read_lines(self, content: bytes, source: str) -> list[Sample]:
        """One sample a line; blank lines are skipped."""
        lines = decode_text(content, source).split("\n")
        samples = [
            self.read_line(line, f"{source}, line {number},")
            for number, line in enumerate(lines, 1)
            if line.strip()
        ]
        if not samples:
            raise InputError(f"{source} must hold lines of input, it is blank. Give another file.")
        return samples

    def answer(self, samples: Sequence[Sample], beam: int = 1) -> list[Answer]:
        """One answer a sample, in order; a sample's answer does not depend on the others.

        ``beam``: how many texts to look for where ``searches``.
        """
        if self.generates:
            raise InputError("a language model continues a prompt, got samples. Use generate().")
        if self._whole is not None and beam == 1 and not self.generates:
            return self._whole.answer(samples)
        return run_and_decode(self.session, self.decoder, samples, self._padding, beam)

    def attention(self, samples: Sequence[Sample]) -> list[np.ndarray] | None:
        """What answers owe to what was read, float[written, read] of each sample.

        None where the graph has no output of that name.
        """
        spec = next(
            (spec for spec in self.session.contract.outputs if spec.name == ATTENTION), None
        )
        if spec is None:
            return None
        sequences = [sample.sequence for sample in samples]
        found = replace(self._layout, output=spec).run(self.session, sequences, self._padding)
        return [np.moveaxis(weights, 0, 1) for weights in found]

    def generate(self, prompt: str | None, sampling: Sampling) -> Iterator[str]:
        """The characters that follow ``prompt``, one by one, ``sampling.length`` of them.

        Of a model of bytes, those of so many bytes, an unfinished one at the end left out.
        """
        if not isinstance(self.decoder, NextCharacterDecoder) or not isinstance(
            self.front_end, CharacterFrontEnd | ByteFrontEnd
        ):
            raise InputError(
                f"{self.session.path} must be a language model of characters or bytes to "
                "generate text, it is not. Give it inputs instead of a prompt, or ids to "
                "generate.onnx."
            )
        bundle = self.session.bundle
        if bundle is not None and self._has_whole:
            writer = Session(bundle, graph=PIPELINE, threads=self._threads)
            return write_texts(writer, self.front_end, self.decoder, prompt, sampling)
        if bundle is not None and GENERATE in bundle.contract.graphs:
            writer = Session(bundle, self.session.provider, graph=GENERATE, threads=self._threads)
            return write(writer, self.front_end, self.decoder, prompt, sampling)
        refused = None if bundle is None else bundle.evidence.get(GENERATE, {}).get("refused")
        if refused is not None:
            raise InputError(
                f"{self.session.path} must have generate.onnx beside it to continue a prompt, it "
                f"was refused: {refused}"
            )
        return generate(self.session, self.front_end, self.decoder, prompt, sampling)

    @property
    def _has_whole(self) -> bool:
        """Whether a graph takes raw input, here: strings have no place on other devices."""
        bundle = self.session.bundle
        has = bundle is not None and PIPELINE in bundle.contract.graphs
        return has and self.session.provider == "cpu"

    @property
    def _padding(self) -> int:
        return padding_of(self.front_end)


def run_and_decode(
    session: Session,
    decoder: Decoder | None,
    samples: Sequence[GivenSample],
    padding: float,
    beam: int = 1,
) -> list[Answer]:
    """One answer a sample, in order, by model and decoder; ``padding`` fills sequences up."""
    layout = Layout.of(session.contract).in_steps(decoder)
    chances = find_chances(decoder, session.contract)
    wanted = (layout.output,) if chances is None else (layout.output, chances)
    sequences = [sample.sequence for sample in samples]
    outputs = layout.run_outputs(session, sequences, padding, wanted)
    return [
        decode(decoder, output, layout.output.name, sample.excerpt, beam, *rest)
        for sample, (output, *rest) in zip(samples, outputs, strict=True)
    ]


def file_content(path: str | Path) -> bytes:
    """The bytes of a file; InputError when it is not there, is a folder, or is empty."""
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} must be a file, it is not there. Correct the path.") from None
    except OSError as error:
        raise InputError(
            f"{path} must be a file that can be read, got: {error.strerror}. Give another file."
        ) from None
    if not content:
        raise InputError(f"{path} must hold an input, it is empty. Give another file.")
    return content


def padding_of(front_end: FrontEnd | None) -> int:
    """What fills up the shorter rows of a batch."""
    return front_end.padding if isinstance(front_end, CharacterFrontEnd | ByteFrontEnd) else 0


def plain_front_end(contract: GraphContract, path: Path) -> FrontEnd:
    """Rows of numbers for a graph that takes float[batch, sequence, size]."""
    spec = contract.inputs[0]
    if spec.dtype.startswith("float") and len(spec.dims) == 3 and isinstance(spec.dims[2], int):
        size = spec.dims[2]
        columns = tuple(f"{spec.name}[{place}]" for place in range(size))
        return SeriesFrontEnd(columns, (0.0,) * size, (1.0,) * size)
    raise InputError(
        f"{path} must have a front end, or take float[batch, sequence, size], to read files; "
        f"it takes {spec}. Call it with rnn_edge.Session."
    )
