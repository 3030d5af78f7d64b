"""Rows of an image in, one class out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnn_edge.models.recurrent import core_features, recurrent_core


class ImageClassifier(nn.Module):
    """Scaling, recurrent core over the rows, a summary of its states, linear head.

    With ``pooling`` the summary is the maximum over the rows, else the final state.
    """

    def __init__(
        self,
        columns: int,
        classes: int,
        maximum: float,
        *,
        cell: str = "gru",
        hidden_size: int = 128,
        num_layers: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.0,
        residual: bool = False,
        pooling: bool = True,
    ) -> None:
        super().__init__()
        self.maximum: Tensor
        self.register_buffer("maximum", torch.tensor(float(maximum)))
        self.core = recurrent_core(
            cell,
            columns,
            hidden_size,
            num_layers,
            bidirectional=bidirectional,
            dropout=dropout,
            residual=residual,
        )
        self.dropout = nn.Dropout(dropout)
        self.pooling = pooling
        self.head = nn.Linear(core_features(self.core), classes)

    def forward(self, image: Tensor) -> Tensor:
        """image: float32[batch, sequence, columns], rows from the top, values 0 to ``maximum``.

        Returns logits: float32[batch, classes].
        """
        states, final = self.core(image / self.maximum)
        if self.pooling:
            summary = states.amax(dim=1)
        else:
            hidden = final[0] if isinstance(final, tuple) else final
            directions = 2 if self.core.bidirectional else 1
            summary = torch.cat([*hidden[-directions:]], dim=1)
        return self.head(self.dropout(summary))
