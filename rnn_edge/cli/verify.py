"""`rnn-edge verify`: does a bundle still give the right answers, here?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rnn_edge.cli.options import json_option, provider_option
from rnn_edge.cli.output import print_json
from rnn_edge.cli.parity import print_drift, print_parity, print_stream_parity
from rnn_edge.cli.source_options import input_option, open_module, quiet_forward, weights_option
from rnn_edge.cli.tables import print_table
from rnn_edge.errors import VerificationError
from rnn_edge.source.declarations import Constant, Declaration, make_examples

if TYPE_CHECKING:
    from rnn_edge.verification import Verification
    from rnn_edge.verification.bisection import Bisection


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--module",
    type=click.Path(path_type=Path),
    help="The original, a checkpoint folder or path/to/file.py:callable: compare with it as well, "
    "at many sizes.",
)
@weights_option
@input_option
@click.option(
    "--bisect",
    "bisecting",
    is_flag=True,
    help="Compare layer by layer with --module: the first layer and time step that are off.",
)
@click.option(
    "--horizon",
    type=click.IntRange(1),
    metavar="STEPS",
    help="Stream so many steps beside --module: how errors grow over 10, 100, 1,000 ... steps.",
)
@provider_option
@json_option
def verify(
    bundle: Path,
    module: Path | None,
    weights: Path | None,
    inputs: Sequence[Declaration | Constant],
    bisecting: bool,
    horizon: int | None,
    provider: str,
    as_json: bool,
) -> None:
    """Replay the golden data of BUNDLE, and its golden chunks one after another; needs no torch.

    With --module, the graph is also compared with the eager module at other lengths and batches,
    and its stream graph in chunks; one whose arguments are nested needs the --input that it was
    exported with. With --bisect, a table shows every recurrent layer, its worst error and the first
    step that is off.

    Example: rnn-edge verify exported/forecast --module checkpoints/forecast
    """
    from rnn_edge.verification import verify as verify_bundle

    if module is None and (weights is not None or inputs):
        raise click.UsageError("--weights and --input go with --module; give it too.")
    if bisecting and module is None:
        raise click.UsageError("--bisect compares with --module; give it too.")
    if horizon is not None and (module is None or bisecting):
        raise click.UsageError("--horizon compares with --module, without --bisect.")
    original = None if module is None else open_module(module, weights)
    if bisecting:
        with quiet_forward(module):
            found = _bisect(bundle, original, inputs)
        _show(bundle, found, as_json)
        if found.fault:
            raise VerificationError(found.fault)
        return
    options: dict[str, Any] = {"provider": provider, "horizon": horizon}
    if original is not None and inputs:
        examples = make_examples(original, inputs)
        options |= {"args": examples.args, "kwargs": examples.kwargs}
    with quiet_forward(module):
        report = verify_bundle(bundle, original, **options)
    _tell(bundle, report, as_json)


def _tell(bundle: Path, report: Verification, as_json: bool) -> None:
    streaming = ("golden_chunks", "chunks", "drift")
    found = report.to_dict()
    stream = {key: found.pop(key) for key in streaming}
    pipeline = {"golden_calls": found.pop("golden_calls")}
    if as_json:
        told = {"bundle": str(bundle), "parity": found, "stream": stream, "pipeline": pipeline}
        print_json(told)
        return
    print_parity(found)
    for name, count in report.golden_calls.items():
        click.echo(f"Right in {count} golden calls of {name}.onnx.")
    if report.golden_chunks is not None:
        calls = len(report.golden_chunks.cases)
        click.echo(f"Right in {calls} golden chunks, states carried from one to the next.")
    if stream["chunks"] is not None:
        print_stream_parity(stream["chunks"])
    if report.drift:
        print_drift(report.drift)


def _bisect(bundle: Path, original: Any, inputs: Sequence[Declaration | Constant]) -> Bisection:
    from rnn_edge.bundle import Bundle
    from rnn_edge.verification.bisection import bisect

    if not inputs:
        return bisect(Bundle.load(bundle), original)
    examples = make_examples(original, inputs)
    return bisect(Bundle.load(bundle), original, examples.args, examples.kwargs)


def _show(bundle: Path, found: Bisection, as_json: bool) -> None:
    if as_json:
        print_json({"bundle": str(bundle), **asdict(found)})
        return
    rows = [
        (
            layer.layer,
            f"{layer.error:.2g}",
            f"{layer.tolerance:.2g}",
            "-" if layer.first_wrong_step is None else layer.first_wrong_step,
        )
        for layer in found.layers
    ]
    print_table(["layer", "worst error", "allowed", "first wrong step"], rows)
    wrong = found.first_wrong
    if wrong is not None:
        click.echo(f"First off in {wrong.layer} at step {wrong.first_wrong_step}.")
    elif found.fault:
        click.echo("All of these layers are right: what is off comes after them, or between.")
    else:
        click.echo("All of these layers are right, and so are the outputs.")
