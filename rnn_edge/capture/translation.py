"""The recurrent operators of this package as ONNX nodes: gate order, biases, directions.

torch -> ONNX gate order: LSTM i,f,g,o -> i,o,f,c; GRU r,z,n -> z,r,h with linear_before_reset=1;
one bias input holds [Wb, Rb] of every direction. What ONNX has no such node for is composed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import onnxscript

from rnn_edge.capture import (
    accumulation,
    composition,
    constants,
    elimination,
    operators,
    selection,
    size_arithmetic,
    sorting,
)
from rnn_edge.capture.tracing import FlatForward
from rnn_edge.graphs.origin import MODULE_KEY, WEIGHTS_KEY

# The stubs of onnxscript know tensors only, where constants are as good.
op: Any = onnxscript.opset18

_LSTM_GATES = (0, 3, 1, 2)
_GRU_GATES = (1, 0, 2)
_RNN_GATES = (0,)


def translate_rnn(
    x: Any,
    lengths: Any,
    h_0: Any,
    weights: Sequence[Any],
    bidirectional: bool,
    nonlinearity: str,
) -> Any:
    if composition.must_compose(x, weights, bidirectional):
        step = composition.compose_rnn(nonlinearity)
        return composition.run_composed(step, x, lengths, [h_0], weights, bidirectional)
    w, r, b = _pack_weights(weights, _RNN_GATES, bidirectional)
    y, h_n = op.RNN(
        x, w, r, b, _as_sequence_lens(lengths), h_0,
        activations=[nonlinearity.capitalize()] * (2 if bidirectional else 1),
        hidden_size=_hidden_size(weights, _RNN_GATES),
        direction=_direction(bidirectional),
    )  # fmt: skip
    y.producer().metadata_props[WEIGHTS_KEY] = str(weights[0].name)
    return _merge_directions(y, bidirectional), h_n


def translate_gru(
    x: Any, lengths: Any, h_0: Any, weights: Sequence[Any], bidirectional: bool
) -> Any:
    if composition.must_compose(x, weights, bidirectional):
        step = composition.compose_gru
        return composition.run_composed(step, x, lengths, [h_0], weights, bidirectional)
    w, r, b = _pack_weights(weights, _GRU_GATES, bidirectional)
    y, h_n = op.GRU(
        x, w, r, b, _as_sequence_lens(lengths), h_0,
        hidden_size=_hidden_size(weights, _GRU_GATES),
        direction=_direction(bidirectional),
        linear_before_reset=1,
    )  # fmt: skip
    y.producer().metadata_props[WEIGHTS_KEY] = str(weights[0].name)
    return _merge_directions(y, bidirectional), h_n


def translate_lstm(
    x: Any, lengths: Any, h_0: Any, c_0: Any, weights: Sequence[Any], bidirectional: bool
) -> Any:
    if composition.must_compose(x, weights, bidirectional):
        step = composition.compose_lstm
        return composition.run_composed(step, x, lengths, [h_0, c_0], weights, bidirectional)
    w, r, b = _pack_weights(weights, _LSTM_GATES, bidirectional)
    y, h_n, c_n = op.LSTM(
        x, w, r, b, _as_sequence_lens(lengths), h_0, c_0,
        hidden_size=_hidden_size(weights, _LSTM_GATES),
        direction=_direction(bidirectional),
    )  # fmt: skip
    y.producer().metadata_props[WEIGHTS_KEY] = str(weights[0].name)
    return _merge_directions(y, bidirectional), h_n, c_n


def translate_written_rnn(
    x: Any, lengths: Any, h_0: Any, weights: Sequence[Any], bidirectional: bool,
    activations: Sequence[str], alphas: Sequence[float], betas: Sequence[float], path: str,
) -> Any:  # fmt: skip
    w, r, b = weights
    given = _activations(activations, alphas, betas)
    y, h_n = op.RNN(
        x, w, r, b, _as_sequence_lens(lengths), h_0, hidden_size=int(r.shape[2]), **given
    )
    _tell_origin(y, path)
    return _merge_directions(y, bidirectional), h_n


def translate_written_gru(
    x: Any, lengths: Any, h_0: Any, weights: Sequence[Any], bidirectional: bool,
    activations: Sequence[str], alphas: Sequence[float], betas: Sequence[float], path: str,
    resets_after: bool,
) -> Any:  # fmt: skip
    w, r, b = weights
    given = _activations(activations, alphas, betas)
    y, h_n = op.GRU(
        x, w, r, b, _as_sequence_lens(lengths), h_0, hidden_size=int(r.shape[2]),
        linear_before_reset=int(resets_after), **given,
    )  # fmt: skip
    _tell_origin(y, path)
    return _merge_directions(y, bidirectional), h_n


def translate_written_lstm(
    x: Any, lengths: Any, h_0: Any, c_0: Any, weights: Sequence[Any], bidirectional: bool,
    activations: Sequence[str], alphas: Sequence[float], betas: Sequence[float], path: str,
) -> Any:  # fmt: skip
    w, r, b, *p = weights
    given = _activations(activations, alphas, betas)
    y, h_n, c_n = op.LSTM(
        x, w, r, b, _as_sequence_lens(lengths), h_0, c_0, *p, hidden_size=int(r.shape[2]), **given
    )
    _tell_origin(y, path)
    return _merge_directions(y, bidirectional), h_n, c_n


def _tell_origin(y: Any, path: str) -> None:
    """Tracing saw no call of the module that a written cell stands in."""
    if path.startswith(FlatForward.PREFIX):
        y.producer().metadata_props[MODULE_KEY] = path.removeprefix(FlatForward.PREFIX)


def _activations(
    names: Sequence[str], alphas: Sequence[float], betas: Sequence[float]
) -> dict[str, Any]:
    """The attributes of a node; alphas and betas stand only where an activation takes some."""
    taken = [place for place, name in enumerate(names) if name == "HardSigmoid"]
    given: dict[str, Any] = {"activations": list(names)}
    if taken:
        given["activation_alpha"] = [alphas[place] for place in taken]
        given["activation_beta"] = [betas[place] for place in taken]
    return given


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    operators.rnn: translate_rnn,
    operators.gru: translate_gru,
    operators.lstm: translate_lstm,
    operators.written_rnn: translate_written_rnn,
    operators.written_gru: translate_written_gru,
    operators.written_lstm: translate_written_lstm,
    **accumulation.TRANSLATIONS,
    **elimination.TRANSLATIONS,
    **constants.TRANSLATIONS,
    **size_arithmetic.TRANSLATIONS,
    **selection.TRANSLATIONS,
    **sorting.TRANSLATIONS,
}


def _direction(bidirectional: bool) -> str:
    return "bidirectional" if bidirectional else "forward"


def _hidden_size(weights: Sequence[Any], gates: Sequence[int]) -> int:
    return int(weights[0].shape[0]) // len(gates)


def _as_sequence_lens(lengths: Any) -> Any:
    """onnxruntime refuses int64 lengths."""
    return None if lengths is None else op.Cast(lengths, to=6)  # TensorProto.INT32


def _pack_weights(
    weights: Sequence[Any], gates: Sequence[int], bidirectional: bool
) -> tuple[Any, Any, Any]:
    """torch's weights of one layer as ONNX's W, R and B (None without biases)."""
    directions = 2 if bidirectional else 1
    a_direction = len(weights) // directions
    groups = [weights[i * a_direction : (i + 1) * a_direction] for i in range(directions)]
    w = _join([op.Unsqueeze(_reorder(group[0], gates), [0]) for group in groups], axis=0)
    r = _join([op.Unsqueeze(_reorder(group[1], gates), [0]) for group in groups], axis=0)
    if a_direction == 2:
        return w, r, None
    biases = [
        _join([_reorder(group[2], gates), _reorder(group[3], gates)], axis=0) for group in groups
    ]
    return w, r, _join([op.Unsqueeze(bias, [0]) for bias in biases], axis=0)


def _reorder(weight: Any, gates: Sequence[int]) -> Any:
    if len(gates) == 1:
        return weight
    size = int(weight.shape[0]) // len(gates)
    blocks = [op.Slice(weight, [gate * size], [(gate + 1) * size], [0]) for gate in gates]
    return op.Concat(*blocks, axis=0)


def _join(parts: Sequence[Any], axis: int) -> Any:
    return parts[0] if len(parts) == 1 else op.Concat(*parts, axis=axis)


def _merge_directions(y: Any, bidirectional: bool) -> Any:
    """[sequence, directions, batch, hidden] -> [sequence, batch, directions * hidden]."""
    if not bidirectional:
        return op.Squeeze(y, [1])
    return op.Reshape(op.Transpose(y, perm=[0, 2, 1, 3]), [0, 0, -1])
