"""Loops of a fixed number of steps stand in the file once, however many steps there are.

Their answers are held against eager torch in the collection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir
import pytest
import torch
from collection import fixed_loops, nested_loops
from collection.case import Case
from collection.fixed_loops import CalendarForecaster, Fixed, FixedPoint
from torch import Tensor, nn

import rnn_edge
from rnn_edge.capture import capture
from rnn_edge.capture.rolling.curves import tabulate

CASES = {case.title(): case for case in fixed_loops.CASES}
X = ("batch", "sequence", None)


def count_operators(module: nn.Module, case: Case) -> Counter[str]:
    """Of the whole file: what is in the bodies of loops, too."""
    args, kwargs = case.inputs(2, 6)
    model = capture(module.eval(), args, kwargs, case.axes()).model
    return Counter(node.op_type for node in ir.traversal.RecursiveGraphIterator(model.graph))


@pytest.mark.parametrize(
    "name", ["GreedyTranslator", "Forecaster", "ConvLSTMSeq2Seq", "MemoryHops"]
)
def test_file_does_not_grow_with_the_steps(name: str) -> None:
    case = CASES[name]
    make: Callable[..., Fixed] = case.make  # type: ignore[assignment]
    few, many = (count_operators(make(steps), case) for steps in (5, 8))
    assert few == many
    loops = 2 if name == "ConvLSTMSeq2Seq" else 1
    assert few["Scan"] == loops


def test_cell_over_what_is_known_beforehand_is_a_layer() -> None:
    found = count_operators(CalendarForecaster(), CASES["CalendarForecaster"])
    assert (found["GRU"], found["Scan"]) == (2, 0)


@pytest.mark.parametrize(
    ("name", "operators"),
    [
        ("WordsAndCharacters", {"Scan": 1, "GRU": 1, "LSTM": 1}),
        ("Grid", {"Scan": 2, "Tanh": 1}),
        ("ThinkingSteps", {"Scan": 2}),
        ("Passes", {"Scan": 2}),
    ],
)
def test_loop_inside_of_a_loop_is_one_inside_of_one(name: str, operators: dict[str, int]) -> None:
    case = next(case for case in nested_loops.CASES if case.title() == name)
    found = count_operators(case.module(), case)
    assert {operator: found[operator] for operator in operators} == operators


class Stack(nn.Module):
    """Layers that are alike but for their weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(6))
        self.norms = nn.ModuleList(nn.LayerNorm(4) for _ in range(6))

    def forward(self, x: Tensor) -> Tensor:
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = x + torch.sigmoid(norm(layer(x)).relu())
        return x


@pytest.mark.parametrize("module", [Stack(), FixedPoint(steps=3)], ids=["stack", "three steps"])
def test_what_shares_no_weights_or_is_short_is_no_loop(module: nn.Module) -> None:
    assert not count_operators(module, CASES["FixedPoint"])["Scan"]


def test_loop_that_streams_only_step_by_step_keeps_its_stream(tmp_path: Path) -> None:
    module = FixedPoint().eval()
    bundle = rnn_edge.export(
        module, torch.randn(2, 6, 4), tmp_path / "bundle", axes=[X], stream=True
    )
    whole = ir.load(bundle.graph_path())
    assert [node.op_type for node in whole.graph].count("Scan") == 1
    assert "stream" in bundle.contract.graphs


class ScheduledSampling(nn.Module):
    """Its own words or given ones; the first word is given, so that one word takes no step."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.cell, self.head = nn.Embedding(7, 4), nn.GRUCell(4, 5), nn.Linear(5, 7)

    def forward(self, target: Tensor) -> Tensor:
        steps, batch = target.shape
        h, word = torch.zeros(batch, 5), target[0]
        outputs = torch.zeros(steps, batch, 7)
        for t in range(1, steps):
            h = self.cell(self.embedding(word), h)
            outputs[t] = self.head(h)
            own = outputs[t].argmax(1)
            word = torch.where(own % 2 == 0, own, target[t])
        return outputs


def test_loop_may_take_no_step_or_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = ScheduledSampling().eval()
    target = torch.randint(7, (9, 3))
    bundle = rnn_edge.export(
        module, target, tmp_path / "bundle", axes=[("sequence", "batch")], stream=False
    )
    session = rnn_edge.Session(bundle)
    for steps in (1, 2, 9):
        with torch.no_grad():
            expected = module(target[:steps])
        (found,) = session.run(target[:steps].numpy())
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-5, atol=1e-6)


def test_table_is_of_the_iteration_alone() -> None:
    points = [((5,), 0), ((5,), 1), ((6,), 0), ((6,), 1)]
    table = tabulate(points, [0.3, 0.1, 0.3, 0.1])
    assert table is not None
    assert table.at((5,), torch.tensor([1, 0])).tolist() == [0.1, 0.3]
    assert tabulate(points, [0.3, 0.1, 0.3, 0.2]) is None
