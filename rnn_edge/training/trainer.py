"""Train a task: data, model, Lightning, report, checkpoint."""

from __future__ import annotations

import csv
import logging
import platform
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import EarlyStopping

from rnn_edge.checkpoint import TRAINER_STATE, Checkpoint, load_checkpoint, save_checkpoint
from rnn_edge.drawing import draw_curve
from rnn_edge.errors import CheckpointError, TrainingError
from rnn_edge.tasks.task import Report, TaskData, TrainingOptions
from rnn_edge.training.averaging import MovingAverage
from rnn_edge.training.evaluation import Evaluation, ResumableState
from rnn_edge.training.interruption import Interrupted, Interruption
from rnn_edge.training.learner import EpochBatches, Learner
from rnn_edge.training.plan import Plan, make_plan, plan_config
from rnn_edge.training.progress import ProgressReport
from rnn_edge.version import VERSION


def train(
    task: str,
    data: str | None = None,
    *,
    output: str | Path | None = None,
    resume: str | Path | None = None,
    plot: bool = False,
    progress: bool = False,
    **options: Any,
) -> Checkpoint:
    """Train ``task`` ("forecast", say) and write the checkpoint folder ``output``.

    data: an embedded data set's name or a path; None takes the task's default.
    output: default "checkpoints/TASK". A checkpoint that is there is replaced at the end.
    resume: a checkpoint folder whose run is continued, to the same result as without a break.
    plot: also draw what the task has to show. progress: show progress on stderr.
    options: fields of ModelOptions and TrainingOptions and the task's own, by name.

    On Ctrl-C what was reached is written, then KeyboardInterrupt raised. Raises RnnEdgeError
    otherwise; then what stood at ``output`` still stands there.
    """
    plan = make_plan(task, data, output, resume, options)
    with (
        torch.random.fork_rng(devices=[]),
        _threads(plan.training.threads),
        _quiet_lightning(),
        tempfile.TemporaryDirectory() as scratch,
    ):
        run = _Run(plan, Path(scratch), progress)
        try:
            with run.interruption:
                run.fit()
                run.finish(plot)
        except Interrupted:
            raise KeyboardInterrupt(run.stop()) from None
    return load_checkpoint(plan.output)


class _Run:
    """The parts of one run, from the data to the folder."""

    def __init__(self, plan: Plan, scratch: Path, progress: bool) -> None:
        self.plan = plan
        self.data: TaskData = plan.task.load(plan.data, plan.training.seed)
        if plan.training.patience and self.data.validation is None:
            raise TrainingError("patience must be 0 without validation data. Leave it out.")
        torch.manual_seed(plan.training.seed)
        self.module = plan.task.build(plan.model, self.data.interface)
        steps = plan.training.epochs * self.data.train.batch_count(plan.training.batch_size)
        self.learner = Learner(plan.task, self.module, plan.training, steps)
        self.average = MovingAverage(self.module, plan.training.averaging)
        self.interruption = Interruption()
        self.evaluation = Evaluation(self.data, self.average, self.interruption)
        self.finished = False
        self.state = scratch / TRAINER_STATE
        self.trainer = self._trainer(scratch, progress)

    def _trainer(self, scratch: Path, progress: bool) -> lightning.Trainer:
        # A checkpoint of another run at the output is left alone until this one is over.
        replaceable = not self.plan.output.exists() or self.plan.resume_from is not None
        save: Callable[[], None] | None = self._save_midway if replaceable else None
        callbacks: list[lightning.Callback] = [self.average, self.evaluation]
        if self.plan.training.patience:
            callbacks.append(_early_stopping(self.learner, self.plan.training))
        if progress:
            callbacks.append(ProgressReport(self.evaluation))
        callbacks += [ResumableState(self.state, save), self.interruption]
        return lightning.Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=self.plan.training.epochs,
            gradient_clip_val=self.plan.training.grad_clip or None,
            callbacks=callbacks,
            default_root_dir=scratch,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )

    def fit(self) -> None:
        earlier = self.plan.resume_from and self.plan.resume_from / TRAINER_STATE
        if earlier:
            shutil.copyfile(earlier, self.state)
        try:
            self.trainer.fit(
                self.learner,
                EpochBatches(self.data.train, self.learner),
                ckpt_path=self.state if earlier else None,
                weights_only=True,
            )
        except (OSError, RuntimeError, KeyError, ValueError, EOFError, UnpicklingError) as error:
            if not earlier or self.learner.started:
                raise
            raise CheckpointError(
                f"{earlier} must be the trainer's state of this run, "
                f"got {type(error).__name__}: {error}. Train from the start."
            ) from None

    def finish(self, plot: bool) -> None:
        """Score the weights that are kept, draw, and write the folder."""
        self._load_kept()
        report = self.plan.task.report(self.module.eval(), self.data)

        def draw(folder: Path) -> None:
            if plot:
                self.plan.task.plot(self.module, self.data, folder)

        with self.interruption.held():
            self.save(report, draw)
            self.finished = True

    def save(self, report: Report | None, draw: Callable[[Path], None] = lambda _: None) -> None:
        """Write the checkpoint folder; without a report, of a run that is not over."""
        self._load_kept()

        def fill(folder: Path) -> None:
            if self.state.exists():
                shutil.copyfile(self.state, folder / TRAINER_STATE)
            if self.evaluation.history:
                _write_history(folder / "history.csv", self.evaluation.history)
                draw_curve(folder / "curve.png", self.evaluation.history)
            draw(folder)

        save_checkpoint(
            self.plan.output, self.module, self.data.interface, self._config(report), fill
        )

    def stop(self) -> str:
        """Keep what an interrupted run reached; says in a line for a person what that is."""
        if not self.learner.started:
            return "Stopped before the first step, nothing written."
        if not self.finished:
            self.save(report=None)
        kept = f"Stopped. What was reached is in {self.plan.output}."
        if self.state.exists():
            kept += f" Continue: rnn-edge train {self.plan.task.name} --resume {self.plan.output}"
        return kept

    def _save_midway(self) -> None:
        held = {name: value.clone() for name, value in self.module.state_dict().items()}
        with self.interruption.held():
            self.save(report=None)
        self.module.load_state_dict(held)

    def _load_kept(self) -> None:
        if self.evaluation.kept_weights:
            self.module.load_state_dict(self.evaluation.kept_weights)

    def _config(self, report: Report | None) -> dict[str, Any]:
        return {
            **plan_config(self.plan),
            "description": self.data.description,
            "finished": report is not None,
            "epochs": len(self.evaluation.history),
            "kept_epoch": self.evaluation.kept_epoch,
            "metrics": asdict(report) if report else None,
            "versions": {
                "rnn-edge": VERSION,
                "python": platform.python_version(),
                "torch": torch.__version__,
                "lightning": version("lightning"),
            },
        }


def _early_stopping(learner: Learner, options: TrainingOptions) -> EarlyStopping:
    return EarlyStopping(
        monitor=Evaluation.monitored(learner),
        mode="max" if learner.task.higher_is_better else "min",
        patience=options.patience,
        check_on_train_epoch_end=True,
        verbose=False,
    )


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, history[0])
        writer.writeheader()
        writer.writerows(history)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Silence what Lightning says about hardware, tips and worker processes."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        try:
            yield
        finally:
            logger.setLevel(level)
