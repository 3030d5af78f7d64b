"""Replaying golden data, with and without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

import rnn_edge
from rnn_edge.bundle import write_bundle
from rnn_edge.errors import BundleError, VerificationError


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> rnn_edge.Bundle:
    torch.manual_seed(0)
    return rnn_edge.export(
        nn.GRU(3, 4, batch_first=True),
        torch.randn(2, 5, 3),
        tmp_path_factory.mktemp("golden") / "gru",
        axes=[("batch", "sequence", None)],
        output_names=["y", "h_n"],
    )


def rewrite(bundle: rnn_edge.Bundle, folder: Path, damage: str) -> rnn_edge.Bundle:
    """The same bundle, its checksums right, with a changed weight or without golden data."""

    def fill(place: Path) -> None:
        for path in bundle.path.iterdir():
            if path.name == "bundle.json" or (damage == "golden" and path.is_dir()):
                continue
            copy = shutil.copytree if path.is_dir() else shutil.copyfile
            copy(path, place / path.name)
        if damage == "weight":
            model = onnx.load(place / "model.onnx")
            weight = next(t for t in model.graph.initializer if t.name.endswith(".R"))
            array = numpy_helper.to_array(weight).copy()
            array[0, 0, 0] += 0.01
            weight.CopyFrom(numpy_helper.from_array(array, weight.name))
            onnx.save(model, place / "model.onnx")

    evidence = {key: value for key, value in bundle.evidence.items() if key != "files"}
    return write_bundle(folder, bundle.contract, evidence, fill)


def test_replay_passes_and_reports_every_output(bundle: rnn_edge.Bundle) -> None:
    report = rnn_edge.verify(bundle)
    assert report.oracle == "golden data"
    assert [output.name for output in report.outputs] == ["y", "h_n"]
    assert len(report.cases) == len(bundle.golden_sets())
    assert 0 < report.worst_ratio <= 1


def test_replay_needs_neither_torch_nor_onnx(bundle: rnn_edge.Bundle) -> None:
    code = (
        "import sys, rnn_edge\n"
        f"rnn_edge.verify({str(bundle.path)!r})\n"
        "print(sorted({'torch', 'onnx', 'onnx_ir'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_slightly_changed_weight_is_noticed(bundle: rnn_edge.Bundle, tmp_path: Path) -> None:
    changed = rewrite(bundle, tmp_path / "changed", "weight")
    with pytest.raises(VerificationError, match="output 'y' of test_data_set_0"):
        rnn_edge.verify(changed)


def test_bundle_without_golden_data_is_refused(bundle: rnn_edge.Bundle, tmp_path: Path) -> None:
    bare = rewrite(bundle, tmp_path / "bare", "golden")
    with pytest.raises(BundleError, match="golden data"):
        rnn_edge.verify(bare)


def test_original_module_is_compared_too(bundle: rnn_edge.Bundle) -> None:
    torch.manual_seed(0)
    module = nn.GRU(3, 4, batch_first=True)
    report = rnn_edge.verify(bundle, module, args=(torch.randn(2, 5, 3),))
    assert report.oracle == "float64 torch"
    with torch.no_grad():
        module.weight_hh_l0[0, 0] += 0.01
    with pytest.raises(VerificationError, match="layer"):
        rnn_edge.verify(bundle, module, args=(torch.randn(2, 5, 3),))


def test_other_module_is_refused(bundle: rnn_edge.Bundle) -> None:
    class Other(nn.Module):
        def forward(self, audio: torch.Tensor) -> torch.Tensor:
            return audio

    with pytest.raises(rnn_edge.RnnEdgeError, match="forward"):
        rnn_edge.verify(bundle, Other())


def test_evidence_is_json(bundle: rnn_edge.Bundle) -> None:
    parity = json.loads((bundle.path / "bundle.json").read_text())["parity"]
    assert parity["oracle"] == "float64 torch"
    for output in parity["outputs"]:
        assert 0 < output["error"] <= output["tolerance"]
        assert np.isclose(output["tolerance"], 4 * output["noise"] + 1e-6)
