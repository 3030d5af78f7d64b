"""Characters in, one class out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rnn_edge.models.character_model import CharacterModel
from rnn_edge.models.recurrent import core_features


class TextClassifier(CharacterModel):
    """Embedding, recurrent core, linear head on three summaries of the valid steps.

    The summaries are the maximum, the mean, and a mean whose weights the model learns to give.
    """

    def __init__(self, vocabulary_size: int, classes: int, **options: Any) -> None:
        super().__init__(vocabulary_size, **options)
        self.attention = nn.Linear(core_features(self.core), 1)
        self.head = nn.Linear(3 * core_features(self.core), classes)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """tokens: int64[batch, sequence], lengths: int64[batch] -> logits: float32[batch, classes].

        What stands behind a row's length changes nothing; lengths are 1 or more.
        """
        states = self.read(tokens, lengths)
        steps = torch.arange(tokens.shape[1], device=tokens.device)
        padding = (steps >= lengths.unsqueeze(1)).unsqueeze(2)
        maximum = states.masked_fill(padding, float("-inf")).amax(dim=1)
        # The states of the padding are zeros.
        mean = states.sum(dim=1) / lengths.unsqueeze(1)
        weights = self.attention(states).masked_fill(padding, float("-inf")).softmax(dim=1)
        attended = (weights * states).sum(dim=1)
        return self.head(self.dropout(torch.cat([maximum, mean, attended], dim=1)))
