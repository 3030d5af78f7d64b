"""Packed sequences, in the forms that people write, against eager torch at other sizes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import (
    PackedSequence,
    pack_padded_sequence,
    pad_packed_sequence,
    pad_sequence,
)

import rnn_edge

Forward = Callable[[nn.Module, Tensor, Tensor], Tensor]


class Packed(nn.Module):
    def __init__(self, forward: Forward) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.one = nn.GRU(4, 5, batch_first=True)
        self.two = nn.LSTM(5, 3, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(5, 5)
        self.norm = nn.LayerNorm(5)
        self._forward = forward

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return self._forward(self, x, lengths)


def trimmed(m: Packed, x: Tensor, lengths: Tensor) -> Tensor:
    y, _ = m.one(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    return pad_packed_sequence(y, batch_first=True)[0]


def time_major(m: Packed, x: Tensor, lengths: Tensor) -> Tensor:
    y, _ = m.one(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    return pad_packed_sequence(y)[0]


def padded_with_a_value(m: Packed, x: Tensor, lengths: Tensor) -> Tensor:
    y, _ = m.one(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    return pad_packed_sequence(y, batch_first=True, padding_value=-7.5)[0]


def final_state_alone(m: Packed, x: Tensor, lengths: Tensor) -> Tensor:
    _, h_n = m.one(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    return h_n[-1]


def two_packed_layers(m: Packed, x: Tensor, lengths: Tensor) -> Tensor:
    y, h = m.one(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    y, (_, c) = m.two(y)
    y, _ = pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])
    return torch.cat([y.sum(1), c[0], c[1], h[0]], dim=1)


def data_changed_in_between(m: Packed, x: Tensor, lengths: Tensor) -> Tensor:
    y, _ = m.one(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    data = m.norm(torch.relu(m.linear(y.data)) + 1)
    y = PackedSequence(data, y.batch_sizes, y.sorted_indices, y.unsorted_indices)
    y, _ = m.two(y)
    return pad_packed_sequence(y, batch_first=True)[0]


def changed_data_padded(m: Packed, x: Tensor, lengths: Tensor) -> Tensor:
    y, _ = m.one(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    y = y._replace(data=m.linear(y.data))
    return pad_packed_sequence(y, batch_first=True)[0]


def total_length_fixed(m: Packed, x: Tensor, lengths: Tensor) -> Tensor:
    y, _ = m.one(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    return pad_packed_sequence(y, batch_first=True, total_length=200)[0]


def lengths_returned(m: Packed, x: Tensor, lengths: Tensor) -> Tensor:
    y, _ = m.one(pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False))
    y, valid = pad_packed_sequence(y, batch_first=True, total_length=x.size(1))
    return y.sum(1) / valid.unsqueeze(1)


FORMS = [
    trimmed, time_major, padded_with_a_value, final_state_alone, two_packed_layers,
    data_changed_in_between, changed_data_padded, total_length_fixed, lengths_returned,
]  # fmt: skip


def export_form(form: Forward, folder: Path) -> tuple[Packed, rnn_edge.Bundle]:
    module = Packed(form).eval()
    args = (torch.randn(3, 6, 4), torch.tensor([2, 6, 1]))
    axes = [("batch", "sequence", None), ("batch",)]
    return module, rnn_edge.export(module, args, folder, axes=axes)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_packed_form_equals_eager_torch(form: Forward, tmp_path: Path) -> None:
    module, bundle = export_form(form, tmp_path / "bundle")
    session = rnn_edge.Session(bundle)
    for sizes, lengths in (((4, 9), [9, 1, 5, 9]), ((2, 13), [3, 4]), ((1, 1), [1])):
        x = torch.randn(*sizes, 4)
        with torch.no_grad():
            expected = module(x, torch.tensor(lengths)).numpy()
        (found,) = session.run(x.numpy(), np.array(lengths))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)


def test_sorted_packing_takes_any_order_in_the_graph(tmp_path: Path) -> None:
    def falling(m: Packed, x: Tensor, lengths: Tensor) -> Tensor:
        y, _ = m.one(pack_padded_sequence(x, lengths, batch_first=True))
        return pad_packed_sequence(y, batch_first=True)[0]

    module, bundle = export_form(falling, tmp_path / "bundle")
    x = torch.randn(3, 8, 4)
    with torch.no_grad():
        expected = module(x, torch.tensor([8, 5, 2])).numpy()
    (found,) = rnn_edge.Session(bundle).run(x.numpy()[[2, 0, 1]], np.array([2, 8, 5]))
    np.testing.assert_allclose(found, expected[[2, 0, 1]], rtol=1e-5, atol=1e-6)


def test_what_stands_in_the_padding_changes_nothing(tmp_path: Path) -> None:
    _, bundle = export_form(two_packed_layers, tmp_path / "bundle")
    session = rnn_edge.Session(bundle)
    x = np.random.default_rng(0).standard_normal((2, 6, 4), np.float32)
    garbage = x.copy()
    garbage[0, 2:] = 1e6
    lengths = np.array([2, 6])
    (one,), (other,) = session.run(x, lengths), session.run(garbage, lengths)
    np.testing.assert_array_equal(one, other)


def test_sorting_leaves_no_trace_in_the_graph(tmp_path: Path) -> None:
    _, bundle = export_form(final_state_alone, tmp_path / "bundle")
    operators = {node.op_type for node in onnx.load(bundle.graph_path()).graph.node}
    assert operators <= {"Transpose", "Cast", "GRU", "Squeeze", "Gather", "Slice"}


def test_lengths_are_recognised_and_bounded(tmp_path: Path) -> None:
    _, bundle = export_form(trimmed, tmp_path / "bundle")
    spec = bundle.graph().input("lengths")
    assert (spec.lengths_of, spec.minimum) == ("sequence", 1)
    with pytest.raises(rnn_edge.RnnEdgeError, match="lengths"):
        rnn_edge.Session(bundle).run(np.zeros((1, 4, 4), np.float32), np.array([5]))


def test_padding_of_rows_equals_torch_for_every_option(tmp_path: Path) -> None:
    class Padding(nn.Module):
        def forward(self, first: Tensor, second: Tensor) -> list[Tensor]:
            rows = [first, second]
            return [
                pad_sequence(rows),
                pad_sequence(rows, True, -2.5),
                pad_sequence(rows, padding_value=1.0, padding_side="left"),
            ]

    args = (torch.randn(5, 3), torch.randn(4, 3))
    bundle = rnn_edge.export(
        Padding(), args, tmp_path / "bundle", axes=[("first", None), ("second", None)]
    )
    session = rnn_edge.Session(bundle)
    for first, second in ((2, 9), (9, 2), (4, 4), (1, 3), (3, 1)):
        rows = (torch.randn(first, 3), torch.randn(second, 3))
        found = session.run(*(row.numpy() for row in rows))
        for array, tensor in zip(found, Padding()(*rows), strict=True):
            np.testing.assert_array_equal(array, tensor.numpy())


def test_lengths_as_a_list_are_read_from_the_input(tmp_path: Path) -> None:
    def listed(m: Packed, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths.tolist(), batch_first=True, enforce_sorted=False)
        return m.one(packed)[1][-1]

    _, bundle = export_form(listed, tmp_path / "bundle")
    assert bundle.graph().input("lengths").lengths_of == "sequence"
    operators = {node.op_type for node in onnx.load(bundle.graph_path()).graph.node}
    assert not operators & {"Scan", "Loop"}
