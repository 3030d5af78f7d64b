"""Characters in, logits of the next character out, state carried by the caller."""

from __future__ import annotations

from torch import Tensor, nn

from rnn_edge.models.recurrent import recurrent_core, state_size
from rnn_edge.models.token_dropout import TokenDropout


class NextCharacterModel(nn.Module):
    """Abstract: embedding, recurrent core, linear head; one state tensor a name in ``states``."""

    states: tuple[str, ...]

    def __init__(
        self,
        vocabulary_size: int,
        *,
        cell: str,
        embedding_size: int,
        hidden_size: int,
        num_layers: int = 1,
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
            cell, embedding_size, hidden_size, num_layers, dropout=dropout, residual=residual
        )
        self.head = nn.Linear(state_size(self.core), vocabulary_size)

    def embedded(self, tokens: Tensor) -> Tensor:
        """tokens: int64[batch, sequence] -> float32[batch, sequence, embedding]."""
        return self.embedding(self.token_dropout(tokens))

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
