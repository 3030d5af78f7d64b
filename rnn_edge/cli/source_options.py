"""What commands share that take a person's own module."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rnn_edge.cli.options import Command
from rnn_edge.cli.suggestions import Choice
from rnn_edge.errors import InputError
from rnn_edge.source.declarations import Constant, Declaration, read_declaration
from rnn_edge.source.module_file import importing_neighbours, is_module_file, load_module

if TYPE_CHECKING:
    from torch import nn


class Input(click.ParamType[Declaration | Constant]):
    """``x:float32[batch,sequence,40]``; ``tokens:int64[batch,sequence]<5000``; ``scale=2.0``."""

    name = "INPUT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Declaration | Constant:
        if isinstance(value, Declaration | Constant):
            return value
        try:
            return read_declaration(value)
        except InputError as error:
            self.fail(str(error), param, ctx)


class State(click.ParamType[tuple[str, str]]):
    """``h=h_n``."""

    name = "INPUT=OUTPUT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        source, _, target = value.partition("=")
        if not source or not target:
            self.fail(f"must be INPUT=OUTPUT, such as h=h_n, got {value!r}", param, ctx)
        return source, target


def weights_option(command: Command) -> Command:
    return click.option(
        "--weights",
        type=click.Path(path_type=Path),
        help="Weights of a module from a Python file: safetensors, or what torch.save wrote.",
    )(command)


def input_option(command: Command) -> Command:
    return click.option(
        "--input",
        "inputs",
        type=Input(),
        multiple=True,
        help="An input of that module as name:dtype[dims]; names in dims are dynamic axes, <N "
        "bounds ids, state.0 is the first item of a tuple. Or name=value, where it is no tensor. "
        "Once per input.",
    )(command)


def surroundings_options(command: Command) -> Command:
    """What stands before and after a module: front end, vocabulary, labels, decoder."""
    from rnn_edge.source.descriptions import DECODERS

    path = click.Path(path_type=Path)
    for option in (
        click.option(
            "--decoder",
            type=Choice(DECODERS),
            help="What the first output of that module is.  [default: labels, with --labels]",
        ),
        click.option("--labels", type=path, help="Names of its numbers, one a line."),
        click.option(
            "--vocab",
            type=path,
            help="Characters that it reads, one a line in the order of ids; <pad>, <unk>.",
        ),
        click.option(
            "--front-end",
            metavar="KIND:...",
            help="What it reads: log-mel:16000,n_mels=40,window=400,hop=160, "
            "mfcc:16000,n_mfcc=13,... or spectrogram:16000,... of sound, samples:16000 as they "
            "are, series:FILE with the columns of numbers, or bytes:offset=0,padding=0 of a text.",
        ),
    ):
        command = option(command)
    return command


def writing_options(command: Command) -> Command:
    """How a module whose texts begin with <start> writes them."""
    for option in (
        click.option(
            "--beams",
            type=click.IntRange(1),
            help="Texts in view where that module gives logits of the next name; the likeliest is "
            "the answer.  [default: 1]",
        ),
        click.option(
            "--steps", type=click.IntRange(1), help="Names of such a text at most.  [default: 200]"
        ),
    ):
        command = option(command)
    return command


def open_module(source: Path, weights: Path | None) -> nn.Module:
    """The module of ``path/to/file.py:callable`` with ``weights``, or that of a checkpoint folder.

    Raises SourceError and CheckpointError.
    """
    if not is_module_file(str(source)):
        if weights is not None:
            raise click.UsageError("--weights goes with a Python file; a checkpoint has its own.")
        from rnn_edge.checkpoint import load_checkpoint

        return load_checkpoint(source).module
    module = load_module(str(source))
    from rnn_edge.source.weights import fold_weight_norm, load_weights

    if weights is not None:
        load_weights(module, weights)
    fold_weight_norm(module)
    return module


@contextmanager
def quiet_forward(source: Path | None = None) -> Iterator[None]:
    """Let a module from ``source`` run: it may import files beside its own.

    What it prints goes to stderr, since stdout is for the command's own results.
    """
    with redirect_stdout(sys.stderr), importing_neighbours(str(source)):
        yield
