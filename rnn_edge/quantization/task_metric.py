"""What a task's own measure says of a bundle, on the test data of the checkpoint it comes from."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnn_edge.bundle import Bundle
from rnn_edge.errors import InputError
from rnn_edge.extras import import_extra
from rnn_edge.runtime import LongSequenceWarning, Session

if TYPE_CHECKING:
    from torch import nn

    from rnn_edge.checkpoint import Checkpoint


@dataclass(frozen=True)
class Score:
    """The task's measure of both bundles on ``rows`` of test data.

    ``drop`` is what is lost: a difference where more is better (a share that is right), else the
    growth relative to the float32 value (a loss, an error).
    """

    measure: str
    float_value: float
    quantised_value: float
    higher_is_better: bool

    @property
    def drop(self) -> float:
        if self.higher_is_better:
            return self.float_value - self.quantised_value
        grown = self.quantised_value - self.float_value
        return grown / self.float_value if self.float_value else grown


class TaskMetric:
    """The measure of a checkpoint's task, on the test split of the data that it was trained with.

    ``data`` takes the place of that data. Needs torch. Raises CheckpointError, DataError, and
    InputError where the task measures something else than what the bundle's graph computes.
    """

    def __init__(self, checkpoint: str | Path, data: str | None = None) -> None:
        from rnn_edge.checkpoint import load_checkpoint

        self._checkpoint: Checkpoint = load_checkpoint(checkpoint)
        config = self._checkpoint.config
        self._data = self._checkpoint.task.load(
            config.get("data") if data is None else data, config["training"]["seed"]
        )

    def compare(self, one: Bundle, other: Bundle) -> Score:
        task = self._checkpoint.task
        if one.contract.task != task.name:
            raise InputError(
                f"checkpoint must be what {one.name} comes from, it is of task {task.name}, "
                f"the bundle of {one.contract.task or 'none'}. Give that checkpoint."
            )
        values = [self._measure(bundle) for bundle in (one, other)]
        return Score(task.metric, values[0], values[1], task.higher_is_better)

    def _measure(self, bundle: Bundle) -> float:
        task = self._checkpoint.task
        module, calls = _by_session(
            self._checkpoint.module, Session(bundle, threads=1, quantised=False)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LongSequenceWarning)
            found: Mapping[str, float] = task.evaluate(module, self._data.test)
        if not calls:
            raise InputError(
                f"the measure of task {task.name} must be of what forward() gives, it is not. "
                "Leave the checkpoint out: golden and random inputs are compared."
            )
        return found[task.metric]


def _by_session(module: nn.Module, session: Session) -> tuple[nn.Module, list[None]]:
    """A copy of ``module`` whose forward() the session computes, and a list that grows by a call.

    Everything else of the module stays; the answers come as its own forward() nests them.
    """
    torch: Any = import_extra("torch")
    pytree = torch.utils._pytree
    double = copy.deepcopy(module).eval()
    names = [spec.name for spec in session.contract.inputs]
    calls: list[None] = []
    nests: list[Any] = []

    def forward(*arguments: Any) -> Any:
        if not nests:
            nests.append(pytree.tree_structure(module(*arguments)))
        calls.append(None)
        tensors: Sequence[Any] = pytree.tree_leaves(arguments)
        feed = {name: t.numpy() for name, t in zip(names, tensors, strict=False)}
        answers = [torch.from_numpy(array) for array in session.run(feed)]
        return pytree.tree_unflatten(answers, nests[0])

    double.forward = forward
    return double, calls
