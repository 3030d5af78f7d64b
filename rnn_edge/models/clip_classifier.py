"""Frames of a moving picture in, one class out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rnn_edge.models.layers import read_rows
from rnn_edge.models.recurrent import core_features, recurrent_core

CHANNELS = (8, 16)


class ClipClassifier(nn.Module):
    """Two convolutions a frame, recurrent core over time, linear head on the largest states.

    A frame is seen beside what has changed since the frame before.
    """

    def __init__(
        self,
        height: int,
        width: int,
        classes: int,
        maximum: float,
        *,
        cell: str,
        hidden_size: int,
        dropout: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__()
        self.maximum: Tensor
        self.register_buffer("maximum", torch.tensor(float(maximum)))
        small, large = CHANNELS
        self.convolutions = nn.Sequential(
            nn.Conv2d(2, small, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(small, large, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(large * -(-height // 4) * -(-width // 4), hidden_size),
            nn.ReLU(),
        )
        self.dropout = nn.Dropout(dropout)
        self.core = recurrent_core(cell, hidden_size, hidden_size, dropout=dropout, **options)
        self.head = nn.Linear(core_features(self.core), classes)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """frames: float32[batch, sequence, height, width], 0 to ``maximum``; lengths: int64[batch].

        Returns logits: float32[batch, classes]. What stands behind a row's length changes nothing;
        lengths are 1 or more.
        """
        batch, sequence = frames.shape[:2]
        scaled = frames / self.maximum
        before = torch.cat([scaled[:, :1], scaled], dim=1)[:, :-1]
        seen = self.convolutions(torch.stack([scaled, scaled - before], dim=2).flatten(0, 1))
        features = self.dropout(seen.unflatten(0, (batch, sequence)))
        states, _ = read_rows(self.core, features, lengths)
        steps = torch.arange(sequence, device=frames.device)
        padding = (steps >= lengths.unsqueeze(1)).unsqueeze(2)
        largest = states.masked_fill(padding, float("-inf")).amax(dim=1)
        return self.head(self.dropout(largest))
