"""`rnn-edge tune`: find the fastest way to run a bundle on this machine, and keep it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rnn_edge.cli.options import json_option
from rnn_edge.cli.output import print_json, say
from rnn_edge.cli.tables import print_table
from rnn_edge.errors import InputError


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--stream", is_flag=True, help="Tune pushes of single steps.")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Rows.")
@click.option(
    "--sequence", type=click.IntRange(1), default=100, show_default=True, help="Steps of a row."
)
@click.option(
    "--chunk",
    type=click.IntRange(1),
    help="With --stream: frames of a push.  [default: the fewest]",
)
@click.option(
    "--lengths",
    "lengths_file",
    type=click.Path(path_type=Path),
    help="A text file with the lengths of a batch, one a line, in the place of both.",
)
@click.option(
    "--max-drop",
    type=click.FloatRange(0),
    help="Try weights of 8 bits too, which may lose so much (0.02: 2% of the answers).",
)
@click.option(
    "--seconds", type=click.FloatRange(0), default=3.0, show_default=True, help="A candidate."
)
@json_option
def tune(
    bundle: Path,
    stream: bool,
    lengths_file: Path | None,
    max_drop: float | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Time the ways of running BUNDLE on this machine, in turn, and keep the fastest.

    Whole sequences: numbers of threads, a memory arena, threads that spin, rows of alike lengths
    together or not. With --stream: ONNX Runtime, and C that is compiled for this machine. With
    --max-drop also the bundle BUNDLE-int8 that quantize makes, kept if it wins. The winner is
    written beside BUNDLE, for this kind of machine alone; Session and StreamSession use it where
    they are not told otherwise.

    Example: rnn-edge tune exported/sine --stream
    """
    from rnn_edge.tuning import tune as measure

    if options["chunk"] is not None and not stream:
        raise click.UsageError("--chunk goes with --stream.")
    if lengths_file is not None and stream:
        raise click.UsageError("--lengths does not go with --stream.")
    lengths = None if lengths_file is None else _read_lengths(lengths_file)
    result = measure(
        bundle, stream=stream, lengths=lengths, max_drop=max_drop, progress=say, **options
    )
    if as_json:
        print_json(result.to_dict())
        return
    first = result.candidates[0].median_us
    rows = [
        (
            each.name,
            f"{each.median_us:.3g}",
            f"{first / each.median_us:.2f}",
            f"{each.loss:.1g}",
            "kept" if each is result.best else "",
        )
        for each in result.candidates
    ]
    print_table(("candidate", "median us a call", "times faster", "loss", ""), rows)
    for name, reason in result.left_out.items():
        click.echo(f"Left out {name}: {reason}")
    click.echo(f"Wrote {result.path}: {result.best.name}, {result.gain:.2f} times the default.")


def _read_lengths(path: Path) -> list[int]:
    try:
        lengths = [int(word) for word in path.read_text(encoding="utf-8").split()]
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} must be a text file of whole numbers, one a line; {error}. Correct it."
        ) from None
    if not lengths or min(lengths) < 1:
        raise InputError(f"lengths in {path} must be at least 1 and at least one. Correct them.")
    return lengths
