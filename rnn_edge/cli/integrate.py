"""`rnn-edge integrate`: a program that runs a bundle in the language of an app."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from rnn_edge.bundle import GOLDEN_PREFIX
from rnn_edge.cli.options import json_option
from rnn_edge.cli.output import print_json
from rnn_edge.cli.suggestions import Choice
from rnn_edge.cli.tables import print_table
from rnn_edge.integration import HOSTS, Integration


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--host",
    type=Choice(list(HOSTS)),
    required=True,
    help="Where it is to run: " + " ".join(f"{name}: {what}" for name, what in HOSTS.items()),
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder to write.  [default: NAME-HOST in the current folder]",
)
@click.option(
    "--int8", is_flag=True, help="c99, rust and java: weights as 8-bit integers, a scale a row."
)
@json_option
def integrate(bundle: Path, host: str, output: Path | None, int8: bool, as_json: bool) -> None:
    """Write a small, complete program that runs BUNDLE in another language.

    It checks the contract, carries the state of a stream, does what stands before and after the
    graph, and replays the golden data when it is asked to test itself. Its README says how to
    build it. c99, rust and java take any .onnx file of a stream graph as well.

    Example: rnn-edge integrate exported/sine --host c99 -o sine-c99
    """
    from rnn_edge.bundle import open_source
    from rnn_edge.integration import integrate as write_program

    options: dict[str, Any] = {"int8": True} if int8 else {}
    if int8 and host not in ("c99", "rust", "java"):
        raise click.UsageError(f"--int8 is for c99, rust and java, got --host {host}.")
    source = open_source(bundle)
    name = source.stem if isinstance(source, Path) else source.name
    written = write_program(source, host, output or Path(f"{name}-{host}"), **options)
    if as_json:
        print_json({**asdict(written), "path": str(written.path)})
        return
    print_table(("file", "bytes"), list(_sizes(written).items()))
    for what, value in written.about.items():
        click.echo(f"{what}: {value}")
    click.echo(f"Wrote {written.path}; its README.md says how to build it.")


def _sizes(written: Integration) -> dict[str, int]:
    """Bytes by file; the golden data of a graph, many small files, as one."""
    found: dict[str, int] = {}
    for file in written.files:
        before, golden, _ = file.partition(GOLDEN_PREFIX)
        name = f"{before}{golden}*" if golden else file
        found[name] = found.get(name, 0) + (written.path / file).stat().st_size
    return found
