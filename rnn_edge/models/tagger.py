"""Characters in, one label a step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rnn_edge.models.character_model import CharacterModel
from rnn_edge.models.linear_chain import LinearChain
from rnn_edge.models.recurrent import core_features


class Tagger(CharacterModel):
    """Embedding, recurrent core, linear head on every step; with ``crf`` a linear chain on top."""

    def __init__(
        self, vocabulary_size: int, labels: int, *, crf: bool = False, **options: Any
    ) -> None:
        super().__init__(vocabulary_size, **options)
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
        return self.head(self.dropout(self.read(tokens, lengths)))
