"""`rnn-edge stream`: a graph for chunks from any whole-sequence .onnx file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from rnn_edge.cli.options import frame_rate_option, json_option
from rnn_edge.cli.output import print_json, say
from rnn_edge.cli.parity import describe_rule, print_stream_parity
from rnn_edge.cli.source_options import State


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder or file to write.  [default: NAME.stream.onnx beside FILE]",
)
@click.option("--axis", metavar="NAME", help="The axis of time.  [default: sequence]")
@click.option("--batch", metavar="NAME", help="The axis of rows.  [default: batch, or the other]")
@click.option(
    "--state",
    "states",
    type=State(),
    multiple=True,
    help="An input and the output that feeds it in the next call, as h=h_n. Once per state.",
)
@frame_rate_option
@json_option
def stream(
    file: Path,
    output: Path | None,
    axis: str | None,
    batch: str | None,
    states: Sequence[tuple[str, str]],
    frame_rate: float | None,
    as_json: bool,
) -> None:
    """Derive a graph that takes chunks from FILE, any .onnx that takes whole sequences.

    Its states go in and out; its contract is in the file, so that `rnn-edge run --stream` and
    rnn_edge.StreamSession run it. Random chunks are compared with FILE's own answers before
    anything is written. A model that looks ahead is refused.

    Example: rnn-edge stream tagger.onnx --axis time
    """
    from rnn_edge.stream_file import derive_stream

    if file.exists():
        say(f"Deriving the stream graph of {file} and comparing it in chunks ...")
    found = derive_stream(
        file, output, axis=axis, batch=batch, states=dict(states), frame_rate=frame_rate
    )
    rule = found.contract.stream
    assert rule is not None
    if as_json:
        print_json({"file": str(found.path), "stream": found.report.to_dict()})
        return
    print_stream_parity(found.report.to_dict())
    size = found.path.stat().st_size
    click.echo(f"Wrote {found.path} ({size:,} bytes): {describe_rule(rule)}.")
