"""One recurrent layer as one opaque torch operator, so that torch.export keeps it whole.

Each operator has a shape rule and no kernel: it exists only inside an exported program, between
the interception of a torch call and its translation to an ONNX node. Shapes, time-major as ONNX:

    x        [sequence, batch, input_size]
    lengths  [batch] int64, or None when every row is full
    h_0, c_0 [directions, batch, hidden_size]
    weights  per direction weight_ih, weight_hh, with biases bias_ih, bias_hh, and with a projection
             weight_hr, as in torch
    ->       [sequence, batch, directions * hidden_size], h_n, (c_n)

The h of an LSTM with a projection has proj_size in the place of hidden_size.

The operators of written cells run one direction, their weights are in ONNX's own layout: W, R, B,
and P where an LSTM has peepholes. ``path`` tells which part of the module they come from.
"""

from __future__ import annotations

import torch
from torch import Tensor

_LIBRARY = torch.library.Library("rnn_edge", "DEF")
_LIBRARY.define(
    "rnn(Tensor x, Tensor? lengths, Tensor h_0, Tensor[] weights,"
    " bool bidirectional, str nonlinearity) -> (Tensor, Tensor)"
)
_LIBRARY.define(
    "gru(Tensor x, Tensor? lengths, Tensor h_0, Tensor[] weights,"
    " bool bidirectional) -> (Tensor, Tensor)"
)
_LIBRARY.define(
    "lstm(Tensor x, Tensor? lengths, Tensor h_0, Tensor c_0, Tensor[] weights,"
    " bool bidirectional) -> (Tensor, Tensor, Tensor)"
)
_WRITTEN = (
    "Tensor[] weights, bool bidirectional, str[] activations, float[] alphas, float[] betas,"
    " str path"
)
_LIBRARY.define(
    f"written_rnn(Tensor x, Tensor? lengths, Tensor h_0, {_WRITTEN}) -> (Tensor, Tensor)"
)
_LIBRARY.define(
    f"written_gru(Tensor x, Tensor? lengths, Tensor h_0, {_WRITTEN}, bool resets_after)"
    " -> (Tensor, Tensor)"
)
_LIBRARY.define(
    f"written_lstm(Tensor x, Tensor? lengths, Tensor h_0, Tensor c_0, {_WRITTEN})"
    " -> (Tensor, Tensor, Tensor)"
)


def _sequence_like(x: Tensor, state: Tensor) -> Tensor:
    directions, _, hidden_size = state.shape
    return x.new_empty(x.shape[0], x.shape[1], directions * hidden_size)


@torch.library.register_fake("rnn_edge::rnn", lib=_LIBRARY)
def _rnn_shape(
    x: Tensor,
    lengths: Tensor | None,
    h_0: Tensor,
    weights: list[Tensor],
    bidirectional: bool,
    nonlinearity: str,
) -> tuple[Tensor, Tensor]:
    return _sequence_like(x, h_0), torch.empty_like(h_0)


@torch.library.register_fake("rnn_edge::gru", lib=_LIBRARY)
def _gru_shape(
    x: Tensor, lengths: Tensor | None, h_0: Tensor, weights: list[Tensor], bidirectional: bool
) -> tuple[Tensor, Tensor]:
    return _sequence_like(x, h_0), torch.empty_like(h_0)


@torch.library.register_fake("rnn_edge::lstm", lib=_LIBRARY)
def _lstm_shape(
    x: Tensor,
    lengths: Tensor | None,
    h_0: Tensor,
    c_0: Tensor,
    weights: list[Tensor],
    bidirectional: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return _sequence_like(x, h_0), torch.empty_like(h_0), torch.empty_like(c_0)


@torch.library.register_fake("rnn_edge::written_rnn", lib=_LIBRARY)
@torch.library.register_fake("rnn_edge::written_gru", lib=_LIBRARY)
def _written_shape(
    x: Tensor, lengths: Tensor | None, h_0: Tensor, *_: object, **__: object
) -> tuple[Tensor, Tensor]:
    return _sequence_like(x, h_0), torch.empty_like(h_0)


@torch.library.register_fake("rnn_edge::written_lstm", lib=_LIBRARY)
def _written_lstm_shape(
    x: Tensor, lengths: Tensor | None, h_0: Tensor, c_0: Tensor, *_: object, **__: object
) -> tuple[Tensor, Tensor, Tensor]:
    return _sequence_like(x, h_0), torch.empty_like(h_0), torch.empty_like(c_0)


rnn = torch.ops.rnn_edge.rnn.default
gru = torch.ops.rnn_edge.gru.default
lstm = torch.ops.rnn_edge.lstm.default
written_rnn = torch.ops.rnn_edge.written_rnn.default
written_gru = torch.ops.rnn_edge.written_gru.default
written_lstm = torch.ops.rnn_edge.written_lstm.default
