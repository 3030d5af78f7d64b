"""What a run is asked to do: options checked, a resumed run's taken from its checkpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from rnn_edge.checkpoint import TRAINER_STATE, read_config, refuse_foreign_folder
from rnn_edge.errors import CheckpointError, TrainingError
from rnn_edge.tasks import task_class
from rnn_edge.tasks.task import ModelOptions, Task, TrainingOptions

# What may differ from the run that is resumed: its length and where its data lies now.
RESUMABLE = ("epochs",)


@dataclass(frozen=True)
class Plan:
    """One run. ``resume_from`` is the trainer's own state of an earlier one."""

    task: Task
    data: str | None
    model: ModelOptions
    training: TrainingOptions
    output: Path
    resume_from: Path | None = None


def make_plan(
    task: str,
    data: str | None,
    output: str | Path | None,
    resume: str | Path | None,
    options: Mapping[str, Any],
) -> Plan:
    """Raises TrainingError, DataError or CheckpointError for what cannot be done."""
    if resume is not None:
        plan = _resumed(task, data, output, Path(resume), options)
    else:
        plan = _fresh(task, data, Path(output or Path("checkpoints") / task), options)
    if plan.model.bidirectional and plan.task.causal:
        raise TrainingError(
            f"{task} must read its sequences forwards, got bidirectional. Leave it out."
        )
    refuse_foreign_folder(plan.output)
    _refuse_unwritable(plan.output)
    return plan


def _fresh(task: str, data: str | None, output: Path, options: Mapping[str, Any]) -> Plan:
    kind = task_class(task)
    model_names = {item.name for item in fields(ModelOptions)}
    training_names = {item.name for item in fields(TrainingOptions)}
    own_names = {option.name for option in kind.options}
    options = {**kind.recipes.get(data or kind.embedded[0], {}), **options}
    unknown = sorted(set(options) - model_names - training_names - own_names)
    if unknown:
        known = ", ".join(sorted(model_names | training_names | own_names))
        raise TrainingError(f"options must be among {known}, got {', '.join(unknown)}.")
    return Plan(
        kind(**{name: options[name] for name in own_names & set(options)}),
        data,
        replace(kind.model, **{name: options[name] for name in model_names & set(options)}),
        replace(kind.training, **{name: options[name] for name in training_names & set(options)}),
        output,
    )


def _resumed(
    task: str,
    data: str | None,
    output: str | Path | None,
    folder: Path,
    options: Mapping[str, Any],
) -> Plan:
    config = read_config(folder)
    refused = sorted(set(options) - set(RESUMABLE))
    if refused:
        raise TrainingError(
            f"a resumed run must keep its options but for {', '.join(RESUMABLE)}, "
            f"got {', '.join(refused)}. Leave them out."
        )
    if config.get("task") != task:
        raise TrainingError(
            f"task must be {config.get('task')}, which {folder} was trained on, got {task}."
        )
    if not (folder / TRAINER_STATE).is_file():
        raise CheckpointError(
            f"{folder} must hold {TRAINER_STATE} to be resumed, it does not. Train from the start."
        )
    try:
        model = ModelOptions(**config["model"])
        training = TrainingOptions(**config["training"])
        own = task_class(task)(**config["own"])
        stored_data = config["data"]
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder} must hold a complete config.json, got {type(error).__name__}: {error}. "
            "Train from the start."
        ) from None
    training = replace(training, **options)
    return Plan(own, data or stored_data, model, training, Path(output or folder), folder)


def plan_config(plan: Plan) -> dict[str, Any]:
    """The part of config.json that the plan decides."""
    return {
        "task": plan.task.name,
        "own": plan.task.own,
        "data": plan.data,
        "model": asdict(plan.model),
        "training": asdict(plan.training),
    }


def _refuse_unwritable(output: Path) -> None:
    """Learn before the training, not after it, that its result cannot be written."""
    existing = Path(os.path.abspath(output)).parent  # noqa: PTH100 (a link stays a link)
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise CheckpointError(
            f"{output} must be a place to write a folder, {existing} cannot be written. "
            "Choose another folder with -o."
        )
