"""One optimisation step of a task, as Lightning wants it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from rnn_edge.batching import Batch, Split
from rnn_edge.tasks.task import State, Task, TrainingOptions

# Share of the steps of a one-cycle schedule that the learning rate rises, and where it starts.
RISE = 0.25
START = 0.04


class Learner(lightning.LightningModule):
    """Steps ``module`` by the task's loss and carries its state from batch to batch of an epoch."""

    def __init__(self, task: Task, module: nn.Module, options: TrainingOptions, steps: int) -> None:
        super().__init__()
        self.task = task
        self.module = module
        self.options = options
        self.steps = steps
        self.started = False
        self._state: State | None = None
        self._loss_sum = torch.zeros(())
        self._count = 0

    def on_train_start(self) -> None:
        self.started = True

    def on_train_epoch_start(self) -> None:
        # Each epoch has a seed of its own, so that a resumed run repeats the very same epoch.
        torch.manual_seed(epoch_seed(self.options.seed, self.current_epoch))
        self.module.train()
        self._state = None
        self._loss_sum = torch.zeros(())
        self._count = 0

    def training_step(self, batch: Batch, index: int) -> Tensor:
        output, state = self.task.forward(self.module, batch, self._state)
        self._state = None if state is None else tuple(part.detach() for part in state)
        loss = self.task.loss(output, batch)
        self._loss_sum += loss.detach() * batch.count
        self._count += batch.count
        return loss

    @property
    def mean_loss(self) -> float:
        """Of the epoch so far, over all its predictions."""
        return float(self._loss_sum) / max(self._count, 1)

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        return batch

    def configure_optimizers(self) -> Any:
        options = self.options
        optimizer: Optimizer
        if options.optimizer == "sgd":
            optimizer = SGD(
                self.module.parameters(),
                options.lr,
                momentum=options.momentum,
                weight_decay=options.weight_decay,
                fused=True,
            )
        else:
            optimizer = AdamW(
                self.module.parameters(), options.lr, weight_decay=options.weight_decay, fused=True
            )
        if options.schedule == "constant":
            return optimizer
        course = LambdaLR(optimizer, lambda step: learning_rate(options.schedule, step, self.steps))
        return [optimizer], [{"scheduler": course, "interval": "step"}]


class EpochBatches:
    """The training batches, in an order that follows from the seed and the epoch alone."""

    def __init__(self, split: Split, learner: Learner) -> None:
        self._split = split
        self._learner = learner

    def __len__(self) -> int:
        return self._split.batch_count(self._learner.options.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        options = self._learner.options
        generator = torch.Generator()
        # The body runs at the first batch, when Lightning has restored the epoch of a resumed run.
        generator.manual_seed(epoch_seed(options.seed, self._learner.current_epoch))
        yield from self._split.batches(options.batch_size, generator)


def epoch_seed(seed: int, epoch: int) -> int:
    return (seed * 1_000_003 + epoch) % 2**63


def learning_rate(schedule: str, step: int, steps: int) -> float:
    """The share of the highest learning rate at ``step`` of ``steps``; it ends at 0."""
    done = min(step / max(steps, 1), 1.0)
    if schedule == "one-cycle":
        if done < RISE:
            return START + (1 - START) * done / RISE
        done = (done - RISE) / (1 - RISE)
    return (1 + math.cos(math.pi * done)) / 2
