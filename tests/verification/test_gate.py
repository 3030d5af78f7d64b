"""The gate of export: a broken translation of any kind is caught, named, and not written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnn_edge
from rnn_edge import exporting
from rnn_edge.capture import translation
from rnn_edge.errors import VerificationError


class Tagger(nn.Module):
    """Two stacks, the second of which is broken in these tests."""

    def __init__(self, cell: type[nn.RNNBase] = nn.LSTM, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first = nn.RNN(4, 5, batch_first=True)
        self.core = cell(5, 6, batch_first=True, **options)
        self.head = nn.Linear(6 * (2 if self.core.bidirectional else 1), 3)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y = self.first(x)[0]
        y, _ = self.core(pack_padded_sequence(y, lengths, batch_first=True, enforce_sorted=False))
        return self.head(pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])[0])


def export(module: nn.Module, folder: Path) -> rnn_edge.Bundle:
    args = (torch.randn(3, 6, 4), torch.tensor([6, 3, 1]))
    return rnn_edge.export(
        module, args, folder, axes=[("batch", "sequence", None), ("batch",)], output_names=["tags"]
    )


def break_graph(monkeypatch: pytest.MonkeyPatch, change: Callable[[ir.Graph], None]) -> None:
    """Let ``change`` damage each graph just before export saves it."""
    save = exporting.save_graph

    def damage(model: ir.Model, *rest: Any) -> None:
        change(model.graph)
        save(model, *rest)

    monkeypatch.setattr(exporting, "save_graph", damage)


def core_of(graph: ir.Graph) -> ir.Node:
    return next(node for node in graph if str(node.name).startswith("core.layer"))


def test_sound_modules_pass(tmp_path: Path) -> None:
    for cell in (nn.LSTM, nn.GRU, nn.RNN):
        export(Tagger(cell), tmp_path / cell.__name__)


@pytest.mark.parametrize(
    ("cell", "gates"), [(nn.LSTM, "_LSTM_GATES"), (nn.GRU, "_GRU_GATES")], ids=["lstm", "gru"]
)
def test_wrong_gate_order_is_caught(
    cell: type[nn.RNNBase], gates: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(translation, gates, tuple(range(4 if cell is nn.LSTM else 3)))
    with pytest.raises(VerificationError, match=r"output 'tags' .* batch 2.* layer core\.layer_0"):
        export(Tagger(cell), tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_linear_before_reset_is_caught(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def reset_first(graph: ir.Graph) -> None:
        core_of(graph).attributes["linear_before_reset"] = ir.AttrInt64("linear_before_reset", 0)

    break_graph(monkeypatch, reset_first)
    with pytest.raises(VerificationError, match=r"core\.layer_0"):
        export(Tagger(nn.GRU), tmp_path / "bundle")


def test_wrong_direction_is_caught(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def reverse(graph: ir.Graph) -> None:
        core_of(graph).attributes["direction"] = ir.AttrString("direction", "reverse")

    break_graph(monkeypatch, reverse)
    with pytest.raises(VerificationError, match=r"core\.layer_0"):
        export(Tagger(), tmp_path / "bundle")


def test_forgotten_lengths_are_caught(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    break_graph(monkeypatch, lambda graph: core_of(graph).replace_input_with(4, None))
    with pytest.raises(VerificationError, match=r"core\.layer_0"):
        export(Tagger(nn.GRU, bidirectional=True), tmp_path / "bundle")


def test_first_wrong_step_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Without lengths the shortest row, which has one step, goes on at step 1.
    break_graph(monkeypatch, lambda graph: core_of(graph).replace_input_with(4, None))
    with pytest.raises(VerificationError, match=r"layer core\.layer_0 at step 1\."):
        export(Tagger(nn.GRU), tmp_path / "bundle")


def test_second_layer_is_told_from_the_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def reverse_the_second(graph: ir.Graph) -> None:
        node = next(node for node in graph if node.name == "core.layer_1")
        node.attributes["direction"] = ir.AttrString("direction", "reverse")

    break_graph(monkeypatch, reverse_the_second)
    with pytest.raises(VerificationError, match=r"layer core\.layer_1 at step 0"):
        export(Tagger(num_layers=2), tmp_path / "bundle")


def test_frozen_axis_is_caught(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def freeze(graph: ir.Graph) -> None:
        graph.outputs[0].shape = ir.Shape(["batch", 7, 3])

    break_graph(monkeypatch, freeze)
    with pytest.raises(VerificationError, match=r"shape of 'tags'.*at batch 1, sequence 1"):
        export(Tagger(), tmp_path / "bundle")


def test_fault_after_the_layers_is_told_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def forget_the_bias(graph: ir.Graph) -> None:
        bias = graph.initializers["head.bias"]
        bias.const_value = ir.tensor(bias.const_value.numpy() * 0, name="head.bias")

    break_graph(monkeypatch, forget_the_bias)
    with pytest.raises(VerificationError, match="outside the recurrent layers"):
        export(Tagger(), tmp_path / "bundle")


def test_failure_leaves_the_bundle_that_was_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    export(Tagger(), tmp_path / "bundle")
    before = (tmp_path / "bundle" / "bundle.json").read_bytes()
    break_graph(monkeypatch, lambda graph: core_of(graph).replace_input_with(3, None))
    with pytest.raises(VerificationError):
        export(Tagger(), tmp_path / "bundle")
    assert (tmp_path / "bundle" / "bundle.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
