"""What happens after every epoch: score the validation data, keep the best weights, save."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
from torch import Tensor

from rnn_edge.errors import TrainingError
from rnn_edge.tasks.task import TaskData
from rnn_edge.training.averaging import MovingAverage
from rnn_edge.training.interruption import Interruption
from rnn_edge.training.learner import Learner

# A long run is saved this often, so that a killed one can be resumed.
SECONDS_BETWEEN_SAVES = 60.0


class Evaluation(lightning.Callback):
    """Fills ``history``, one row an epoch, and keeps the weights of the best epoch.

    Without validation data, or when the last weights are to be kept, each epoch counts as better.
    """

    def __init__(self, data: TaskData, average: MovingAverage, interruption: Interruption) -> None:
        self._data = data
        self._average = average
        self._interruption = interruption
        self._started = time.monotonic()
        self.history: list[dict[str, float]] = []
        self.kept_epoch = 0
        self.kept_weights: dict[str, Tensor] = {}

    @staticmethod
    def monitored(learner: Learner) -> str:
        return f"validation_{learner.task.metric}"

    def on_train_epoch_start(self, trainer: lightning.Trainer, learner: Any) -> None:
        self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: lightning.Trainer, learner: Any) -> None:
        row: dict[str, float] = {
            "epoch": learner.current_epoch + 1,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "train_loss": learner.mean_loss,
        }
        if not math.isfinite(row["train_loss"]):
            raise TrainingError(
                f"loss must stay finite, got {row['train_loss']} in epoch {row['epoch']}. "
                "Lower --lr, or set --grad-clip."
            )
        with self._average.applied():
            if self._data.validation is not None:
                scores = learner.task.evaluate(learner.module, self._data.validation)
                row |= {f"validation_{name}": value for name, value in scores.items()}
                learner.log(self.monitored(learner), row[self.monitored(learner)])
            # Row, weights and the trainer's state, saved next, must be of the same epoch.
            self._interruption.hold()
            if self._is_kept(row, learner):
                self.kept_epoch = int(row["epoch"])
                state = learner.module.state_dict()
                self.kept_weights = {name: value.clone() for name, value in state.items()}
        row["seconds"] = round(time.monotonic() - self._started, 3)
        self.history.append(row)

    def _is_kept(self, row: dict[str, float], learner: Learner) -> bool:
        keep_last = learner.options.keep == "last" or self._data.validation is None
        if keep_last or not self.kept_epoch:
            return True
        name = self.monitored(learner)
        best, value = self.history[self.kept_epoch - 1][name], row[name]
        return value > best if learner.task.higher_is_better else value < best

    def state_dict(self) -> dict[str, Any]:
        return {
            "history": self.history,
            "kept_epoch": self.kept_epoch,
            "kept_weights": self.kept_weights,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history = state_dict["history"]
        self.kept_epoch = state_dict["kept_epoch"]
        self.kept_weights = state_dict["kept_weights"]


class ResumableState(lightning.Callback):
    """Saves Lightning's own state at ``path`` after every epoch; now and then calls ``save``."""

    def __init__(self, path: Path, save: Callable[[], None] | None) -> None:
        self._path = path
        self._save = save
        self._saved_at = time.monotonic()

    def on_train_epoch_end(self, trainer: lightning.Trainer, learner: Any) -> None:
        fresh = self._path.with_suffix(".new")
        trainer.save_checkpoint(fresh)
        fresh.replace(self._path)
        if self._save and time.monotonic() - self._saved_at > SECONDS_BETWEEN_SAVES:
            self._save()
            self._saved_at = time.monotonic()
