"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

from rnn_edge.cli.suggestions import Choice

Command = TypeVar("Command", bound=Callable[..., object])


def json_option(command: Command) -> Command:
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON document instead of a table."
    )(command)


def frame_rate_option(command: Command) -> Command:
    return click.option(
        "--frame-rate",
        type=click.FloatRange(0, min_open=True),
        metavar="HZ",
        help="Frames of the input a second in real time: 16000 for samples, 100 for features.",
    )(command)


def provider_option(command: Command) -> Command:
    return click.option(
        "--provider",
        type=Choice(["cpu", "cuda"]),
        default="cpu",
        show_default=True,
        help="Execution provider. cuda never falls back to cpu in silence.",
    )(command)
