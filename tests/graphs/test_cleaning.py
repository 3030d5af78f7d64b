"""The clean-up leaves the nodes that compute something, once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import torch
from onnx_ir.tape import Tape
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnn_edge
from rnn_edge.graphs.cleaning import clean


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


def test_only_arithmetic_that_changes_nothing_is_dropped() -> None:
    x = ir.val("x", dtype=ir.DataType.FLOAT, shape=[3])
    tape, value = Tape(), x
    for operator, number in (
        ("Add", 0.0), ("Add", 1e-8), ("Sub", 0.0), ("Sub", 1e-9),
        ("Mul", 1.0), ("Mul", 1.0 + 2**-20), ("Div", 1.0), ("Div", 1.0 - 2**-20),
    ):  # fmt: skip
        constant = tape.initializer(ir.tensor(np.float32(number), name=f"c{len(tape.nodes)}"))
        value = tape.op(operator, [value, constant])
    value.name, value.dtype, value.shape = "y", ir.DataType.FLOAT, ir.Shape([3])
    graph = ir.Graph(
        [x], [value], nodes=tape.nodes, initializers=tape.initializers,
        opset_imports={"": 18}, name="arithmetic",
    )  # fmt: skip
    model = ir.Model(graph, ir_version=9)
    clean(model)
    assert [node.op_type for node in model.graph] == ["Add", "Sub", "Mul", "Div"]


def test_constants_that_rules_name_alike_are_kept() -> None:
    x = ir.val("x", dtype=ir.DataType.FLOAT, shape=["batch", 3, 4])
    tape = Tape()
    outputs = [tape.op("Flatten", [x], {"axis": axis}) for axis in (1, 2)]
    for name, output in zip("yz", outputs, strict=True):
        output.name, output.dtype = name, ir.DataType.FLOAT
    graph = ir.Graph([x], outputs, nodes=tape.nodes, opset_imports={"": 18}, name="flat")
    model = ir.Model(graph, ir_version=9)
    clean(model)
    assert [node.op_type for node in model.graph] == ["Reshape", "Reshape"]
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    given = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    y, z = session.run(None, {"x": given})
    np.testing.assert_array_equal(y, given.reshape(2, 12))
    np.testing.assert_array_equal(z, given.reshape(6, 4))
