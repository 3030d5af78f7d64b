"""Characters in, the states of a recurrent core out: what models of text have in common."""

from __future__ import annotations

from torch import Tensor, nn

from rnn_edge.models.layers import read_rows
from rnn_edge.models.recurrent import recurrent_core
from rnn_edge.models.token_dropout import TokenDropout


class CharacterModel(nn.Module):
    """Abstract: embedding and recurrent core; a subclass adds its head and forward()."""

    def __init__(
        self,
        vocabulary_size: int,
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

    def embedded(self, tokens: Tensor) -> Tensor:
        """tokens: int64[batch, sequence] -> float32[batch, sequence, embedding]."""
        return self.embedding(self.token_dropout(tokens))

    def read(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """tokens: int64[batch, sequence], lengths: int64[batch], 1 or more.

        Returns the core's outputs, float32[batch, sequence, features], zeros behind each length.
        """
        return read_rows(self.core, self.dropout(self.embedded(tokens)), lengths)[0]
