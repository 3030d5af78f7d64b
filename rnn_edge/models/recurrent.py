"""The recurrent cores that models choose from by name."""

from __future__ import annotations

from torch import nn


def recurrent_core(
    cell: str,
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    *,
    bidirectional: bool = False,
    dropout: float = 0.0,
) -> nn.RNN | nn.LSTM | nn.GRU:
    """A batch-first ``cell``: rnn-tanh, rnn-relu, lstm or gru; ``dropout`` acts between layers."""
    kind, _, nonlinearity = cell.partition("-")
    layer: type[nn.RNN | nn.LSTM | nn.GRU] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[kind]
    choice = {"nonlinearity": nonlinearity} if nonlinearity else {}
    return layer(
        input_size,
        hidden_size,
        num_layers,
        batch_first=True,
        bidirectional=bidirectional,
        dropout=dropout if num_layers > 1 else 0.0,
        **choice,
    )
