"""What tasks have in common that tell one label a row: loss, accuracy, confusion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnn_edge.batching import ArraySplit, Batch
from rnn_edge.contract import LabelDecoder
from rnn_edge.drawing import draw_confusion
from rnn_edge.errors import DataError
from rnn_edge.tasks.task import Interface, Option, Report, Table, Task, TaskData

TEST_SHARE, VALIDATION_SHARE = 0.2, 0.05
LABEL_SMOOTHING = Option(
    "label_smoothing",
    0.05,
    "Share of the target that goes to all classes alike.",
    minimum=0,
    below=1,
)


class ClassificationTask(Task):
    """Abstract: the module gives logits, float32[batch, labels], the targets are int64[batch].

    ``options`` include LABEL_SMOOTHING. The baseline is the most frequent label of the training
    part.
    """

    metric = "accuracy"
    higher_is_better = True

    def loss(self, output: Any, batch: Batch) -> Tensor:
        smoothing = self.own["label_smoothing"]
        return F.cross_entropy(output, batch.targets, label_smoothing=smoothing)

    def measure(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        return {"accuracy": (output.argmax(dim=1) == batch.targets).float().mean()}

    def scores(
        self, true: np.ndarray, predicted: np.ndarray, labels: Sequence[str]
    ) -> dict[str, float]:
        """Measures of int64[rows] each, places among ``labels``."""
        return {"accuracy": float((true == predicted).mean())}

    def report(self, module: nn.Module, data: TaskData) -> Report:
        labels = labels_of(data.interface)
        true, predicted = self._true_and_predicted(module, data)
        frequent = int(cast(ArraySplit, data.train).targets.bincount().argmax())
        always = np.full_like(true, frequent)
        return Report(
            {
                "model": self.scores(true, predicted, labels),
                f"always {labels[frequent]}": self.scores(true, always, labels),
            },
            (confusion_table(true, predicted, labels),),
        )

    def plot(self, module: nn.Module, data: TaskData, folder: Path) -> None:
        labels = labels_of(data.interface)
        counts = confusion(*self._true_and_predicted(module, data), len(labels))
        draw_confusion(folder / "confusion.png", counts.tolist(), labels)

    def _true_and_predicted(
        self, module: nn.Module, data: TaskData
    ) -> tuple[np.ndarray, np.ndarray]:
        """int64[rows] each: places among the labels, over the test split."""
        outputs, batches = zip(*self.predictions(module, data.test), strict=True)
        true = torch.cat([batch.targets for batch in batches])
        return true.numpy(), torch.cat(outputs).argmax(dim=1).numpy()


def split_by_label(
    labels: np.ndarray, names: tuple[str, ...], source: str, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random rows for training, validation and test, each label in the same shares everywhere.

    ``labels`` are places among ``names``; rows come back in their order.
    Raises DataError when a label has fewer than 3 rows.
    """
    chance = np.random.default_rng(seed)
    part_of = np.zeros(len(labels), dtype=np.int64)
    for place, name in enumerate(names):
        rows = chance.permutation(np.flatnonzero(labels == place))
        if len(rows) < 3:
            raise DataError(
                f"every label of {source} must have 3 rows or more, to train, to validate and to "
                f"test, got {len(rows)} of {name!r}. Add some."
            )
        tested = max(1, round(TEST_SHARE * len(rows)))
        validated = max(1, round(VALIDATION_SHARE * len(rows)))
        part_of[rows[:tested]] = 2
        part_of[rows[tested : tested + validated]] = 1
    train, validation, test = (np.flatnonzero(part_of == part) for part in range(3))
    return train, validation, test


def labels_of(interface: Interface) -> tuple[str, ...]:
    return cast(LabelDecoder, interface.decoder).labels


def confusion(true: np.ndarray, predicted: np.ndarray, size: int) -> np.ndarray:
    """int64[truth, prediction]: how often; ``true`` and ``predicted`` are below ``size``."""
    counts = np.bincount(true * size + predicted, minlength=size * size)
    return counts.reshape(size, size)


def confusion_table(true: np.ndarray, predicted: np.ndarray, labels: Sequence[str]) -> Table:
    counts = confusion(true, predicted, len(labels))
    rows: list[tuple[str | int, ...]] = [
        (label, *map(int, row)) for label, row in zip(labels, counts, strict=True)
    ]
    title = "Test data by label (rows) and prediction (columns)"
    return Table(title, ("label", *labels), tuple(rows))
