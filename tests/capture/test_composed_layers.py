"""Recurrent layers without a node of their own: projections, float64, float16, unbatched input.

The oracle is float64 torch, row by row: no row sees padding, no batch, no packing.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnn_edge
from rnn_edge.capture import composition
from rnn_edge.errors import VerificationError

INPUT_SIZE, HIDDEN_SIZE, PROJ_SIZE = 4, 5, 3
# (batch, sequence) that no export is traced at.
SIZES = ((4, 9), (1, 1), (2, 23))
CELLS: dict[str, tuple[type[nn.RNNBase], dict[str, Any]]] = {
    "rnn-tanh": (nn.RNN, {"nonlinearity": "tanh"}),
    "rnn-relu": (nn.RNN, {"nonlinearity": "relu"}),
    "lstm": (nn.LSTM, {}),
    "gru": (nn.GRU, {}),
    "projection": (nn.LSTM, {"proj_size": PROJ_SIZE}),
}
# Every cell composed in float64, a projection in each dtype, and a node of its own in float16.
FORMS = [
    *((cell, torch.float64) for cell in CELLS),
    ("projection", torch.float32),
    ("projection", torch.float16),
    ("gru", torch.float16),
    ("lstm", torch.float16),
    ("rnn-tanh", torch.float16),
]
TOLERANCES = {torch.float64: 1e-9, torch.float32: 5e-6, torch.float16: 5e-3}


class Ragged(nn.Module):
    """A stack over rows of different lengths, from a state that is given."""

    def __init__(self, core: nn.RNNBase) -> None:
        super().__init__()
        self.core = core

    def forward(self, x: Tensor, lengths: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, final = self.core(packed, states[0] if len(states) == 1 else states)
        y, _ = pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])
        return (y, *(final if isinstance(final, tuple) else (final,)))


class Plain(nn.Module):
    """A stack as it is, from the state zero."""

    def __init__(self, core: nn.RNNBase) -> None:
        super().__init__()
        self.core = core

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y, final = self.core(x)
        return (y, *(final if isinstance(final, tuple) else (final,)))


def make_core(cell: str, dtype: torch.dtype, **options: Any) -> nn.RNNBase:
    torch.manual_seed(3)
    kind, own = CELLS[cell]
    return kind(INPUT_SIZE, HIDDEN_SIZE, **own, **options).to(dtype)


def make_inputs(core: nn.RNNBase, batch: int, sequence: int) -> list[Tensor]:
    """x, lengths with 1 and the maximum among them, and states that are not zero."""
    generator = torch.Generator().manual_seed(batch)
    dtype = core.weight_ih_l0.dtype
    lengths = torch.randint(1, sequence + 1, (batch,), generator=generator)
    lengths[0], lengths[-1] = 1, sequence
    layers = core.num_layers * (2 if core.bidirectional else 1)
    sizes = [core.proj_size or HIDDEN_SIZE, HIDDEN_SIZE][: 2 if core.mode == "LSTM" else 1]
    states = [torch.randn(layers, batch, size, generator=generator) for size in sizes]
    x = torch.randn(batch, sequence, INPUT_SIZE, generator=generator)
    return [x.to(dtype), lengths, *(state.to(dtype) for state in states)]


def run_row_by_row(
    core: nn.RNNBase, x: Tensor, lengths: Sequence[int], states: Sequence[Tensor] = ()
) -> list[np.ndarray]:
    """(y, h_n, (c_n)) in float64 for ``x`` [batch, sequence, features]; padding is zero."""
    exact = copy.deepcopy(core).double()
    exact.batch_first = True
    rows, finals = [], []
    for row, length in enumerate(lengths):
        own = [state[:, row : row + 1].double() for state in states]
        state = (tuple(own) if len(own) == 2 else own[0]) if own else None
        y, final = exact(x[row : row + 1, :length].double(), state)
        rows.append(nn.functional.pad(y, (0, 0, 0, x.shape[1] - length)))
        finals.append(final if isinstance(final, tuple) else (final,))
    found = [torch.cat(rows), *(torch.cat(parts, dim=1) for parts in zip(*finals, strict=True))]
    return [output.detach().numpy() for output in found]


def export_ragged(core: nn.RNNBase, folder: Path) -> rnn_edge.Bundle:
    inputs = make_inputs(core, 3, 6)
    axes = [("batch", "sequence", None), ("batch",), *[(None, "batch", None)] * (len(inputs) - 2)]
    return rnn_edge.export(Ragged(core), tuple(inputs), folder, axes=axes)


def assert_ragged_is_right(bundle: rnn_edge.Bundle, core: nn.RNNBase) -> None:
    session = rnn_edge.Session(bundle)
    names = [spec.name for spec in session.contract.inputs]
    for batch, sequence in SIZES:
        inputs = make_inputs(core, batch, sequence)
        arrays = [tensor.numpy() for tensor in inputs]
        found = session.run(dict(zip(names, arrays, strict=True)))
        x, lengths, *states = inputs
        assert_close(found, run_row_by_row(core, x, lengths.tolist(), states), x.dtype)


def assert_close(
    found: Sequence[np.ndarray], expected: Sequence[np.ndarray], dtype: torch.dtype
) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == str(dtype).removeprefix("torch.")
        np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCES[dtype])


def operators_of(bundle: rnn_edge.Bundle) -> list[str]:
    return [node.op_type for node in onnx.load(bundle.graph_path()).graph.node]


@pytest.mark.parametrize(
    ("layers", "bidirectional"), [(1, False), (2, True)], ids=["single", "two-layers-bidirectional"]
)
@pytest.mark.parametrize(("cell", "dtype"), FORMS, ids=str)
def test_ragged_rows_from_given_states_are_right(
    cell: str, dtype: torch.dtype, layers: int, bidirectional: bool, tmp_path: Path
) -> None:
    core = make_core(cell, dtype, num_layers=layers, bidirectional=bidirectional, batch_first=True)
    bundle = export_ragged(core, tmp_path / "bundle")
    assert_ragged_is_right(bundle, core)
    composed = dtype == torch.float64 or cell == "projection"
    scans = layers * (2 if bidirectional else 1) if composed else 0
    assert operators_of(bundle).count("Scan") == scans


@pytest.mark.parametrize("cell", ["rnn-tanh", "gru", "projection"])
def test_layers_without_biases_are_right(cell: str, tmp_path: Path) -> None:
    core = make_core(cell, torch.float64, bias=False, bidirectional=True, batch_first=True)
    assert_ragged_is_right(export_ragged(core, tmp_path / "bundle"), core)


@pytest.mark.parametrize(("cell", "dtype"), FORMS, ids=str)
def test_time_major_rows_of_full_length_are_right(
    cell: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    core = make_core(cell, dtype, bidirectional=True)
    example = torch.randn(6, 3, INPUT_SIZE, dtype=dtype)
    bundle = rnn_edge.export(
        Plain(core), example, tmp_path / "bundle", axes=[("sequence", "batch", None)]
    )
    session = rnn_edge.Session(bundle)
    for batch, sequence in SIZES:
        x, *_ = make_inputs(core, batch, sequence)
        found = session.run({"x": x.transpose(0, 1).contiguous().numpy()})
        y, *finals = run_row_by_row(core, x, [sequence] * batch)
        assert_close(found, [y.swapaxes(0, 1), *finals], dtype)


@pytest.mark.parametrize(
    ("cell", "dtype"),
    [
        ("projection", torch.float32),
        ("gru", torch.float32),
        ("rnn-tanh", torch.float64),
        ("lstm", torch.float16),
    ],
    ids=str,
)
def test_input_without_a_batch_is_right(cell: str, dtype: torch.dtype, tmp_path: Path) -> None:
    core = make_core(cell, dtype, bidirectional=True)
    example = torch.randn(6, INPUT_SIZE, dtype=dtype)
    bundle = rnn_edge.export(Plain(core), example, tmp_path / "bundle", axes=[("sequence", None)])
    session = rnn_edge.Session(bundle)
    for _, sequence in SIZES:
        x, *_ = make_inputs(core, 1, sequence)
        y, *finals = run_row_by_row(core, x, [sequence])
        found = session.run({"x": x[0].numpy()})
        assert_close(found, [y[0], *(final[:, 0] for final in finals)], dtype)


class WithoutBatch(nn.Module):
    """A projecting LSTM over one row, from a state that is given."""

    def __init__(self) -> None:
        super().__init__()
        self.core = make_core("projection", torch.float32)

    def forward(self, x: Tensor, hx: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        y, (h_n, c_n) = self.core(x, hx)
        return y, h_n, c_n


def test_states_without_a_batch_are_right(tmp_path: Path) -> None:
    module = WithoutBatch()
    x, _, h_0, c_0 = make_inputs(module.core, 1, 6)
    bundle = rnn_edge.export(
        module, (x[0], (h_0[:, 0], c_0[:, 0])), tmp_path / "bundle",
        axes=[("sequence", None), ((None, None), (None, None))],
    )  # fmt: skip
    session = rnn_edge.Session(bundle)
    x, _, h_0, c_0 = make_inputs(module.core, 1, 11)
    inputs = {"x": x[0], "hx_0": h_0[:, 0], "hx_1": c_0[:, 0]}
    found = session.run({name: tensor.numpy() for name, tensor in inputs.items()})
    y, h_n, c_n = run_row_by_row(module.core, x, [11], [h_0, c_0])
    assert_close(found, [y[0], h_n[:, 0], c_n[:, 0]], torch.float32)


def test_final_state_alone_can_be_used(tmp_path: Path) -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.core = make_core("projection", torch.float64, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.core(x)[1][0][-1]

    module = Last()
    example = torch.randn(3, 6, INPUT_SIZE, dtype=torch.float64)
    bundle = rnn_edge.export(
        module, example, tmp_path / "bundle", axes=[("batch", "sequence", None)]
    )
    x, *_ = make_inputs(module.core, 2, 11)
    found = rnn_edge.Session(bundle).run({"x": x.numpy()})
    _, h_n, _ = run_row_by_row(module.core, x, [11, 11])
    assert_close(found, [h_n[-1]], torch.float64)


def test_float64_layers_leave_no_rounding_to_float32(tmp_path: Path) -> None:
    core = make_core("gru", torch.float64, batch_first=True)
    bundle = export_ragged(core, tmp_path / "bundle")
    model = onnx.load(bundle.graph_path())
    bodies = [node.attribute[0].g for node in model.graph.node if node.op_type == "Scan"]
    nodes = [*model.graph.node, *(node for body in bodies for node in body.node)]
    assert not [node for node in nodes if node.op_type == "Cast"]
    assert onnx.TensorProto.FLOAT not in {i.data_type for i in model.graph.initializer}


class Head(nn.Module):
    """A recurrent layer and a Linear one after it."""

    def __init__(self, cell: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.core = make_core(cell, dtype, batch_first=True)
        self.head = nn.Linear(self.core.proj_size or HIDDEN_SIZE, 2).to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.core(x)[0]))


@pytest.mark.parametrize("cell", ["lstm", "projection"])
def test_linear_layer_after_a_float16_layer_is_right(cell: str, tmp_path: Path) -> None:
    module = Head(cell, torch.float16)
    x, *_ = make_inputs(module.core, 3, 6)
    bundle = rnn_edge.export(module, x, tmp_path / "bundle", axes=[("batch", "sequence", None)])
    x, *_ = make_inputs(module.core, 2, 11)
    found = rnn_edge.Session(bundle).run({"x": x.numpy()})
    expected = copy.deepcopy(module).double()(x.double()).detach().numpy()
    assert_close(found, [expected], torch.float16)


def test_wrong_step_of_a_composed_layer_is_caught(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    split = composition._split

    def swap_gates(*args: Any) -> Any:
        first, second, *rest = split(*args)
        return [second, first, *rest]

    monkeypatch.setattr(composition, "_split", swap_gates)
    core = make_core("projection", torch.float32, batch_first=True)
    with pytest.raises(VerificationError, match="must be within"):
        export_ragged(core, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []
