"""Numbers in, the next number out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rnn_edge.models.layers import read_rows
from rnn_edge.models.recurrent import recurrent_core, state_size


class Forecaster(nn.Module):
    """Normalisation, recurrent core, linear head on the last valid step.

    The core reads each value and its change from the value before. The head gives the change from
    the last valid value, so that an untrained model already repeats it. ``mean`` and ``std`` are
    those of the training data, ``step`` is its typical change: one number a feature each.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        step: Sequence[float],
        *,
        cell: str = "lstm",
        hidden_size: int = 32,
        num_layers: int = 1,
        dropout: float = 0.0,
        residual: bool = False,
    ) -> None:
        super().__init__()
        features = len(mean)
        self.mean: Tensor
        self.std: Tensor
        self.step: Tensor
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))
        self.register_buffer("step", torch.tensor(step, dtype=torch.float32))
        self.core = recurrent_core(
            cell, 2 * features, hidden_size, num_layers, dropout=dropout, residual=residual
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(state_size(self.core), features)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        """values: float32[batch, sequence, features] as measured, lengths: int64[batch], 1 or more.

        Returns prediction: float32[batch, features], the value after each row's last valid one.
        """
        before = torch.cat([values[:, :1], values[:, :-1]], dim=1)
        level, change = (values - self.mean) / self.std, (values - before) / self.step
        features = torch.cat([level, change], dim=2)
        _, final = read_rows(self.core, features, lengths)
        hidden = final[0] if isinstance(final, tuple) else final
        place = (lengths - 1).view(-1, 1, 1).expand(-1, 1, values.shape[2])
        last = values.gather(1, place).squeeze(1)
        return last + self.step * self.head(self.dropout(hidden[-1]))
