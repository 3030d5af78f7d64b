"""`rnn-edge run`: what a person has in, what a person reads out."""

from __future__ import annotations

import secrets
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rnn_edge.cli.options import json_option, provider_option
from rnn_edge.cli.output import print_json, say
from rnn_edge.cli.suggestions import Choice
from rnn_edge.cli.tables import excerpt, print_table
from rnn_edge.cli.tunes import MOST_CHARACTERS, TuneFiles, one_tune
from rnn_edge.errors import InputError

if TYPE_CHECKING:
    from rnn_edge.runtime import Pipeline
    from rnn_edge.runtime.decoders import Answer
    from rnn_edge.runtime.pipeline import Sample

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class _Given:
    """The inputs as they stand on the command line."""

    files: tuple[str, ...]
    texts: tuple[str, ...]
    lines: bool
    last: int | None
    invert: bool

    @property
    def is_empty(self) -> bool:
        return not self.files and not self.texts


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("inputs", metavar="[INPUT]...", nargs=-1)
@click.option("--text", "texts", multiple=True, help="An input itself; may be repeated.")
@click.option("--lines", is_flag=True, help="Every line of an INPUT is an input of its own.")
@click.option(
    "--last", type=click.IntRange(1), metavar="N", help="Of a series or a text, the last N steps."
)
@click.option("--invert", is_flag=True, help="Images are dark on light.")
@click.option(
    "--beam",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Of speech: look for N texts, the likeliest first; 1: the likeliest path.",
)
@click.option("--prompt", help="Text that a language model continues; default: a new line.")
@click.option("--length", type=int, help="Characters to generate.  [default: 200]")
@click.option("--temperature", type=float, help="0 takes the likeliest.  [default: 1.0]")
@click.option("--top-k", type=int, help="Choose among the K likeliest characters only.")
@click.option("--top-p", type=float, help="Choose among the likeliest of this share.  [default: 1]")
@click.option("--seed", type=int, help="The same seed generates the same text.")
@click.option("--style", help="Of a model of tunes: what kind to write.  [default: any]")
@click.option(
    "--midi", type=click.Path(path_type=Path), help="Write the tune to a MIDI file as well."
)
@click.option(
    "--wav", type=click.Path(path_type=Path), help="Write how the tune sounds to a WAV file."
)
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the answers into a PNG file.")
@click.option(
    "--stream",
    "streaming",
    is_flag=True,
    help="Standard input to standard output as it comes, one chunk a line.",
)
@click.option(
    "--chunk",
    type=click.IntRange(1),
    metavar="N",
    help="With --stream: steps in a chunk.  [default: a line]",
)
@click.option(
    "--frames",
    type=Choice(["f32le"]),
    help="With --stream: raw little-endian float32 numbers instead of lines, in and out.",
)
@click.option(
    "--real-time", is_flag=True, help="With --stream and a WAV file: no faster than it sounds."
)
@click.option(
    "--frame-rate",
    type=click.FloatRange(0, min_open=True),
    metavar="HZ",
    help="With --stream and a WAV file: its rate, where the contract has another.",
)
@click.option(
    "--engine",
    type=Choice(["onnxruntime", "c", "c-int8"]),
    help="With --stream: what computes; c is compiled for this machine.  "
    "[default: what tune found, or onnxruntime]",
)
@provider_option
@json_option
def run(
    bundle: Path,
    inputs: tuple[str, ...],
    texts: tuple[str, ...],
    lines: bool,
    last: int | None,
    invert: bool,
    beam: int,
    prompt: str | None,
    style: str | None,
    midi: Path | None,
    wav: Path | None,
    plot: Path | None,
    streaming: bool,
    chunk: int | None,
    frames: str | None,
    real_time: bool,
    frame_rate: float | None,
    engine: str | None,
    provider: str,
    as_json: bool,
    **sampling: Any,
) -> None:
    """Run BUNDLE, or a lone .onnx file, on text, numbers, images or sound.

    An INPUT is a file: a UTF-8 text, a CSV of numbers (a header line names the columns), a PNG
    image or another picture, a WAV file, a GIF or a folder of frames, as the bundle takes it; - and
    a pipe are standard input. Several inputs share batches, and the answers keep their order. A
    language model continues --prompt, or the text that it is given; one of tunes writes one.

    With --stream, each line is a step (comma-separated numbers) or a piece of text; its answer is
    written at once, a line for each step: numbers, or the likeliest label and its probability.
    --json writes all outputs of a chunk as a line. An INPUT is then a WAV file, pushed in
    hundredths of a second.

    Example: rnn-edge run exported/reviews --text "Quick and friendly"
    """
    from rnn_edge.runtime import Pipeline

    files = TuneFiles(style, midi, wav)
    if streaming:
        flags: dict[str, object] = {
            "--text": texts,
            "--lines": lines,
            "--last": last,
            "--plot": plot,
        }
        flags |= {"--invert": invert, "--prompt": prompt, "--beam": beam > 1, **files.flags()}
        flags |= {
            f"--{name.replace('_', '-')}": value is not None for name, value in sampling.items()
        }
        _refuse("with --stream", flags)
        pace = {"real_time": real_time, "frame_rate": frame_rate}
        options = {"chunk": chunk, "frames": frames, "engine": engine, **pace}
        _run_stream(bundle, inputs, options, provider, as_json)
        return
    flags = {"--chunk": chunk, "--frames": frames, "--real-time": real_time}
    flags |= {"--frame-rate": frame_rate, "--engine": engine}
    _refuse("without --stream", flags)
    if plot is not None:
        from rnn_edge.cli.plots import require_plotting

        require_plotting()
    given = _Given(inputs, texts, lines, last, invert)
    generation = {name: value for name, value in sampling.items() if value is not None}
    if prompt is not None:
        generation["prompt"] = prompt
    pipeline = Pipeline(bundle, provider)
    if not pipeline.styles:
        _refuse("for a bundle that writes no tunes", files.flags())
    with _one_warning():
        if pipeline.generates:
            flags = {"--plot": plot, "--lines": lines, "--last": last, "--invert": invert}
            flags["--beam"] = beam > 1
            _refuse("for a language model", flags)
            _generate(pipeline, given, generation, files, as_json)
        else:
            flags = {f"--{name.replace('_', '-')}": True for name in generation}
            _refuse("for a bundle that is no language model", flags)
            _answer(pipeline, given, beam, plot, as_json)


def _run_stream(
    source: Path,
    inputs: Sequence[str],
    options: Mapping[str, Any],
    provider: str,
    as_json: bool,
) -> None:
    from rnn_edge.cli.stream_run import RAW, StreamInput, run_stream

    if options["frames"] == RAW and as_json:
        raise click.UsageError("--frames and --json are two forms of output; give one.")
    files = [name for name in inputs if name != STANDARD_INPUT]
    if len(inputs) > 1 or any(Path(name).suffix.lower() != ".wav" for name in files):
        raise InputError(
            "a stream must come from one WAV file or standard input, "
            f"got {', '.join(inputs)}. Pipe other files in."
        )
    if files:
        _refuse("with a WAV file", {"--frames": options["frames"]})
    else:
        flags = {"--real-time": options["real_time"], "--frame-rate": options["frame_rate"]}
        _refuse("without a WAV file", flags)
    given = StreamInput(files[0] if files else None, **options)
    run_stream(source, provider, given, as_json)


def _refuse(where: str, options: Mapping[str, object]) -> None:
    """Raise InputError when one of ``options``, flag -> value, was given."""
    given = [flag for flag, value in options.items() if value]
    if given:
        raise InputError(f"{', '.join(given)} must be left out {where}. Leave it out.")


def _answer(pipeline: Pipeline, given: _Given, beam: int, plot: Path | None, as_json: bool) -> None:
    if not pipeline.searches:
        _refuse("where answers are no texts", {"--beam": beam > 1})
    if pipeline.reads_images:
        _refuse("for images", {"--lines": given.lines, "--last": given.last})
    else:
        _refuse("for anything but images", {"--invert": given.invert})
    samples = _samples(pipeline, given)
    for sample in samples:
        if sample.note:
            say(sample.note)
    answers = pipeline.answer(samples, beam)
    if plot is not None:
        from rnn_edge.cli.plots import plot_answers

        plot_answers(pipeline, samples, answers, plot)
    if as_json:
        print_json(_document(pipeline, samples, answers))
    else:
        _show(samples, answers)


def _samples(pipeline: Pipeline, given: _Given) -> list[Sample]:
    if given.is_empty and sys.stdin.isatty():
        raise click.UsageError("Give an INPUT file, --text, or pipe something in.")
    files = (STANDARD_INPUT,) if given.is_empty else given.files
    samples: list[Sample] = []
    for name in files:
        if Path(name).is_dir():
            samples.append(pipeline.read_folder(Path(name)))
            continue
        content, source = _content(name)
        if given.lines:
            samples += pipeline.read_lines(content, source)
        else:
            samples.append(pipeline.read(content, source, invert=given.invert))
    for number, text in enumerate(given.texts, 1):
        source = "--text" if len(given.texts) == 1 else f"--text number {number}"
        samples.append(pipeline.read_line(text, source))
    if given.last is None:
        return samples
    return [sample.last(given.last) for sample in samples]


def _prompt(given: _Given, prompt: str | None) -> str | None:
    """The one text to continue; None for the start of a line."""
    from rnn_edge.text_file import decode_text

    prompts = [*([] if prompt is None else [prompt]), *given.texts]
    files: Sequence[str] = given.files
    if not prompts and not files and not sys.stdin.isatty():
        files = [STANDARD_INPUT]
    for name in files:
        content, source = _content(name)
        if content or given.files:
            prompts.append(decode_text(content, source).removesuffix("\n"))
    if len(prompts) > 1:
        raise InputError(f"a language model must get one prompt, got {len(prompts)}. Give one.")
    return prompts[0] if prompts else None


def _content(name: str) -> tuple[bytes, str]:
    """The bytes of a file or of standard input, and what errors call it."""
    from rnn_edge.runtime.pipeline import file_content

    if name == STANDARD_INPUT:
        return sys.stdin.buffer.read(), "standard input"
    return file_content(name), name


def _generate(
    pipeline: Pipeline,
    given: _Given,
    options: Mapping[str, Any],
    files: TuneFiles,
    as_json: bool,
) -> None:
    from rnn_edge.runtime import Sampling

    usual = {"length": MOST_CHARACTERS} if pipeline.styles else {}
    chosen = {"seed": secrets.randbelow(1 << 32), **usual, **options}
    prompt = _prompt(given, chosen.pop("prompt", None))
    if pipeline.styles:
        files.require(pipeline.styles, prompt)
        prompt = files.prompt() if prompt is None else prompt
    sampling = Sampling(**chosen)
    text = pipeline.generate(prompt, sampling)
    if pipeline.styles:
        text = one_tune(prompt or "", text)
    shown = (prompt or "").lstrip("\n") if pipeline.styles else prompt or ""
    written = []
    if not as_json:
        click.echo(shown, nl=False)
    for character in text:
        written.append(character)
        if not as_json:
            click.echo(character, nl=False)
    if as_json:
        document = {"provider": pipeline.session.provider, "prompt": prompt, **asdict(sampling)}
        print_json({**document, "text": "".join(written)})
    elif not pipeline.styles or written[-1:] != ["\n"]:
        click.echo()
    if files.midi or files.wav:
        files.write(shown + "".join(written))


def _document(
    pipeline: Pipeline, samples: Sequence[Sample], answers: Sequence[Answer]
) -> dict[str, Any]:
    return {
        "provider": pipeline.session.provider,
        "results": [
            {"input": sample.excerpt, **answer.to_dict()}
            for sample, answer in zip(samples, answers, strict=True)
        ],
    }


def _show(samples: Sequence[Sample], answers: Sequence[Answer]) -> None:
    from rnn_edge.runtime.decoders import LabelAnswer

    if len(answers) == 1 and isinstance(answers[0], LabelAnswer) and not answers[0].has_steps:
        pairs = zip(answers[0].labels, answers[0].probabilities.tolist(), strict=True)
        print_table(("label", "probability"), sorted(pairs, key=itemgetter(1), reverse=True))
        return
    names = ("label", "probability") if isinstance(answers[0], LabelAnswer) else answers[0].columns
    with_input = ("input",) if len(answers) > 1 else ()
    with_step = ("step",) if answers[0].has_steps else ()
    rows = [
        (*([excerpt(sample.excerpt)] if with_input else []), *([step] if with_step else []), *row)
        for sample, answer in zip(samples, answers, strict=True)
        for step, row in enumerate(answer.rows(), 1)
    ]
    print_table((*with_input, *with_step, *names), rows)


@contextmanager
def _one_warning() -> Iterator[None]:
    """Say one line about sequences longer than the model was trained on, the longest first."""
    from rnn_edge.runtime import LongSequenceWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", LongSequenceWarning)
        yield
    told = False
    for warning in caught:
        if not issubclass(warning.category, LongSequenceWarning):
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
        elif not told:
            say(f"Warning: {warning.message}")
            told = True
