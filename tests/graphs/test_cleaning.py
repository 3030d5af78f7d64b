"""The clean-up leaves the nodes that compute something, once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnn_edge


class Twice(nn.Module):
    """Two packed layers with the same lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.GRU(3, 4, batch_first=True), nn.GRU(4, 4, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        for layer in (self.one, self.two):
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            x = pad_packed_sequence(layer(packed)[0], batch_first=True, total_length=x.shape[1])[0]
        return x


def test_lengths_are_cast_once_and_weights_are_constants(tmp_path: Path) -> None:
    bundle = rnn_edge.export(
        Twice(),
        (torch.randn(2, 5, 3), torch.tensor([5, 2])),
        tmp_path / "bundle",
        axes=[("batch", "sequence", None), ("batch",)],
    )
    graph = onnx.load(bundle.graph_path()).graph
    counts = Counter(node.op_type for node in graph.node)
    assert counts["Cast"] == 1
    assert counts["GRU"] == 2
    assert not counts.keys() & {"Concat", "Unsqueeze", "Identity", "Expand", "Shape"}
    constants = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "GRU":
            assert set(node.input[1:4]) <= constants
