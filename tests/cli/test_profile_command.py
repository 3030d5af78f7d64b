"""`rnn-edge profile` from the outside."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rnn_edge.bundle import Bundle
from rnn_edge.cli.main import program

FEW = ["--calls", "20", "--batches", "2", "--sequences", "3,5"]


def profile(*arguments: object) -> Result:
    return CliRunner().invoke(program, ["profile", *map(str, arguments)])


def test_tables_show_each_pair_of_sizes_and_every_percentile(series_bundle: Bundle) -> None:
    result = profile(series_bundle.path, *FEW)
    assert result.exit_code == 0, result.output
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    head = ["batch", "time", "engine", "p50", "p90", "p99", "p99.9", "rows/s", "ratio"]
    place = lines.index(head)
    assert [line[:3] for line in lines[place + 1 : place + 3]] == [
        ["2", "3", "onnxruntime"],
        ["2", "5", "onnxruntime"],
    ]
    heads = {line[0] for line in lines}
    assert {"engine", "what", "model file", "bundle", "operator", "RNN", "node"} <= heads


def test_json_is_one_document_on_stdout(series_bundle: Bundle) -> None:
    result = profile(series_bundle.path, "--json", *FEW)
    document = json.loads(result.stdout)
    assert [(item["batch"], item["sequence"]) for item in document["latency"]] == [(2, 3), (2, 5)]


def test_picture_is_written_beside_the_tables(series_bundle: Bundle, tmp_path: Path) -> None:
    result = profile(series_bundle.path, "--plot", tmp_path / "p.png", *FEW)
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert "Histograms are in" in result.stderr
    assert "Histograms are in" not in result.stdout


def test_wrong_picture_name_is_said_before_measuring(series_bundle: Bundle) -> None:
    result = profile(series_bundle.path, "--plot", "p.docx")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "must be a .png" in result.stderr


@pytest.mark.parametrize(
    ("option", "module", "extra"),
    [
        (["--plot", "p.png"], "matplotlib.figure", "train"),
        (["--against", "torch", "--module", "checkpoint"], "torch", "export"),
    ],
)
def test_missing_extra_is_said_before_measuring(
    series_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    option: list[str],
    module: str,
    extra: str,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    result = profile(series_bundle.path, *option)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert f"pip install 'rnn-edge[{extra}]'" in result.stderr


def test_wrong_sizes_are_a_usage_error(series_bundle: Bundle) -> None:
    result = profile(series_bundle.path, "--batches", "1;2")
    assert result.exit_code == 2
    assert "whole numbers with commas between" in result.stderr


def test_size_outside_the_contract_is_one_line(series_bundle: Bundle) -> None:
    result = profile(series_bundle.path, "--sequences", "201")
    assert result.exit_code == 1
    assert result.stderr == "Error: sequence sizes must be 1 to 200, got 201. Choose others.\n"


def test_against_torch_needs_a_checkpoint(series_bundle: Bundle) -> None:
    result = profile(series_bundle.path, "--against", "torch")
    assert result.exit_code == 2
    assert "--module SOURCE" in result.stderr


def test_peers_are_shown_beside_the_byte_limit(series_bundle: Bundle) -> None:
    result = profile(series_bundle.path, "--against", "stock", *FEW)
    assert result.exit_code == 0, result.output
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    place = next(n for n, line in enumerate(lines) if line[-1] == "over limit")
    assert [line[2] for line in lines[place + 1 : place + 3]] == ["onnxruntime", "stock"]
    assert "Byte limit" in result.output
    unknown = profile(series_bundle.path, "--against", "tract")
    assert unknown.exit_code == 2
    assert "some of torch, stock, openvino" in unknown.stderr


def test_folder_that_is_no_checkpoint_is_one_line(series_bundle: Bundle) -> None:
    result = profile(series_bundle.path, "--against", "torch", "--module", series_bundle.path)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1


def test_unknown_graph_names_the_known_ones(series_bundle: Bundle) -> None:
    result = profile(series_bundle.path, "--graph", "stream")
    assert result.exit_code == 1
    assert "one of model" in result.stderr
