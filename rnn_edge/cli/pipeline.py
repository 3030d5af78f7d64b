"""`rnn-edge pipeline`: vocabulary, features of sound and labels around any .onnx file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from rnn_edge.cli.options import json_option
from rnn_edge.cli.output import print_json, say
from rnn_edge.cli.parity import pipeline_line, stream_line
from rnn_edge.cli.source_options import State, surroundings_options


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@surroundings_options
@click.option("--lengths", metavar="NAME", help="The input that holds the steps of each row.")
@click.option(
    "--axis",
    "axes",
    type=State(),
    multiple=True,
    help="A name of an axis in FILE and what it is, batch or sequence, as N=batch. Once per axis.",
)
@click.option(
    "--state",
    "states",
    type=State(),
    multiple=True,
    help="An input and the output that feeds it in the next call, as h=h_n. Once per state.",
)
@click.option(
    "--portable",
    is_flag=True,
    help="Of standard operators alone: texts as code points, not strings.",
)
@click.option(
    "--bundle",
    is_flag=True,
    help="Write a bundle, as `rnn-edge export` does: FILE, its pipeline, and its stream where it "
    "is causal.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder or file to write.  [default: NAME.pipeline.onnx beside FILE; of a bundle, "
    "exported/ and the name of FILE]",
)
@json_option
def pipeline(
    file: Path,
    front_end: str | None,
    vocab: Path | None,
    labels: Path | None,
    decoder: str | None,
    lengths: str | None,
    axes: Sequence[tuple[str, str]],
    states: Sequence[tuple[str, str]],
    portable: bool,
    bundle: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """Put what an app has before FILE, any .onnx, and what a person reads behind it.

    Texts, samples or rows of numbers in, labels, tags or texts out, in one run of one new file. Its
    answers are compared with those of front end, FILE and decoder, one after the other; where one
    is off, nothing is written.

    Example: rnn-edge pipeline theirs.onnx --vocab vocab.txt --labels labels.txt --lengths lengths
    """
    from rnn_edge.source.descriptions import read_decoder, read_front_end

    before = read_front_end(front_end, vocab)
    said = read_decoder(decoder, labels, before)
    if said is None:
        raise click.UsageError("what FILE gives must be known: give --labels, or --decoder.")
    if file.exists():
        say(f"Putting front end and decoder around {file} and comparing the answers ...")
    options: dict[str, Any] = {"front_end": before, "decoder": said, "lengths": lengths}
    options |= {"axes": dict(axes), "states": dict(states), "portable": portable}
    if bundle:
        _write_bundle(file, output or Path("exported") / file.stem, options, as_json)
        return
    from rnn_edge.pipeline_file import derive_pipeline

    found = derive_pipeline(file, output, **options)
    if as_json:
        print_json({"file": str(found.path), "pipeline": dict(found.evidence)})
        return
    size = found.path.stat().st_size
    click.echo(f"Wrote {found.path} ({size:,} bytes), which takes and gives:")
    for spec in found.contract.inputs:
        click.echo(f"  in   {spec}")
    for spec in found.contract.outputs:
        click.echo(f"  out  {spec}")


def _write_bundle(file: Path, folder: Path, options: dict[str, Any], as_json: bool) -> None:
    from rnn_edge.file_bundle import write_file_bundle

    made = write_file_bundle(file, folder, **options)
    evidence = made.evidence
    if as_json:
        told = {key: evidence[key] for key in ("files", "parity", "stream", "pipeline")}
        print_json({"bundle": str(made.path), **told})
        return
    click.echo(f"Wrote {made.path}.")
    click.echo(stream_line(made.contract, evidence["stream"]))
    click.echo(pipeline_line(made.contract, evidence["pipeline"]))
