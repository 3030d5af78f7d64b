"""A loop around torch's standard cells runs as a recurrent node, and no Scan is left.

The oracle is the eager module at lengths that were not traced, 1 among them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import rnn_edge

F = 4  # features
H = 5  # hidden size
X = ("batch", "sequence", None)
STATE = ("batch", None)
RECURRENT = ("LSTM", "GRU", "RNN", "Scan", "Loop")


class Looping(nn.Module):
    def __init__(self, forward: Callable[..., Any], *cells: nn.Module) -> None:
        super().__init__()
        self.cells = nn.ModuleList(cells)
        self._forward = forward

    def forward(self, *tensors: Tensor) -> Any:
        return self._forward(*self.cells, *tensors)


def count_nodes(bundle: rnn_edge.Bundle) -> dict[str, int]:
    counts = Counter(node.op_type for node in onnx.load(bundle.graph_path()).graph.node)
    return {kind: counts[kind] for kind in RECURRENT if counts[kind]}


def make_inputs(states: int, batch: int, steps: int) -> tuple[Tensor, ...]:
    random = torch.Generator().manual_seed(steps)
    x = torch.randn(batch, steps, F, generator=random)
    return (x, *(torch.randn(batch, H, generator=random) for _ in range(states)))


def export(module: nn.Module, folder: Path, states: int = 0) -> rnn_edge.Bundle:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5)
    return rnn_edge.export(module, make_inputs(states, 2, 6), folder, axes=[X, *[STATE] * states])


def assert_equals_eager_torch(
    module: nn.Module, bundle: rnn_edge.Bundle, states: int = 0, shortest: int = 1
) -> None:
    session = rnn_edge.Session(bundle)
    names = [tensor.name for tensor in bundle.graph().inputs]
    for batch, steps in ((3, 11), (1, shortest), (2, 2), (1, 40)):
        inputs = make_inputs(states, batch, steps)
        with torch.no_grad():
            expected = pytree.tree_leaves(module(*inputs))
        found = session.run({n: t.numpy() for n, t in zip(names, inputs, strict=True)})
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other.numpy(), rtol=1e-5, atol=2e-6)


def run_from_given_states(cell: nn.Module, x: Tensor, *states: Tensor) -> Any:
    state = states if len(states) > 1 else states[0]
    outputs = []
    for t in range(x.shape[1]):
        state = cell(x[:, t], state)
        outputs.append(state[0] if len(states) > 1 else state)
    return torch.stack(outputs, 1), state


@pytest.mark.parametrize(
    ("cell", "states", "node"),
    [
        (nn.LSTMCell(F, H), 2, "LSTM"),
        (nn.LSTMCell(F, H, bias=False), 2, "LSTM"),
        (nn.GRUCell(F, H), 1, "GRU"),
        (nn.GRUCell(F, H, bias=False), 1, "GRU"),
        (nn.RNNCell(F, H), 1, "RNN"),
        (nn.RNNCell(F, H, nonlinearity="relu"), 1, "RNN"),
    ],
    ids=str,
)
def test_cell_with_given_states_is_one_node(
    cell: nn.Module, states: int, node: str, tmp_path: Path
) -> None:
    module = Looping(run_from_given_states, cell)
    bundle = export(module, tmp_path / "bundle", states)
    assert count_nodes(bundle) == {node: 1}
    assert_equals_eager_torch(module, bundle, states)


def run_backwards_into_a_tensor(cell: nn.Module, x: Tensor) -> Any:
    h = c = torch.zeros(x.shape[0], H)
    out = torch.empty(x.shape[0], x.shape[1], H)
    for t in reversed(range(x.shape[1])):
        h, c = cell(x[:, t], (h, c))
        out[:, t] = h
    return out, c


def run_without_state(cell: nn.Module, x: Tensor) -> Any:
    state, outputs = None, []
    for step in x.unbind(1):
        state = cell(step, state)
        outputs.append(state[0])
    return torch.stack(outputs), state


def run_steps_of_a_loop_without_state(cell: nn.Module, x: Tensor) -> Any:
    state, outputs = None, []
    for t in range(x.shape[1]):
        state = cell(x[:, t], state)
        outputs.append(state[0].unsqueeze(1))
    return torch.cat(outputs, 1), state


def run_with_layers_around(cell: nn.Module, x: Tensor) -> Any:
    h = c = torch.zeros(x.shape[0], H)
    outputs = []
    for t in range(x.shape[1]):
        h, c = cell(torch.layer_norm(torch.relu(x[:, t]) * t, (F,)), (h, c))
        outputs.append(torch.softmax(torch.cat([h, x[:, t] / 2], -1) @ x.new_ones(H + F, 3), -1))
    return torch.stack(outputs, 1)


def run_for_the_last_state(cell: nn.Module, x: Tensor) -> Any:
    h = c = torch.zeros(x.shape[0], H)
    for t in range(x.shape[1]):
        h, c = cell(x[:, t], (h, c))
    return h


def run_on_a_repeated_input(cell: nn.Module, x: Tensor) -> Any:
    latent, h, c = x.mean(1), torch.zeros(x.shape[0], H), torch.ones(x.shape[0], H)
    outputs = []
    for _ in range(x.shape[1]):
        h, c = cell(latent, (h, c))
        outputs.append(h)
    return torch.stack(outputs, 1)


def run_over_a_projection(cell: nn.Module, x: Tensor) -> Any:
    h, c, projected = torch.zeros(x.shape[0], H), torch.zeros(x.shape[0], H), torch.tanh(x) * 2
    for t in range(x.size(1)):
        h, c = cell(projected[:, t], (h, c))
    return h * c


@pytest.mark.parametrize(
    "forward",
    [
        run_backwards_into_a_tensor,
        run_without_state,
        run_steps_of_a_loop_without_state,
        run_with_layers_around,
        run_for_the_last_state,
        run_on_a_repeated_input,
        run_over_a_projection,
    ],
)
def test_every_style_of_loop_is_one_node(forward: Callable[..., Any], tmp_path: Path) -> None:
    module = Looping(forward, nn.LSTMCell(F, H))
    bundle = export(module, tmp_path / "bundle")
    assert count_nodes(bundle) == {"LSTM": 1}
    assert_equals_eager_torch(module, bundle)


def test_cells_on_cells_are_one_node_each(tmp_path: Path) -> None:
    def run(low: nn.Module, middle: nn.Module, high: nn.Module, x: Tensor) -> Any:
        h = g = k = torch.zeros(x.shape[0], H)
        outputs = []
        for t in range(x.shape[1]):
            h = low(x[:, t], h)
            g = middle(h, g)
            k = high(g, k)
            outputs.append(k)
        return torch.stack(outputs, 1), (h, g, k)

    module = Looping(run, nn.GRUCell(F, H), nn.RNNCell(H, H), nn.GRUCell(H, H))
    bundle = export(module, tmp_path / "bundle")
    assert count_nodes(bundle) == {"GRU": 2, "RNN": 1}
    assert_equals_eager_torch(module, bundle)


def test_a_loop_that_may_not_run_leaves_the_initial_state(tmp_path: Path) -> None:
    def run(cell: nn.Module, x: Tensor, h: Tensor) -> Any:
        for t in range(x.shape[1] - 1):
            h = cell(x[:, t], h)
        return h

    module = Looping(run, nn.GRUCell(F, H))
    bundle = export(module, tmp_path / "bundle", 1)
    assert count_nodes(bundle) == {"GRU": 1}
    assert_equals_eager_torch(module, bundle, 1)


def test_what_is_left_beside_a_cell_stays_a_scan(tmp_path: Path) -> None:
    def run(cell: nn.Module, head: nn.Module, x: Tensor) -> Any:
        h = y = torch.zeros(x.shape[0], H)
        for t in range(x.shape[1]):
            h = cell(x[:, t], h)
            y = torch.tanh(head(y)) + h
        return y

    module = Looping(run, nn.GRUCell(F, H), nn.Linear(H, H))
    bundle = export(module, tmp_path / "bundle")
    assert count_nodes(bundle) == {"GRU": 1, "Scan": 1}
    assert_equals_eager_torch(module, bundle)


def use_every_cell_state(cell: nn.Module, x: Tensor) -> Any:
    h, c, outputs = torch.zeros(x.shape[0], H), torch.zeros(x.shape[0], H), []
    for t in range(x.shape[1]):
        h, c = cell(x[:, t], (h, c))
        outputs.append(c)
    return torch.stack(outputs, 1)


def feed_back_the_output(cell: nn.Module, x: Tensor) -> Any:
    h, c = torch.zeros(x.shape[0], H), torch.zeros(x.shape[0], H)
    for t in range(x.shape[1]):
        h, c = cell(x[:, t] + h[:, :F], (h, c))
    return h


@pytest.mark.parametrize("forward", [use_every_cell_state, feed_back_the_output])
def test_what_a_node_cannot_do_stays_a_scan(forward: Callable[..., Any], tmp_path: Path) -> None:
    module = Looping(forward, nn.LSTMCell(F, H))
    bundle = export(module, tmp_path / "bundle")
    assert count_nodes(bundle) == {"Scan": 1}
    assert_equals_eager_torch(module, bundle)


def grow_an_output(cell: nn.Module, x: Tensor) -> Any:
    h, c, out = (
        torch.zeros(x.shape[0], H),
        torch.zeros(x.shape[0], H),
        torch.zeros(x.shape[0], 0, H),
    )
    for t in range(x.shape[1]):
        h, c = cell(x[:, t], (h, c))
        out = torch.cat([out, h.unsqueeze(1)], 1)
    return out


def read_windows(cell: nn.Module, x: Tensor) -> Any:
    h = c = torch.zeros(x.shape[0], H)
    half = torch.cat([x[:, :1], x], 1)[:, :, : F // 2]
    for t in range(x.shape[1]):
        h, c = cell(half[:, t : t + 2].flatten(1), (h, c))
    return h


@pytest.mark.parametrize("forward", [grow_an_output, read_windows])
def test_growing_outputs_and_moving_windows_are_taken_whole(
    forward: Callable[..., Any], tmp_path: Path
) -> None:
    module = Looping(forward, nn.LSTMCell(F, H))
    bundle = export(module, tmp_path / "bundle")
    assert count_nodes(bundle) == {"LSTM": 1}
    assert_equals_eager_torch(module, bundle)
