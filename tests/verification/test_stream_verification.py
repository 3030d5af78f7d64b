"""Golden chunks, chunks beside the module, and the error over many steps."""

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
from click.testing import CliRunner
from onnx import numpy_helper
from torch import nn

import rnn_edge
from rnn_edge.bundle import Bundle, write_bundle
from rnn_edge.cli.main import program
from rnn_edge.errors import BundleError, InputError, VerificationError
from rnn_edge.verification.drift import horizons


def gru() -> nn.GRU:
    torch.manual_seed(0)
    return nn.GRU(3, 4, batch_first=True)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("chunks") / "gru"
    axes = [("batch", "sequence", None)]
    example = torch.randn(2, 5, 3)
    return rnn_edge.export(gru(), example, folder, axes=axes, output_names=["y", "h_n"])


def changed(bundle: Bundle, folder: Path, change: str) -> Bundle:
    """The same bundle, its checksums right, with another stream graph or without golden chunks."""

    def fill(place: Path) -> None:
        shutil.copytree(bundle.path, place, dirs_exist_ok=True)
        (place / "bundle.json").unlink()
        if change == "no chunks":
            shutil.rmtree(place / "stream")
            return
        if change == "stored states":
            for path in (place / "stream").glob("test_data_set_[123]/input_1.pb"):
                zeros = np.zeros_like(numpy_helper.to_array(onnx.load_tensor(path)))
                name = bundle.graph("stream").inputs[1].name
                path.write_bytes(numpy_helper.from_array(zeros, name).SerializeToString())
            return
        model = onnx.load(place / "stream.onnx")
        if change == "state is not carried":
            (node,) = (n for n in model.graph.node if n.op_type == "GRU")
            node.input[5] = ""
        else:
            weight = next(t for t in model.graph.initializer if t.name.endswith(".R"))
            array = numpy_helper.to_array(weight) + np.float32(0.001)
            weight.CopyFrom(numpy_helper.from_array(array, weight.name))
        onnx.save(model, place / "stream.onnx")

    evidence = {k: v for k, v in bundle.evidence.items() if k not in ("files", "contract")}
    for key in ("format", "format_version"):
        evidence.pop(key, None)
    return write_bundle(folder, bundle.contract, evidence, fill)


def test_golden_chunks_are_replayed_with_the_states_carried(bundle: Bundle) -> None:
    report = rnn_edge.verify(bundle).golden_chunks
    assert report is not None
    assert [case["sequence"] for case in report.cases] == [1, 3, 1, 2]
    assert {output.name for output in report.outputs} >= {"y", "h_n"}
    assert report.worst_ratio <= 1


def test_golden_chunks_are_what_the_module_says(bundle: Bundle) -> None:
    places = [bundle.path / "stream" / f"test_data_set_{number}" for number in range(4)]
    x, y = (
        np.concatenate([numpy_helper.to_array(onnx.load_tensor(p / file)) for p in places], axis=1)
        for file in ("input_0.pb", "output_0.pb")
    )
    with torch.no_grad():
        truth = gru().double()(torch.from_numpy(x).double())[0]
    np.testing.assert_allclose(y, truth, rtol=0, atol=1e-6)


@pytest.mark.parametrize("change", ["weight", "state is not carried"])
def test_a_wrong_stream_graph_is_noticed_without_torch(
    bundle: Bundle, tmp_path: Path, change: str
) -> None:
    wrong = changed(bundle, tmp_path / "wrong", change)
    with pytest.raises(VerificationError, match=r"of stream/test_data_set_\d must be within"):
        rnn_edge.verify(wrong)


def test_states_come_from_the_call_before_not_from_the_files(
    bundle: Bundle, tmp_path: Path
) -> None:
    assert bundle.graph("stream").inputs[1].name in bundle.graph("stream").state_inputs
    other = changed(bundle, tmp_path / "stored", "stored states")
    report = rnn_edge.verify(other).golden_chunks
    assert report is not None
    assert report.worst_ratio <= 1


def test_missing_golden_chunks_are_an_error(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="must hold golden chunks"):
        rnn_edge.verify(changed(bundle, tmp_path / "none", "no chunks"))


def test_replay_of_chunks_loads_no_torch(bundle: Bundle) -> None:
    code = (
        "import sys, rnn_edge\n"
        f"print(len(rnn_edge.verify({str(bundle.path)!r}).golden_chunks.cases))\n"
        "print({'torch', 'onnx'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["4", "set()"]


def test_module_is_compared_in_chunks(bundle: Bundle) -> None:
    report = rnn_edge.verify(bundle, gru())
    assert report.chunks is not None
    assert report.chunks.chunkings == ("single steps", "one whole", "primes", "ragged")
    assert report.drift == ()


def test_drift_is_told_at_each_power_of_ten(bundle: Bundle) -> None:
    found = rnn_edge.verify(bundle, gru(), horizon=250).drift
    assert [(d.steps, d.chunks, d.name) for d in found if d.name == "y"] == [
        (steps, chunks, "y")
        for steps in (10, 100, 250)
        for chunks in ("single steps", "chunks of 97")
    ]
    assert all(d.error <= d.tolerance and d.whole <= d.tolerance for d in found)
    assert all(d.difference <= d.error + d.whole for d in found)


@pytest.mark.parametrize(
    ("most", "expected"),
    [(1, [1]), (10, [10]), (99, [10, 99]), (20000, [10, 100, 1000, 10000, 20000])],
)
def test_horizons(most: int, expected: list[int]) -> None:
    assert horizons(most) == expected


def test_horizon_needs_a_module_and_a_stream_graph(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="horizon must be 1 or more steps, compared with a module"):
        rnn_edge.verify(bundle, horizon=10)
    axes = [("batch", "sequence", None)]
    none = rnn_edge.export(gru(), torch.randn(2, 5, 3), tmp_path / "b", axes=axes, stream=False)
    with pytest.raises(InputError, match="without a stream graph: not asked for"):
        rnn_edge.verify(none, gru(), horizon=10)
    assert rnn_edge.verify(none, gru()).chunks is None


def test_command_shows_chunks_and_drift(bundle: Bundle, tmp_path: Path) -> None:
    code = "import torch\nfrom torch import nn\ndef net():\n    torch.manual_seed(0)\n"
    source = tmp_path / "net.py"
    source.write_text(f"{code}    return nn.GRU(3, 4, batch_first=True)\n", encoding="utf-8")
    asked = ["verify", str(bundle.path), "--module", f"{source}:net", "--horizon", "120"]
    lines = CliRunner().invoke(program, asked).stdout.splitlines()
    assert "Right in 4 golden chunks, states carried from one to the next." in lines
    assert "Right in chunks: single steps, one whole, primes, ragged." in lines
    assert [line.split("\t")[0] for line in lines if "\ty\tsingle steps" in line] == [
        "10",
        "100",
        "120",
    ]
    document = json.loads(CliRunner().invoke(program, [*asked, "--json"]).stdout)
    assert document["stream"]["drift"][0]["steps"] == 10
    assert document["stream"]["golden_chunks"]["oracle"] == "golden chunks"
    alone = CliRunner().invoke(program, ["verify", str(bundle.path), "--horizon", "9"])
    assert alone.exit_code == 2
