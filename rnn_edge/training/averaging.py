"""A moving average of the weights: steadier than the weights of any one step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning
import torch
from torch import Tensor, nn


class MovingAverage(lightning.Callback):
    """Averages the parameters of ``module`` after every step; decay 0 keeps no average.

    While there are few steps the decay is lower, (1 + steps) / (10 + steps), to forget the start.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._parameters = [parameter.data for parameter in module.parameters()]
        self._decay = decay
        self._averages = [parameter.clone() for parameter in self._parameters] if decay else []
        self._steps = 0

    def on_train_batch_end(self, *_: Any) -> None:
        if self._averages:
            self._steps += 1
            decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
            torch._foreach_lerp_(self._averages, self._parameters, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within, the module has the averages for its weights."""
        held = [parameter.clone() for parameter in self._parameters] if self._averages else []
        self._overwrite(self._averages)
        try:
            yield
        finally:
            self._overwrite(held)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self._steps, "averages": self._averages}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._steps = state_dict["steps"]
        self._averages = state_dict["averages"]

    def _overwrite(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self._parameters, values, strict=False):
            parameter.copy_(value)
