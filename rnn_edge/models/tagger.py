"""Characters in, one label a step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnn_edge.models.layers import read_rows
from rnn_edge.models.linear_chain import LinearChain
from rnn_edge.models.recurrent import core_features, recurrent_core
from rnn_edge.models.token_dropout import TokenDropout


class Tagger(nn.Module):
    """Embedding, recurrent core, linear head on every step; with ``crf`` a linear chain on top."""

    def __init__(
        self,
        vocabulary_size: int,
        labels: int,
        *,
        cell: str,
        embedding_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        residual: bool = False,
        crf: bool = False,
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
        self.head = nn.Linear(core_features(self.core), labels)
        self.chain = LinearChain(labels) if crf else None

    def forward(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """tokens: int64[batch, sequence], lengths: int64[batch], 1 or more.

        Returns tags: int64[batch, sequence], the labels chosen, 0 behind each length, and logits:
        float32[batch, sequence, labels]. Without a chain each tag is that of the largest logit,
        with it the tags of a row are its most probable path.
        """
        logits = self.logits(tokens, lengths)
        if self.chain is not None:
            tags = self.chain.best_path(logits, lengths)
        else:
            tags = logits.argmax(dim=2)
        steps = torch.arange(tokens.shape[1], device=tokens.device)
        return tags.masked_fill(steps >= lengths.unsqueeze(1), 0), logits

    def logits(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """float32[batch, sequence, labels]."""
        embedded = self.dropout(self.embedding(self.token_dropout(tokens)))
        states, _ = read_rows(self.core, embedded, lengths)
        return self.head(self.dropout(states))
