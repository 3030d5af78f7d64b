"""How commands show a parity report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from rnn_edge.cli.tables import print_table
from rnn_edge.contract import Contract, NextCharacterDecoder, StreamRule

if TYPE_CHECKING:
    from rnn_edge.verification.report import Drift


def print_parity(parity: Mapping[str, Any]) -> None:
    """A table with the worst case of each output, and what it was compared with."""
    rows = [
        (
            output["name"],
            f"{output['error']:.2g}",
            f"{output['tolerance']:.2g}",
            f"{output['noise']:.2g}",
            ", ".join(f"{axis} {size}" for axis, size in output["sizes"].items()),
        )
        for output in parity["outputs"]
    ]
    print_table(["output", "worst error", "allowed", "float noise", "at"], rows)
    click.echo(f"Right at all {len(parity['cases'])} sizes tried, against {parity['oracle']}.")


def print_stream_parity(stream: Mapping[str, Any]) -> None:
    """A table with the worst case of each output over all chunkings."""
    rows = [
        (
            output["name"],
            f"{output['error']:.2g}",
            f"{output['tolerance']:.2g}",
            f"{output['noise']:.2g}",
            ", ".join(f"{axis} {size}" for axis, size in output["sizes"].items()),
            output["chunks"],
            "yes" if output["bitwise"] else "no",
        )
        for output in stream["outputs"]
    ]
    columns = ["output", "worst error", "allowed", "float noise", "at", "chunks", "same bits"]
    print_table(columns, rows, "In chunks")
    click.echo(f"Right in chunks: {', '.join(stream['chunkings'])}.")


def print_drift(drift: Sequence[Drift]) -> None:
    """A table of errors by the number of steps streamed."""
    rows = [
        (
            f"{each.steps:,}",
            each.name,
            each.chunks,
            *(
                f"{value:.2g}"
                for value in (
                    each.error,
                    each.whole,
                    each.noise,
                    each.tolerance,
                    each.difference,
                )
            ),
        )
        for each in drift
    ]
    columns = ["steps", "output", "streamed in", "error", "whole sequence", "torch", "allowed"]
    print_table([*columns, "stream to whole"], rows, "Errors against float64 torch by steps")


def stream_line(contract: Contract, evidence: Mapping[str, Any]) -> str:
    """Whether there is a stream graph, or why not."""
    graph = contract.graphs.get("stream")
    if graph is None or graph.stream is None:
        return f"No stream.onnx: {' '.join(str(evidence.get('refused', 'not known')).split())}"
    count = f"{len(graph.states)} state{'s' * (len(graph.states) != 1)}"
    step = contract.graphs.get("step")
    more = f" Wrote {step.file} for single steps." if step is not None else ""
    generate = contract.graphs.get("generate")
    more += f" Wrote {generate.file}, which continues prompts." if generate is not None else ""
    return f"Wrote {graph.file}: {describe_rule(graph.stream)}, {count}.{more}"


def generation_line(contract: Contract, evidence: Mapping[str, Any]) -> str | None:
    """Why a model that gives next characters has no graph that continues prompts."""
    if not isinstance(contract.decoder, NextCharacterDecoder) or "generate" in contract.graphs:
        return None
    return f"No generate.onnx: {' '.join(str(evidence.get('refused', 'not known')).split())}"


def pipeline_line(contract: Contract, evidence: Mapping[str, Any]) -> str | None:
    """Whether there is a graph from raw input to readable answers, or why not."""
    graph = contract.graphs.get("pipeline")
    if graph is not None:
        given, told = (", ".join(map(str, specs)) for specs in (graph.inputs, graph.outputs))
        return f"Wrote {graph.file}: {given} in, {told} out."
    if contract.front_end is None or contract.decoder is None:
        return None
    if isinstance(contract.decoder, NextCharacterDecoder) and "generate" not in contract.graphs:
        return None  # as that line tells
    return f"No pipeline.onnx: {' '.join(str(evidence.get('refused', 'not known')).split())}"


def describe_rule(rule: StreamRule) -> str:
    """How a stream graph is called, in a line."""
    late = f"{rule.latency} frames late" if rule.latency else "no latency"
    start = (
        f"a row starts anew where {rule.reset} is true"
        if rule.reset is not None
        else "a row starts anew from the initial states"
    )
    step = ", all rows at one step" if rule.in_step else ""
    rate = f" of {rule.frame_rate:g} frames a second" if rule.frame_rate is not None else ""
    return f"chunks along {rule.axis}{rate}, {late}, {start}{step}"
