"""Every standard form of nn.RNN, nn.LSTM and nn.GRU exports, at sizes it was not traced at.

The oracle is float64 torch, row by row: no row sees padding, no batch, no packing.
"""

from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path

import onnx
import pytest
from recurrent_stacks import (
    CELLS,
    assert_right,
    export_stack,
    export_stack_by_command,
    make_stack,
)

GRID = list(
    product(
        CELLS,
        (1, 3),  # layers
        (False, True),  # bidirectional
        (False, True),  # initial state
        ("no-lengths", "lengths", "lengths-batch-first"),
        (0.0, 0.4),  # dropout
    )
)


@pytest.mark.parametrize(
    ("cell", "layers", "bidirectional", "with_state", "form", "dropout"),
    GRID,
    ids=lambda value: str(value),
)
def test_standard_layer_equals_float64_torch_row_by_row(
    cell: str,
    layers: int,
    bidirectional: bool,
    with_state: bool,
    form: str,
    dropout: float,
    tmp_path: Path,
) -> None:
    stack = make_stack(cell, layers, bidirectional, form, dropout)
    # Dropout does nothing in eval mode: those cases take the way through the command line.
    export = export_stack_by_command if dropout else export_stack
    bundle = export(stack, with_state, tmp_path / "bundle")
    model = onnx.load(bundle.graph_path())
    counts = Counter(node.op_type for node in model.graph.node)
    operator = {"rnn-tanh": "RNN", "rnn-relu": "RNN", "lstm": "LSTM", "gru": "GRU"}[cell]
    assert counts[operator] == layers
    assert not counts.keys() & {"Loop", "Scan", "If"}
    assert_right(bundle, stack, with_state)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_layer_without_bias_is_right(cell: str, bidirectional: bool, tmp_path: Path) -> None:
    stack = make_stack(cell, 2, bidirectional, "lengths-batch-first", 0.0, bias=False)
    bundle = export_stack(stack, True, tmp_path / "bundle")
    assert_right(bundle, stack, True)


def test_plain_layer_is_one_node_between_two_transposes(tmp_path: Path) -> None:
    stack = make_stack("gru", 1, False, "no-lengths", 0.0)
    bundle = export_stack(stack, False, tmp_path / "bundle")
    operators = [node.op_type for node in onnx.load(bundle.graph_path()).graph.node]
    assert operators == ["Transpose", "GRU", "Squeeze", "Transpose"]
