"""A standard cell that is written out by hand runs as a node, and no Scan is left.

tests/capture/test_collection.py compares the same modules with eager torch at unseen sizes.
"""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from collection import cells, written_cells
from collection.case import EXAMPLE_SIZES, Case, floats
from torch import Tensor, nn

from rnn_edge.capture.capture import capture

F, H = 5, 6
NODES = {
    "OneLinearLSTM": {"LSTM": 1},
    "TwoLinearsLSTM": {"LSTM": 1},
    "EightLinearsLSTM": {"LSTM": 1},
    "ParametersLSTM": {"LSTM": 1},
    "HoistedLSTM": {"LSTM": 1},
    "PeepholesLSTM": {"LSTM": 1},
    "CoupledLSTM": {"LSTM": 1},
    "HardLSTM": {"LSTM": 1},
    "StackedLSTM": {"LSTM": 2},
    "ResetAfterGRU": {"GRU": 1},
    "ResetBeforeGRU": {"GRU": 1},
    "LerpGRU": {"GRU": 1},
    "NoResetGRU": {"GRU": 1},
    "ElmanRNN": {"RNN": 1},
    "BothWaysRNN": {"RNN": 2},
}


def count_nodes(case: Case) -> dict[str, int]:
    args, kwargs = case.inputs(*EXAMPLE_SIZES)
    model = capture(case.module(), args, kwargs, case.axes()).model
    counts = Counter(node.op_type for node in model.graph)
    return {kind: counts[kind] for kind in ("LSTM", "GRU", "RNN", "Scan") if counts[kind]}


@pytest.mark.parametrize("case", written_cells.CASES, ids=Case.title)
def test_written_cell_is_a_node(case: Case) -> None:
    assert count_nodes(case) == NODES[case.title()]


def test_node_is_named_after_the_module_of_the_cell() -> None:
    case = next(case for case in written_cells.CASES if case.title() == "EightLinearsLSTM")
    args, kwargs = case.inputs(*EXAMPLE_SIZES)
    model = capture(case.module(), args, kwargs, case.axes()).model
    assert [node.name for node in model.graph if node.op_type == "LSTM"] == ["cell.layer_0"]


class ClampedCell(nn.Module):
    """A limit that no ordinary value reaches makes it another cell."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.Linear(F + H, 4 * H)

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(x.size(0), H)
        for t in range(x.size(1)):
            i, f, g, o = self.gates(torch.cat([x[:, t], h], 1)).chunk(4, 1)
            c = (f.sigmoid() * c + i.sigmoid() * g.tanh()).clamp(-50, 50)
            h = o.sigmoid() * c.tanh()
        return h


class OldPeephole(nn.Module):
    """The output gate looks at the cell of the step before, which ONNX's does not."""

    def __init__(self) -> None:
        super().__init__()
        self.gates, self.peep = nn.Linear(F + H, 4 * H), nn.Parameter(torch.randn(H))

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(x.size(0), H)
        for t in range(x.size(1)):
            i, f, g, o = self.gates(torch.cat([x[:, t], h], 1)).chunk(4, 1)
            o = o + self.peep * c
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return h


@pytest.mark.parametrize(
    "case",
    [
        Case(ClampedCell, (floats("batch", "sequence", F),)),
        Case(OldPeephole, (floats("batch", "sequence", F),)),
        next(case for case in cells.CASES if case.title() == "SLSTM"),
    ],
    ids=Case.title,
)
def test_a_cell_with_other_equations_stays_a_scan(case: Case) -> None:
    assert count_nodes(case) == {"Scan": 1}
