"""A stack of recurrent layers, as torch calls it, run as one operator a layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from rnn_edge.capture import operators
from rnn_edge.capture.packing import PaddedLengths
from rnn_edge.errors import ExportError

# One layer: (its input, lengths, its initial states, its weights) -> (its output, its states).
LayerStates: TypeAlias = tuple[Tensor, ...]
RunLayer: TypeAlias = Callable[
    [Tensor, Tensor | None, LayerStates, list[Tensor]], tuple[Tensor, LayerStates]
]


@dataclass(frozen=True)
class StackCall:
    """The arguments of torch's recurrent kernels, in the two forms that they have.

    ``states`` are [num_layers * directions, batch, hidden_size]; ``weights`` is torch's flat list.
    """

    x: Tensor
    packed: PaddedLengths | None
    states: tuple[Tensor, ...]
    weights: Sequence[Tensor]
    num_layers: int
    bidirectional: bool
    batch_first: bool


def read_call(x: Tensor, second: Any, *rest: Any) -> StackCall:
    """Tell torch's padded form (x, hx, weights, ...) from its packed form (x, sizes, hx, ...).

    Both go on with: has_biases, num_layers, dropout, training, bidirectional; the padded form adds
    batch_first.
    """
    if isinstance(second, PaddedLengths):
        hx, weights, _, num_layers, dropout, training, bidirectional = rest
        packed, batch_first = second, False
    else:
        hx, packed = second, None
        weights, _, num_layers, dropout, training, bidirectional, batch_first = rest
    if training and dropout > 0:
        raise ExportError(
            f"dropout must be off to be exported, got dropout={dropout} in training mode. "
            "Call module.eval()."
        )
    states = (hx,) if isinstance(hx, Tensor) else tuple(hx)
    return StackCall(x, packed, states, weights, num_layers, bidirectional, batch_first)


def run_lstm(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    call = read_call(*args)

    def run_layer(
        x: Tensor, lengths: Tensor | None, states: LayerStates, weights: list[Tensor]
    ) -> tuple[Tensor, LayerStates]:
        y, h_n, c_n = operators.lstm(x, lengths, *states, weights, call.bidirectional)
        return y, (h_n, c_n)

    y, (h_n, c_n) = _run_stack(call, run_layer)
    return y, h_n, c_n


def run_gru(*args: Any) -> tuple[Tensor, Tensor]:
    call = read_call(*args)

    def run_layer(
        x: Tensor, lengths: Tensor | None, states: LayerStates, weights: list[Tensor]
    ) -> tuple[Tensor, LayerStates]:
        y, h_n = operators.gru(x, lengths, *states, weights, call.bidirectional)
        return y, (h_n,)

    y, (h_n,) = _run_stack(call, run_layer)
    return y, h_n


def run_rnn(nonlinearity: str, *args: Any) -> tuple[Tensor, Tensor]:
    call = read_call(*args)

    def run_layer(
        x: Tensor, lengths: Tensor | None, states: LayerStates, weights: list[Tensor]
    ) -> tuple[Tensor, LayerStates]:
        y, h_n = operators.rnn(x, lengths, *states, weights, call.bidirectional, nonlinearity)
        return y, (h_n,)

    y, (h_n,) = _run_stack(call, run_layer)
    return y, h_n


def _run_stack(call: StackCall, run_layer: RunLayer) -> tuple[Tensor, LayerStates]:
    directions = 2 if call.bidirectional else 1
    weights_a_layer = len(call.weights) // call.num_layers
    lengths = call.packed.lengths if call.packed is not None else None
    y = call.x.transpose(0, 1) if call.batch_first else call.x
    if call.packed is not None:
        y = call.packed.unflatten(y)
    finals: list[LayerStates] = []
    for layer in range(call.num_layers):
        first = layer * weights_a_layer
        weights = list(call.weights[first : first + weights_a_layer])
        states = tuple(
            state.narrow(0, layer * directions, directions) if call.num_layers > 1 else state
            for state in call.states
        )
        y, final = run_layer(y, lengths, states, weights)
        finals.append(final)
    if call.packed is not None:
        # ONNX's recurrent nodes write zeros after the end of a row.
        y = call.packed.flatten(y, is_masked=True)
    final_states = tuple(
        torch.cat(each) if call.num_layers > 1 else each[0] for each in zip(*finals, strict=True)
    )
    return (y.transpose(0, 1) if call.batch_first else y), final_states
