"""`rnn-edge profile --stream`: how the measurements of a stream are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rnn_edge.cli.tables import print_table

if TYPE_CHECKING:
    from rnn_edge.profiling.streaming import StreamProfile


def show_stream_profile(result: StreamProfile) -> None:
    """A table of pushes, and a line for the deadline; ``--json`` has every figure."""
    rate = result.frame_rate
    rows = [
        (
            each.streams,
            each.chunk,
            *(_short(each.percentile_us(percent)) for percent in (50, 99, 99.9)),
            _short(each.frame_us),
            f"{result.relative(each):.3g}",
            *([f"{each.real_time_factor(rate):.3g}"] if rate else []),
        )
        for each in result.latencies
    ]
    plural = "s" if result.threads > 1 else ""
    late = f", answers {result.latency_frames} frames late" * bool(result.latency_frames)
    print_table(
        ("streams", "chunk", "p50", "p99", "p99.9", "us a frame", "relative")
        + (("real-time factor",) if rate else ()),
        rows,
        title=f"{result.name}: microseconds a push on {result.provider} with {result.threads} "
        f"thread{plural}{late}",
    )
    capacity = result.capacity
    if capacity is None:
        return
    if capacity.streams == 0:
        click.echo(
            f"No stream meets {capacity.deadline_ms:g} ms a step: p99 {capacity.p99_ms:.3g} ms."
        )
        return
    least = "At least " if capacity.more else ""
    click.echo(
        f"{least}{capacity.streams} streams on this core meet {capacity.deadline_ms:g} ms a step: "
        f"p99 {capacity.p99_ms:.3g} ms."
    )


def _short(value: float) -> str:
    """3 significant digits, no exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
