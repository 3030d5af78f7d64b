"""The `rnn-edge` program: finds commands by name, and turns errors into one line."""

from __future__ import annotations

import gc
import os
import sys
from importlib import import_module

import click

from rnn_edge.cli.suggestions import SuggestingGroup
from rnn_edge.errors import RnnEdgeError
from rnn_edge.version import VERSION

# Each command lives in rnn_edge/cli/NAME.py and is imported only when it is called.
COMMANDS = {
    "train": "Train a recurrent model; writes a checkpoint folder.",
    "export": "Export a checkpoint or a module; writes a verified bundle.",
    "stream": "Make a graph for chunks from any whole-sequence .onnx file.",
    "pipeline": "Put vocabulary, features of sound and labels around any .onnx file.",
    "verify": "Check a bundle against its golden data, or against the original module.",
    "run": "Run a bundle on text, numbers or images.",
    "profile": "Measure latency, throughput, memory and cold start of a bundle.",
    "tune": "Find the fastest way to run a bundle on this machine, and keep it.",
    "quantize": "Write a bundle with int8 or float16 weights, within a budget of accuracy.",
    "integrate": "Write a program that runs a bundle in another language.",
    "inspect": "Show what a bundle or an .onnx file takes and gives.",
    "doctor": "Show this machine's versions, providers, threads and CPU features.",
}


class Program(SuggestingGroup):
    """A group that imports a command's file only when that command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"rnn_edge.cli.{name}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except RnnEdgeError as error:
            raise click.ClickException(" ".join(str(error).split())) from error


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="rnn-edge")
def program() -> None:
    """Any PyTorch recurrent model becomes one folder that any app can run.

    Example: rnn-edge train forecast -o checkpoints/sine && rnn-edge export checkpoints/sine
    """


def main() -> None:
    """Run the program; exit code 0, 1 for an error, 2 for wrong usage, 130 for Ctrl-C."""
    # What torch makes when it is imported stays: looking through it again and again takes long.
    gc.set_threshold(10_000, *gc.get_threshold()[1:])
    try:
        result = program(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        code = 130
    except BrokenPipeError:
        # The reader (head, less) has gone; a second flush at exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    else:
        code = result if isinstance(result, int) else 0
    sys.exit(code)
