"""The recurrent cores that models choose from by name."""

from __future__ import annotations

import warnings

from torch import nn

from rnn_edge.errors import TrainingError
from rnn_edge.models.cells import Cell, LayerNormGRUCell, LayerNormLSTMCell, PeepholeLSTMCell
from rnn_edge.models.layers import CellLayer, Core, LayerStack, TorchLayer

_TORCH: dict[str, type[TorchLayer]] = {
    "rnn": nn.RNN,
    "lstm": nn.LSTM,
    "gru": nn.GRU,
}
_WRITTEN: dict[str, type[Cell]] = {
    "lstm-peephole": PeepholeLSTMCell,
    "lstm-layernorm": LayerNormLSTMCell,
    "gru-layernorm": LayerNormGRUCell,
}


def recurrent_core(
    cell: str,
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    *,
    bidirectional: bool = False,
    dropout: float = 0.0,
    residual: bool = False,
) -> Core:
    """A batch-first ``cell``: rnn-tanh, rnn-relu, lstm, gru, lstm-peephole, lstm-layernorm,
    gru-layernorm or lstm-projection (its output has half the units). It is called as nn.LSTM is.

    ``dropout`` acts between layers; with ``residual`` a layer on another adds its input.
    """
    if cell == "lstm-projection":
        if hidden_size < 2:
            raise TrainingError(f"hidden_size of {cell} must be at least 2, got {hidden_size}.")
        # Torch says so once for every process; nothing can be done about it, or needs to.
        warnings.filterwarnings("ignore", message="LSTM with projections is not supported with")
    if not residual and cell not in _WRITTEN:
        between = dropout if num_layers > 1 else 0.0
        return _torch(cell, input_size, hidden_size, bidirectional, num_layers, between)
    make = _written if cell in _WRITTEN else _torch
    first = make(cell, input_size, hidden_size, bidirectional)
    if num_layers == 1:
        return first
    layers: list[TorchLayer | CellLayer] = [first]
    for _ in range(num_layers - 1):
        layers.append(make(cell, core_features(first), hidden_size, bidirectional))
    return LayerStack(layers, dropout=dropout, residual=residual)


def core_features(core: Core) -> int:
    """How many numbers a core gives a step, both directions counted."""
    return (1 + core.bidirectional) * state_size(core)


def state_size(core: Core) -> int:
    """How many numbers h has: the units, or those that they are projected to."""
    return core.proj_size or core.hidden_size


def _torch(
    cell: str,
    input_size: int,
    hidden_size: int,
    bidirectional: bool,
    num_layers: int = 1,
    dropout: float = 0.0,
) -> TorchLayer:
    kind, _, variant = cell.partition("-")
    choice: dict[str, str | int] = {}
    if variant == "projection":
        choice["proj_size"] = hidden_size // 2
    elif variant:
        choice["nonlinearity"] = variant
    return _TORCH[kind](
        input_size,
        hidden_size,
        num_layers,
        batch_first=True,
        bidirectional=bidirectional,
        dropout=dropout,
        **choice,
    )


def _written(cell: str, input_size: int, hidden_size: int, bidirectional: bool) -> CellLayer:
    kind = _WRITTEN[cell]
    back = kind(input_size, hidden_size) if bidirectional else None
    return CellLayer(kind(input_size, hidden_size), back)
