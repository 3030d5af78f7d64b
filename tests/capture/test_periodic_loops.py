"""Loops whose iterations differ by their number, at lengths of every remainder and the shortest.

The oracle is the eager module, at lengths shorter than the period among others.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from collection import loops_opening, loops_periodic
from collection.case import EXAMPLE_SIZES, Case
from collection.loops import EverySecondStep
from collection.loops_periodic import X

import rnn_edge

CASES = [
    *loops_periodic.CASES,
    Case(EverySecondStep, (X,)),
    *(case for case in loops_opening.CASES if case.title() in ("WarmStart", "SampledFrames")),
]
# The part of a clockwork RNN that runs in every step is a node of its own.
NODES = {"Clockwork": 2}
# The shortest length at which the module has a step to return.
SHORTEST = {"Pyramid": 2, "Chunks": 3, "SampledFrames": 2}


@pytest.mark.parametrize("case", CASES, ids=Case.title)
def test_periodic_loop_equals_eager_torch_at_every_remainder(case: Case, tmp_path: Path) -> None:
    args, _ = case.inputs(*EXAMPLE_SIZES)
    bundle = rnn_edge.export(case.module(), args, tmp_path / "bundle", axes=case.axes())
    session = rnn_edge.Session(bundle)
    for steps in range(SHORTEST.get(case.title(), 1), 14):
        found_all = session.run(*(tensor.numpy() for tensor in case.tensors(2, steps)))
        for found, expected in zip(found_all, case.expect(2, steps), strict=True):
            assert case.deviation(torch.from_numpy(found), expected) <= case.tolerance
    graph = onnx.load(bundle.graph_path()).graph
    loops = [node for node in graph.node if node.op_type in ("Scan", "GRU", "RNN", "LSTM")]
    assert len(loops) == NODES.get(case.title(), 1)
