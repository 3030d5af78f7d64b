"""Layers over time around the cells of this package, and stacks of layers, as torch's are called.

Like nn.LSTM(batch_first=True) they take float32[batch, sequence, input] and maybe a state; they
give the outputs of all steps and the last state. An LSTM's state is (h, c), any other's is h alone:
float32[layers * directions, batch, hidden]. Rows of different lengths come with their ``lengths``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnn_edge.models.cells import Cell, State

AnyState = Tensor | State
TorchLayer = nn.RNN | nn.LSTM | nn.GRU


def read_rows(
    core: Core, x: Tensor, lengths: Tensor | None, state: AnyState | None = None
) -> tuple[Tensor, AnyState]:
    """``core(x, state)`` with each row read to its length only, int64[batch], 1 or more.

    The outputs are as long as ``x``, with zeros behind each length; the state is that of the last
    valid step.
    """
    if lengths is None:
        return core(x, state)
    if isinstance(core, CellLayer | LayerStack):
        return core(x, state, lengths)
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    outputs, final = core(packed, state)
    return pad_packed_sequence(outputs, batch_first=True, total_length=x.shape[1])[0], final


class CellLayer(nn.Module):
    """One layer: a cell for the way forward, with ``backward`` another one for the way back."""

    num_layers = 1
    proj_size = 0

    def __init__(self, forward: Cell, backward: Cell | None = None) -> None:
        super().__init__()
        self.cell = forward
        self.reverse_cell = backward
        self.hidden_size = forward.hidden_size
        self.bidirectional = backward is not None

    def forward(
        self, x: Tensor, state: AnyState | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, AnyState]:
        parts = self._initial(x, state)
        first = tuple(part[0] for part in parts)
        outputs, final = _loop(self.cell, x, lengths, first)
        finals = [final]
        if self.reverse_cell is not None:
            second = tuple(part[1] for part in parts)
            back, final = _loop(self.reverse_cell, _reversed(x, lengths), lengths, second)
            outputs = torch.cat([outputs, _reversed(back, lengths)], dim=2)
            finals.append(final)
        joined = tuple(torch.stack(tensors) for tensors in zip(*finals, strict=True))
        return outputs, joined if len(joined) > 1 else joined[0]

    def _initial(self, x: Tensor, state: AnyState | None) -> State:
        if state is None:
            shape = (1 + self.bidirectional, len(x), self.hidden_size)
            return (x.new_zeros(shape),) * self.cell.state_count
        return state if isinstance(state, tuple) else (state,)


class LayerStack(nn.Module):
    """Layers of one cell, one on another; ``dropout`` acts between them.

    With ``residual`` each layer but the first adds its input to its output.
    """

    def __init__(
        self,
        layers: Sequence[TorchLayer | CellLayer],
        *,
        dropout: float = 0.0,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.dropout = nn.Dropout(dropout)
        self.residual = residual
        self.num_layers = len(layers)
        self.hidden_size = layers[0].hidden_size
        self.bidirectional = layers[0].bidirectional
        self.proj_size = 0 if isinstance(layers[0], CellLayer) else layers[0].proj_size

    def forward(
        self, x: Tensor, state: AnyState | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, AnyState]:
        finals = []
        for place, layer in enumerate(self.layers):
            below = x if place == 0 else self.dropout(x)
            x, final = read_rows(cast(Core, layer), below, lengths, self._part(state, place))
            if self.residual and place > 0:
                x = x + below
            finals.append(final if isinstance(final, tuple) else (final,))
        joined = tuple(torch.cat(tensors) for tensors in zip(*finals, strict=True))
        return x, joined if len(joined) > 1 else joined[0]

    def _part(self, state: AnyState | None, place: int) -> AnyState | None:
        """The state of the layer at ``place``."""
        if state is None:
            return None
        if isinstance(state, tuple):
            return tuple(self._rows(tensor, place) for tensor in state)
        return self._rows(state, place)

    def _rows(self, tensor: Tensor, place: int) -> Tensor:
        directions = 1 + self.bidirectional
        return tensor[place * directions : (place + 1) * directions]


Core = TorchLayer | CellLayer | LayerStack


def _loop(cell: Cell, x: Tensor, lengths: Tensor | None, state: State) -> tuple[Tensor, State]:
    """All outputs, and the state after the last valid step. Padding follows the valid steps, so
    that they do not see it."""
    gates = cell.project(x)
    steps: list[State] = []
    for step in range(x.shape[1]):
        state = cell(gates[:, step], state)
        steps.append(state)
    over_time = [torch.stack(tensors, dim=1) for tensors in zip(*steps, strict=True)]
    if lengths is None:
        return over_time[0], state
    padding = torch.arange(x.shape[1], device=x.device) >= lengths.unsqueeze(1)
    outputs = over_time[0].masked_fill(padding.unsqueeze(2), 0.0)
    place = (lengths - 1).view(-1, 1, 1).expand(-1, 1, cell.hidden_size)
    return outputs, tuple(tensor.gather(1, place).squeeze(1) for tensor in over_time)


def _reversed(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Each row back to front within its length; the padding stays where it is."""
    if lengths is None:
        return x.flip(1)
    steps = torch.arange(x.shape[1], device=x.device)
    mirrored = lengths.unsqueeze(1) - 1 - steps
    places = torch.where(mirrored >= 0, mirrored, steps)
    return x.gather(1, places.unsqueeze(2).expand(-1, -1, x.shape[2]))
