"""What a person sees on stderr while a model trains: a bar, or a line an epoch."""

from __future__ import annotations

import time
from typing import Any

import lightning
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rnn_edge.training.evaluation import Evaluation

SECONDS_BETWEEN_REFRESHES = 0.2


class ProgressReport(lightning.Callback):
    """Must stand behind ``evaluation`` among the callbacks: it shows the row that was added."""

    def __init__(self, evaluation: Evaluation) -> None:
        self._evaluation = evaluation
        self._console = Console(stderr=True)
        self._refreshed_at = 0.0
        self._summary = ""
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[scores]}"),
            console=self._console,
            auto_refresh=False,
            transient=True,
        )
        self._steps = self._bar.add_task("", epoch="", scores="")

    def on_train_epoch_start(self, trainer: lightning.Trainer, learner: Any) -> None:
        if self._console.is_terminal:
            self._bar.start()
            epoch = f"{learner.current_epoch + 1}/{trainer.max_epochs}"
            self._bar.reset(self._steps, total=trainer.num_training_batches, epoch=epoch)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, learner: Any, outputs: Any, batch: Any, index: int
    ) -> None:
        now = time.monotonic()
        if self._console.is_terminal and now - self._refreshed_at > SECONDS_BETWEEN_REFRESHES:
            self._refreshed_at = now
            scores = f"loss {learner.mean_loss:.4g} {self._summary}"
            self._bar.update(self._steps, completed=index + 1, scores=scores, refresh=True)

    def on_train_epoch_end(self, trainer: lightning.Trainer, learner: Any) -> None:
        row = self._evaluation.history[-1]
        name = self._evaluation.monitored(learner)
        if name in row:
            self._summary = f"{name.replace('_', ' ')} {row[name]:.4g}"
        if not self._console.is_terminal:
            where = f"epoch {row['epoch']:.0f}/{trainer.max_epochs}"
            self._console.print(
                f"{where} loss {row['train_loss']:.4g} {self._summary} {row['seconds']:.1f} s",
                highlight=False,
                soft_wrap=True,
            )

    def teardown(self, trainer: lightning.Trainer, learner: Any, stage: str) -> None:
        self._bar.stop()

    def on_exception(self, trainer: lightning.Trainer, learner: Any, error: BaseException) -> None:
        self._bar.stop()
