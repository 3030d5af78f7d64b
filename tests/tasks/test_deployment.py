"""Every task exports with every cell; the gate of export is what compares the answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import rnn_edge
from rnn_edge.checkpoint import Checkpoint
from rnn_edge.contract import AxisLimits
from rnn_edge.exporting import export_checkpoint
from rnn_edge.tasks import task_class, task_summaries
from rnn_edge.tasks.task import CELLS, TaskData

TASKS = sorted(task_summaries())
# One task of each way that models call their core has all cells; written ones take long to export.
WAYS = ("forecast", "language-model")
USUAL = ("lstm", "gru")
# Loops that write take long to export: the tasks' own tests do so with a GRU. The longer one is
# left to them; what an LSTM writes is held in tests/models.
WRITING = {("translation", "gru"), ("captioning", "gru"), ("captioning", "lstm")}
PAIRS = [
    (name, cell)
    for name in TASKS
    for cell in CELLS
    if name in WAYS or (cell in USUAL and (name, cell) not in WRITING)
]


@pytest.fixture(scope="module")
def data() -> dict[str, TaskData]:
    return {name: task_class(name)().load(None, seed=0) for name in TASKS}


def untrained(name: str, cell: str, bidirectional: bool, data: dict[str, TaskData]) -> Checkpoint:
    task = task_class(name)()
    num_layers = 2 if cell in CELLS[:4] else 1
    options = replace(
        task.model, cell=cell, hidden_size=6, num_layers=num_layers, bidirectional=bidirectional
    )
    interface = data[name].interface
    return Checkpoint(Path(name), task.build(options, interface).eval(), task, interface, {})


@pytest.mark.parametrize(("name", "cell"), PAIRS)
def test_task_exports_with_cell(
    name: str, cell: str, data: dict[str, TaskData], tmp_path: Path
) -> None:
    checkpoint = untrained(name, cell, not task_class(name).causal, data)
    bundle = export_checkpoint(checkpoint, tmp_path / "bundle")
    assert bundle.contract.task == name
    assert bundle.contract.front_end == data[name].interface.front_end
    assert bundle.contract.decoder is not None
    assert {"batch", "sequence"} <= bundle.graph().axes.keys()
    limits = checkpoint.deployment().limits.get("sequence", AxisLimits())
    assert bundle.graph().axes["sequence"].minimum == limits.minimum
    assert bundle.graph().axes["sequence"].maximum is None
    assert len(rnn_edge.verify(bundle).cases) >= 3
