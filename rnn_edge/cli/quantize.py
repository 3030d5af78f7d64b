"""`rnn-edge quantize`: a bundle with int8 or float16 weights, if its answers stay good."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rnn_edge.cli.options import json_option
from rnn_edge.cli.output import print_json, say
from rnn_edge.cli.suggestions import Choice
from rnn_edge.cli.tables import print_table

if TYPE_CHECKING:
    from rnn_edge.quantization import Quantized


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder.  [default: BUNDLE-WEIGHTS]"
)
@click.option(
    "--weights",
    type=Choice(["int8", "int8-stored", "float16"]),
    default="int8",
    show_default=True,
    help="How weights are stored. With int8 large layers compute so too: slow in browsers.",
)
@click.option(
    "--max-drop",
    type=click.FloatRange(0),
    default=0.02,
    show_default=True,
    help="Most that an output may lose: share of labels that change, else relative error.",
)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    help="What BUNDLE comes from: --max-drop then bounds the loss of its task's own measure.",
)
@click.option("--data", help="With --checkpoint: test on this.  [default: the data of its run]")
@json_option
def quantize(
    bundle: Path,
    output: Path | None,
    weights: str,
    max_drop: float,
    checkpoint: Path | None,
    data: str | None,
    as_json: bool,
) -> None:
    """Write BUNDLE with weights of fewer bits, and say what it loses and gains.

    All its graphs: large layers and heads compute with int8, other weights are stored so. Golden
    and random inputs, 10,000 steps of the stream, and what generate.onnx and pipeline.onnx give are
    compared with the float32 bundle; nothing is written where an output loses more than --max-drop.
    With --checkpoint the budget is of the task's own measure on its test data: a difference where
    more is better, else a relative growth.

    Example: rnn-edge quantize exported/speech --max-drop 0.01
    """
    from rnn_edge.quantization import quantize as quantize_bundle

    say(f"Quantising {bundle} and comparing it with float32 ...")
    target = output or bundle.with_name(f"{bundle.resolve().name}-{weights}")
    if data is not None and checkpoint is None:
        raise click.UsageError("--data goes with --checkpoint; give it too.")
    found = quantize_bundle(
        bundle, target, weights=weights, max_drop=max_drop, checkpoint=checkpoint, data=data
    )
    if as_json:
        print_json(found.to_dict())
        return
    _show(found)
    share = found.quantised_bytes / found.float_bytes
    layers, stored = sum(found.nodes.values()), sum(found.stored.values())
    click.echo(
        f"Wrote {found.bundle.path}: {found.quantised_bytes:,} bytes of graphs, {share:.0%} of "
        f"float32; {layers} layers and heads compute with int8, {stored} weights are stored as "
        f"{weights.split('-')[0]}."
    )


def _show(found: Quantized) -> None:
    score = found.score
    if score is not None:
        values = (score.float_value, score.quantised_value, score.drop)
        print_table(
            ("measure", "float32", "quantised", "loss"),
            [(score.measure, *(f"{value:.4g}" for value in values))],
            title="The task's own measure on its test data",
        )
    losses = [(each.output, each.kind, each.drop, each.error) for each in found.all_losses]
    losses += [
        (f"stream, {each.steps:,} steps", "relative error", each.drop, each.error)
        for each in found.drifts
    ]
    print_table(
        ("output", "measure", "loss", "largest error"),
        [(where, kind, f"{drop:.2g}", f"{error:.2g}") for where, kind, drop, error in losses],
        title="Beside float32",
    )
    print_table(
        ("call", "float32 us", "quantised us", "times faster"),
        [
            (each.call, f"{each.float_us:.3g}", f"{each.quantised_us:.3g}", f"{each.ratio:.2f}")
            for each in found.timings
        ],
        title="Median of one thread, timed in turn",
    )
