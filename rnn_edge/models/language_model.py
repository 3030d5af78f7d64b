"""Characters in, logits of the next character out, state carried by the caller."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from rnn_edge.models.character_model import CharacterModel
from rnn_edge.models.recurrent import state_size


class NextCharacterModel(CharacterModel):
    """Abstract: embedding, recurrent core, linear head; one state tensor a name in ``states``."""

    states: tuple[str, ...]

    def __init__(self, vocabulary_size: int, **options: Any) -> None:
        super().__init__(vocabulary_size, **options)
        self.head = nn.Linear(state_size(self.core), vocabulary_size)

    def initial_state(self, batch: int) -> tuple[Tensor, ...]:
        """Zeros, float32[layers, batch, hidden], one for each of ``states``.

        The hidden state of a cell with projection is as wide as what it is projected to.
        """
        sizes = (state_size(self.core), self.core.hidden_size)
        return tuple(
            self.head.weight.new_zeros(self.core.num_layers, batch, size)
            for _, size in zip(self.states, sizes, strict=False)
        )


class LanguageModel(NextCharacterModel):
    """A language model whose cell is a GRU or an RNN."""

    states = ("h",)

    def forward(self, tokens: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        """tokens: int64[batch, sequence], h_0: float32[layers, batch, hidden].

        Returns logits: float32[batch, sequence, vocabulary] of the character after each, and h_n.
        """
        states, h_n = self.core(self.embedded(tokens), h_0)
        return self.head(self.dropout(states)), h_n


class LstmLanguageModel(NextCharacterModel):
    """A language model whose cell is an LSTM, with a cell state beside the hidden one."""

    states = ("h", "c")

    def forward(self, tokens: Tensor, h_0: Tensor, c_0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """tokens: int64[batch, sequence], h_0 and c_0: float32[layers, batch, hidden].

        Returns logits: float32[batch, sequence, vocabulary] of the character after each, h_n, c_n.
        """
        states, (h_n, c_n) = self.core(self.embedded(tokens), (h_0, c_0))
        return self.head(self.dropout(states)), h_n, c_n
