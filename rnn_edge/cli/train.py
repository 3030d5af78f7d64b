"""`rnn-edge train TASK`: train a model, show what it reached, write a checkpoint folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

from rnn_edge.cli.options import json_option
from rnn_edge.cli.output import print_json, say
from rnn_edge.cli.suggestions import Choice, SuggestingGroup
from rnn_edge.cli.tables import print_table
from rnn_edge.extras import import_extra
from rnn_edge.tasks import task_class, task_summaries
from rnn_edge.tasks.task import Option, Task

if TYPE_CHECKING:
    from rnn_edge.checkpoint import Checkpoint


class TaskGroup(SuggestingGroup):
    """One subcommand a task; a task's file is imported only when that one is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(task_summaries())

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return _task_command(name) if name in task_summaries() else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Tasks"):
            formatter.write_dl(list(task_summaries().items()))


@click.group(cls=TaskGroup, subcommand_metavar="TASK [OPTIONS]")
def train() -> None:
    """Train a recurrent model; writes a checkpoint folder.

    `rnn-edge train TASK --help` shows a task's options.

    Example: rnn-edge train forecast --cell lstm -o checkpoints/sine
    """


def _task_command(name: str) -> click.Command:
    task = task_class(name)

    def run(
        data: str | None,
        output: str | None,
        resume: str | None,
        quiet: bool,
        as_json: bool,
        plot: bool = False,
        **options: Any,
    ) -> None:
        import_extra("lightning")
        from rnn_edge.training import train as train_task

        # Only what was asked for: a resumed run brings its own options, a fresh one the task's.
        given = {option: value for option, value in options.items() if _is_given(option)}
        try:
            checkpoint = train_task(
                name, data, output=output, resume=resume, plot=plot, progress=not quiet, **given
            )
        except KeyboardInterrupt as stop:
            say(" ".join(map(str, stop.args)))
            raise
        _show(checkpoint, as_json)

    return click.Command(
        name,
        callback=run,
        params=[*_shared_options(name, task), *_model_and_training(task), *_own_options(task)],
        help=f"{task_summaries()[name]}\n\nExample: rnn-edge train {name} -o checkpoints/{name}",
    )


def _shared_options(name: str, task: type[Task]) -> list[click.Parameter]:
    embedded = ", ".join(task.embedded)

    @click.option(
        "--data",
        show_default=task.embedded[0],
        help=f"{embedded} (embedded), or {task.data_help}.",
    )
    @click.option(
        "-o",
        "--output",
        type=click.Path(file_okay=False),
        metavar="FOLDER",
        show_default=f"checkpoints/{name}",
        help="Checkpoint folder to write; with --resume, the folder resumed.",
    )
    @click.option(
        "--resume",
        type=click.Path(file_okay=False),
        metavar="FOLDER",
        help="Continue the run of this checkpoint; only --epochs may be changed.",
    )
    @click.option("--plot", is_flag=True, help="Also draw what the task has to show.")
    @click.option("--quiet", is_flag=True, help="Show no progress.")
    @json_option
    def holder() -> None: ...

    parameters: list[click.Parameter] = holder.__click_params__[::-1]  # type: ignore[attr-defined]
    draws = task.plot is not Task.plot
    return [parameter for parameter in parameters if draws or parameter.name != "plot"]


def _model_and_training(task: type[Task]) -> Iterator[click.Parameter]:
    for defaults in (task.model, task.training):
        for item in fields(defaults):
            if item.name == "bidirectional" and task.causal:
                continue
            about = item.metadata
            default = getattr(defaults, item.name)
            option = Option(item.name, default, about["help"], about["choices"])
            yield _option(task, option, about["minimum"], about["below"])


def _own_options(task: type[Task]) -> Iterator[click.Parameter]:
    for option in task.options:
        yield _option(task, option, option.minimum, option.below)


def _option(
    task: type[Task], option: Option, minimum: float | None = None, below: float | None = None
) -> click.Option:
    flag = f"--{option.name.replace('_', '-')}"
    kind: Any = option.kind or type(option.default)
    if kind is bool:
        flag += f"/--no-{option.name.replace('_', '-')}"
    elif option.choices:
        kind = Choice(option.choices)
    elif minimum is not None:
        number: Any = click.IntRange if kind is int else click.FloatRange
        kind = number(min=minimum, max=below, max_open=below is not None)
    shown: bool | str = option.default is not None
    others = {data: own[option.name] for data, own in task.recipes.items() if option.name in own}
    if others:
        shown = "; ".join(
            [str(option.default), *(f"{data}: {value}" for data, value in others.items())]
        )
    return click.Option(
        [flag], type=kind, default=option.default, show_default=shown, help=option.help
    )


def _is_given(option: str) -> bool:
    source = click.get_current_context().get_parameter_source(option)
    return source is not click.core.ParameterSource.DEFAULT


def _show(checkpoint: Checkpoint, as_json: bool) -> None:
    config = checkpoint.config
    if as_json:
        names = ("task", "description", "epochs", "kept_epoch", "metrics", "model", "training")
        print_json({"checkpoint": str(checkpoint.path), **{name: config[name] for name in names}})
        return
    report = config["metrics"]
    click.echo(config["description"])
    measures = list(next(iter(report["scores"].values())))
    scores = [
        [method, *(values.get(measure, "") for measure in measures)]
        for method, values in report["scores"].items()
    ]
    print_table(["test data", *measures], scores)
    for table in report["tables"]:
        print_table(table["columns"], table["rows"], title=table["title"])
    if report["text"]:
        click.echo(report["text"])
    click.echo(f"checkpoint: {checkpoint.path}")
    say(f"Next: rnn-edge export {checkpoint.path}")
