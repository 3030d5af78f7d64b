"""rnn-edge export and rnn-edge verify, as a person types them."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

import rnn_edge
from rnn_edge.cli.main import program
from rnn_edge.cli.parity import generation_line


def call(*arguments: object) -> Result:
    return CliRunner().invoke(program, [*map(str, arguments)])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "waves"
    rnn_edge.train("forecast", output=folder, epochs=1, hidden_size=3)
    return folder


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return shutil.copytree(checkpoint, tmp_path / "copy")


def test_export_writes_a_verified_bundle_under_the_name_of_the_checkpoint(
    checkpoint: Path, place: Path
) -> None:
    result = call("export", checkpoint)
    assert result.exit_code == 0
    assert "Wrote exported/waves" in result.stdout
    assert "float64 torch" in result.stdout
    assert rnn_edge.Bundle.load(place / "exported" / "waves").name == "waves"


def test_export_says_that_there_is_a_stream_graph(checkpoint: Path, place: Path) -> None:
    *_, shown, raw = call("export", checkpoint, "-o", "bundle").stdout.splitlines()
    assert raw.startswith(
        "Wrote pipeline.onnx: values: float32[steps, 1], lengths: int64[batch] in"
    )
    assert shown.startswith("Wrote stream.onnx: chunks along sequence, no latency, a row starts")
    assert "stream" in rnn_edge.Bundle.load(place / "bundle").contract.graphs


def test_no_stream_graph_is_written_unless_wanted(checkpoint: Path, place: Path) -> None:
    shown = call("export", checkpoint, "-o", "bundle", "--no-stream").stdout.splitlines()[-2]
    assert shown == "No stream.onnx: not asked for"
    assert not (place / "bundle" / "stream.onnx").exists()


def test_a_model_that_looks_ahead_is_refused_a_stream_graph_in_one_line(place: Path) -> None:
    code = "from torch import nn\ndef net(): return nn.LSTM(2, 3, bidirectional=True)\n"
    Path("net.py").write_text(code, encoding="utf-8")
    source = ("export", "net.py:net", "--input", "input:float32[sequence,batch,2]", "-o", "bundle")
    shown = call(*source).stdout.splitlines()[-1]
    assert shown.startswith("No stream.onnx: every step must be computable from the frames so far")
    shutil.rmtree("bundle")
    result = call(*source, "--stream")
    assert (result.exit_code, Path("bundle").exists()) == (1, False)
    assert "direction is bidirectional" in result.stderr.splitlines()[-1]
    found = json.loads(call(*source, "--json").stdout)
    assert "bidirectional" in found["stream"]["refused"]


def test_inspect_shows_the_stream_graph_and_its_evidence(checkpoint: Path, place: Path) -> None:
    call("export", checkpoint, "-o", "bundle")
    lines = call("inspect", "bundle").stdout.splitlines()
    assert (
        "stream: chunks along sequence, no latency, a row starts anew where reset is true" in lines
    )
    assert "Right in chunks: single steps, one whole, primes, ragged." in lines
    call("export", checkpoint, "-o", "bundle", "--no-stream")
    assert "No stream graph: not asked for" in call("inspect", "bundle").stdout.splitlines()


def test_verify_replays_and_compares_with_the_checkpoint(checkpoint: Path, place: Path) -> None:
    call("export", checkpoint, "-o", "bundle")
    alone = call("verify", "bundle", "--json")
    assert json.loads(alone.stdout)["parity"]["oracle"] == "golden data"
    both = call("verify", "bundle", "--module", checkpoint, "--json")
    assert json.loads(both.stdout)["parity"]["oracle"] == "float64 torch"


def test_verify_notices_another_checkpoint(checkpoint: Path, copy: Path, place: Path) -> None:
    call("export", checkpoint, "-o", "bundle")
    weights = load_file(copy / "model.safetensors")
    name = next(name for name in weights if "weight_hh" in name)
    weights[name] = weights[name] + 0.05
    save_file(weights, copy / "model.safetensors")
    result = call("verify", "bundle", "--module", copy)
    assert result.exit_code == 1
    assert "output 'prediction'" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_export_as_json_names_files_and_parity(checkpoint: Path, place: Path) -> None:
    document = json.loads(call("export", checkpoint, "-o", "bundle", "--json").stdout)
    assert document["bundle"] == "bundle"
    assert "model.onnx" in document["files"]
    assert document["parity"]["outputs"][0]["name"] == "prediction"


@pytest.mark.parametrize("change", ["missing", "unexpected", "shape", "truncated", "gone"])
def test_broken_checkpoints_are_refused_and_the_old_bundle_stays(
    change: str, checkpoint: Path, copy: Path, place: Path
) -> None:
    call("export", checkpoint, "-o", "bundle")
    before = (place / "bundle" / "bundle.json").read_bytes()
    path = copy / "model.safetensors"
    weights = load_file(path)
    name = next(name for name in weights if "weight_hh" in name)
    if change == "missing":
        save_file({key: value for key, value in weights.items() if key != name}, path)
    elif change == "unexpected":
        save_file({**weights, "lost": weights[name].clone()}, path)
    elif change == "shape":
        save_file({**weights, name: weights[name][:2].clone()}, path)
    elif change == "truncated":
        path.write_bytes(path.read_bytes()[:-40])
    else:
        path.unlink()
    result = call("export", copy, "-o", "bundle")
    assert result.exit_code == 1
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert len(lines) == 1
    assert "model.safetensors" in lines[0]
    assert (place / "bundle" / "bundle.json").read_bytes() == before


def test_what_is_no_checkpoint_is_refused(place: Path) -> None:
    for name in ("nothing", "."):
        result = call("export", name, "-o", "bundle")
        assert result.exit_code == 1
        assert "Error: checkpoint must be a folder" in result.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_place_is_refused(checkpoint: Path, place: Path) -> None:
    (place / "locked").mkdir(mode=0o500)
    result = call("export", checkpoint, "-o", "locked/bundle")
    assert result.exit_code == 1
    assert "locked" in result.stderr


def test_place_below_a_file_is_refused(checkpoint: Path, place: Path) -> None:
    (place / "file").write_text("")
    result = call("export", checkpoint, "-o", "file/bundle")
    assert result.exit_code == 1
    assert "file/bundle must be a place to write a folder" in result.stderr
    assert (place / "file").read_text() == ""


def test_export_says_why_a_language_model_has_no_generating_graph(language_bundle) -> None:
    contract = replace(language_bundle.contract, graphs={"model": language_bundle.graph()})
    reason = {"refused": "answers must be equal,\nfound others."}
    assert generation_line(contract, reason) == (
        "No generate.onnx: answers must be equal, found others."
    )
    # A model of another kind is not expected to have one.
    assert generation_line(replace(contract, decoder=None), reason) is None


def test_a_folder_that_is_no_checkpoint_is_refused_before_anything_is_announced(
    place: Path,
) -> None:
    result = call("export", "nowhere")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: checkpoint must be a folder")
