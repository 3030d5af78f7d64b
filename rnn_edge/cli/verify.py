"""`rnn-edge verify`: does a bundle still give the right answers, here?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from rnn_edge.cli.options import json_option, provider_option
from rnn_edge.cli.output import print_json
from rnn_edge.cli.parity import print_parity
from rnn_edge.cli.source_options import input_option, open_module, quiet_forward, weights_option
from rnn_edge.source.declarations import Declaration, make_examples


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
@provider_option
@json_option
def verify(
    bundle: Path,
    module: Path | None,
    weights: Path | None,
    inputs: Sequence[Declaration],
    provider: str,
    as_json: bool,
) -> None:
    """Replay the golden data of BUNDLE; needs no torch.

    With --module, the graph is also compared with the eager module at other lengths and batches;
    one whose arguments are nested needs the --input that it was exported with.

    Example: rnn-edge verify exported/forecast --module checkpoints/forecast
    """
    from rnn_edge.verification import verify as verify_bundle

    if module is None and (weights is not None or inputs):
        raise click.UsageError("--weights and --input go with --module; give it too.")
    original = None if module is None else open_module(module, weights)
    with quiet_forward():
        if original is not None and inputs:
            examples = make_examples(original, inputs)
            report = verify_bundle(
                bundle, original, args=examples.args, kwargs=examples.kwargs, provider=provider
            )
        else:
            report = verify_bundle(bundle, original, provider=provider)
    if as_json:
        print_json({"bundle": str(bundle), "parity": report.to_dict()})
    else:
        print_parity(report.to_dict())
