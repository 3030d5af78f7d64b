"""Modules of the collection through `rnn-edge export`: a file, its weights, its inputs in words.

tools/bench/export_coverage.py takes all of them this way; here, the first of each family does.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from collection.case import UNSEEN_SIZES
from collection.catalogue import FAMILIES
from collection.command import declare_inputs, export_command
from collection.failing import FAILING

import rnn_edge
from rnn_edge.cli.main import program

CHOSEN = {
    family: next(case for case in cases if f"{family}-{case.title()}" not in FAILING)
    for family, cases in FAMILIES.items()
}


@pytest.mark.parametrize("family", CHOSEN)
def test_case_exports_by_command(family: str, tmp_path: Path) -> None:
    case = CHOSEN[family]
    title = f"{family}-{case.title()}"
    result = CliRunner().invoke(program, export_command(title, case, tmp_path))
    assert result.exit_code == 0, result.stderr
    bundle = rnn_edge.Bundle.load(tmp_path / "bundle")
    session = rnn_edge.Session(bundle)
    for batch, steps in UNSEEN_SIZES:
        tensors = case.tensors(batch, steps)
        specs = bundle.graph().inputs[: len(tensors)]
        feed = {spec.name: tensor.numpy() for spec, tensor in zip(specs, tensors, strict=True)}
        expected = case.expect(batch, steps)
        found = session.run(feed)[: len(expected)]
        for array, tensor in zip(found, expected, strict=True):
            assert case.deviation(torch.from_numpy(array), tensor) <= case.tolerance


def test_nested_inputs_are_declared_by_their_place() -> None:
    (case,) = (case for case in FAMILIES["containers"] if case.title() == "DictInput")
    assert declare_inputs(case) == [
        "batch.series:float32[batch,sequence,5]",
        "batch.static:float32[batch,3]",
    ]
