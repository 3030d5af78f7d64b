"""`rnn-edge export`: a checkpoint or a person's own module becomes a verified bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from rnn_edge.cli.options import frame_rate_option, json_option
from rnn_edge.cli.output import print_json, say
from rnn_edge.cli.parity import generation_line, pipeline_line, print_parity, stream_line
from rnn_edge.cli.source_options import (
    State,
    input_option,
    open_module,
    quiet_forward,
    surroundings_options,
    weights_option,
    writing_options,
)
from rnn_edge.source.declarations import Constant, Declaration, make_examples
from rnn_edge.source.module_file import is_module_file, name_module

if TYPE_CHECKING:
    from rnn_edge.bundle import Bundle

_ANNOUNCEMENT = "Exporting {} and verifying it at other lengths and batches ..."


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@weights_option
@input_option
@click.option(
    "--output-name",
    "output_names",
    metavar="NAME",
    multiple=True,
    help="Name of an output of that module. Once per output, in order.",
)
@click.option(
    "--state",
    "states",
    type=State(),
    multiple=True,
    help="An input and the output that feeds it in the next call, as h=h_n. Once per state.",
)
@click.option(
    "--stream/--no-stream",
    default=None,
    help="Demand stream.onnx, which takes the sequence in chunks, or leave it out.  "
    "[default: written where the model is causal in time]",
)
@click.option(
    "--time-axis",
    metavar="NAME",
    help="The axis of time of that module.  [default: sequence, or the one beside batch]",
)
@frame_rate_option
@surroundings_options
@writing_options
@click.option(
    "--portable",
    is_flag=True,
    help="pipeline.onnx of standard operators alone: texts as code points, not strings.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder of the bundle.  [default: exported/ and the name of SOURCE]",
)
@json_option
def export(
    source: Path,
    weights: Path | None,
    inputs: Sequence[Declaration | Constant],
    output_names: Sequence[str],
    states: Sequence[tuple[str, str]],
    stream: bool | None,
    time_axis: str | None,
    frame_rate: float | None,
    portable: bool,
    front_end: str | None,
    vocab: Path | None,
    labels: Path | None,
    decoder: str | None,
    steps: int | None,
    beams: int | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Export SOURCE to a bundle that any app can run.

    SOURCE is a checkpoint folder, or path/to/file.py:callable with at least one --input; callable
    returns the nn.Module. The graph is compared with the module at other lengths and batches; if
    any answer is off, nothing is written.

    Example: rnn-edge export net.py:Tagger --weights net.pt --input "x:float32[batch,sequence,40]"
    """
    if source.suffix == ".onnx":
        raise click.UsageError(
            f"SOURCE must be a checkpoint or path/to/file.py:callable, got {source}. "
            "`rnn-edge pipeline` and `rnn-edge stream` take an .onnx from elsewhere."
        )
    own = is_module_file(str(source))
    if own and not inputs:
        raise click.UsageError('a module needs --input, such as "x:float32[batch,sequence,40]".')
    around: dict[str, Any] = {
        "front_end": front_end, "vocab": vocab, "labels": labels, "decoder": decoder,
        "steps": steps, "beams": beams,
    }  # fmt: skip
    named = [weights, *inputs, *output_names, *states, time_axis, *around.values()]
    if not own and any(named):
        raise click.UsageError(
            "--weights, --input, --output-name, --state, --time-axis, --front-end, --vocab, "
            "--labels, --decoder, --steps and --beams go with path/to/file.py:callable; a "
            "checkpoint knows its own."
        )
    target = output or Path("exported") / (
        name_module(str(source)) if own else source.resolve().name
    )
    wish: bool | Literal["auto"] = "auto" if stream is None else stream
    if own:
        names = {"output_names": list(output_names) or None, "states": dict(states)}
        wishes = {"stream": wish, "time_axis": time_axis, "frame_rate": frame_rate}
        options = {**names, **wishes, "portable": portable}
        bundle = _export_module(source, weights, inputs, target, {**options, **around})
    else:
        from rnn_edge.checkpoint import load_checkpoint
        from rnn_edge.exporting import export_checkpoint

        checkpoint = load_checkpoint(source)
        say(_ANNOUNCEMENT.format(source))
        bundle = export_checkpoint(
            checkpoint, target, stream=wish, frame_rate=frame_rate, portable=portable
        )
    _show(bundle, as_json)


def _export_module(
    source: Path,
    weights: Path | None,
    inputs: Sequence[Declaration | Constant],
    target: Path,
    options: dict[str, Any],
) -> Bundle:
    from rnn_edge.exporting import export as export_module
    from rnn_edge.source.descriptions import read_decoder, read_front_end, without_scales

    front_end = read_front_end(options.pop("front_end"), options.pop("vocab"))
    decoder, labels, steps, beams = map(options.pop, ("decoder", "labels", "steps", "beams"))
    said = read_decoder(decoder, labels, front_end, steps, beams)
    module = open_module(source, weights)
    say(_ANNOUNCEMENT.format(source))
    with quiet_forward(source):
        examples = make_examples(module, inputs)
        return export_module(
            module,
            examples.args,
            target,
            axes=examples.axes,
            kwargs=examples.kwargs,
            bounds=examples.bounds,
            front_end=without_scales(front_end),
            decoder=without_scales(said),
            **options,
        )


def _show(bundle: Bundle, as_json: bool) -> None:
    if as_json:
        found = {
            key: bundle.evidence[key]
            for key in ("files", "parity", "stream", "generate", "pipeline")
        }
        print_json({"bundle": str(bundle.path), **found})
        return
    print_parity(bundle.evidence["parity"])
    size = bundle.graph_path().stat().st_size
    click.echo(f"Wrote {bundle.path} ({size:,} bytes of model.onnx).")
    click.echo(stream_line(bundle.contract, bundle.evidence["stream"]))
    for line in (
        generation_line(bundle.contract, bundle.evidence["generate"]),
        pipeline_line(bundle.contract, bundle.evidence["pipeline"]),
    ):
        if line is not None:
            click.echo(line)
