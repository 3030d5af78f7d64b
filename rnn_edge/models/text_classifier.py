"""Characters in, one class out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnn_edge.models.layers import read_rows
from rnn_edge.models.recurrent import core_features, recurrent_core
from rnn_edge.models.token_dropout import TokenDropout


class TextClassifier(nn.Module):
    """Embedding, recurrent core, linear head on three summaries of the valid steps.

    The summaries are the maximum, the mean, and a mean whose weights the model learns to give.
    """

    def __init__(
        self,
        vocabulary_size: int,
        classes: int,
        *,
        cell: str,
        embedding_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        residual: bool = False,
        token_dropout: float = 0.0,
        unknown: int = 1,
    ) -> None:
        super().__init__()
        self.token_dropout = TokenDropout(token_dropout, unknown)
        self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        self.dropout = nn.Dropout(dropout)
        self.core = recurrent_core(
            cell,
            embedding_size,
            hidden_size,
            num_layers,
            bidirectional=bidirectional,
            dropout=dropout,
            residual=residual,
        )
        self.attention = nn.Linear(core_features(self.core), 1)
        self.head = nn.Linear(3 * core_features(self.core), classes)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """tokens: int64[batch, sequence], lengths: int64[batch] -> logits: float32[batch, classes].

        What stands behind a row's length changes nothing; lengths are 1 or more.
        """
        embedded = self.dropout(self.embedding(self.token_dropout(tokens)))
        states, _ = read_rows(self.core, embedded, lengths)
        steps = torch.arange(tokens.shape[1], device=tokens.device)
        padding = (steps >= lengths.unsqueeze(1)).unsqueeze(2)
        maximum = states.masked_fill(padding, float("-inf")).amax(dim=1)
        # The states of the padding are zeros.
        mean = states.sum(dim=1) / lengths.unsqueeze(1)
        weights = self.attention(states).masked_fill(padding, float("-inf")).softmax(dim=1)
        attended = (weights * states).sum(dim=1)
        return self.head(self.dropout(torch.cat([maximum, mean, attended], dim=1)))
