"""derive_stream() and `rnn-edge stream`: .onnx files of other programs, streamed."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

import rnn_edge
import rnn_edge.graphs.streaming
from rnn_edge.cli.main import program
from rnn_edge.contract import METADATA_KEY, GraphContract
from rnn_edge.errors import InputError, StreamError, VerificationError


class Filtered(nn.Module):
    """A convolution of the past, two layers of LSTM."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv1d(5, 8, 3)
        self.core = nn.LSTM(8, 6, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        padded = nn.functional.pad((x - x[:, :1]).transpose(1, 2), (2, 0))
        return self.core(self.conv(padded).transpose(1, 2))[0]


class Stateful(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.core = nn.GRU(5, 4, batch_first=True)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return self.core(x, h)


class Backwards(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.core = nn.GRU(5, 4, bidirectional=True, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.core(x)[0]


def save(module: nn.Module, path: Path, time: str = "time", rows: str = "N") -> Path:
    """As torch's older exporter writes it, constants unfolded, with these names of axes."""
    args: tuple[Tensor, ...] = (torch.randn(2, 7, 5),)
    axes: dict[str, Any] = {name: {0: rows, 1: time} for name in ("x", "y")}
    names = (["x"], ["y"])
    if isinstance(module, Stateful):
        args = (*args, torch.zeros(1, 2, 4))
        axes |= {name: {1: rows} for name in ("h", "h_n")}
        names = (["x", "h"], ["y", "h_n"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, args, path, dynamo=False, input_names=names[0], output_names=names[1],
            dynamic_axes=axes,
        )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def filtered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(Filtered(), tmp_path_factory.mktemp("foreign") / "theirs.onnx")


def in_pieces(path: Path, x: np.ndarray, sizes: list[int], **options: Any) -> np.ndarray:
    stream = rnn_edge.StreamSession(path, batch=len(x), **options)
    pieces = np.split(x, np.cumsum(sizes)[:-1], axis=1)
    return np.concatenate([stream.push(np.ascontiguousarray(p))[0] for p in pieces], axis=1)


@pytest.mark.parametrize("rows", [1, 3])
def test_stream_of_a_foreign_file_is_the_module_s(
    filtered: Path, tmp_path: Path, rows: int
) -> None:
    found = rnn_edge.derive_stream(filtered, tmp_path, axis="time")
    assert found.path == tmp_path / "stream.onnx"
    x = np.random.default_rng(rows).standard_normal((rows, 19, 5)).astype(np.float32)
    with torch.no_grad():
        truth = Filtered().double()(torch.from_numpy(x).double())
    y = in_pieces(found.path, x, [1, 1, 4, 13])
    np.testing.assert_allclose(y, truth, rtol=0, atol=2e-6)


def test_file_is_lone_standard_and_explains_itself(filtered: Path, tmp_path: Path) -> None:
    before = filtered.read_bytes()
    found = rnn_edge.derive_stream(filtered, tmp_path / "s.onnx", axis="time")
    model = onnx.load(found.path)
    onnx.checker.check_model(model, full_check=True)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    contract = GraphContract.from_json(metadata[METADATA_KEY])
    assert contract == found.contract == rnn_edge.StreamSession(found.path).contract
    assert (contract.file, contract.stream.axis) == ("s.onnx", "time")
    assert str(contract.output("y")) == "y: float32[N, time, 6]"
    assert {pair.batch_axis for pair in contract.states} <= {0, 1}
    assert filtered.read_bytes() == before


def test_streams_of_a_foreign_file_share_runs(filtered: Path, tmp_path: Path) -> None:
    found = rnn_edge.derive_stream(filtered, tmp_path, axis="time")
    pool = rnn_edge.StreamPool(found.path)
    x = np.random.default_rng(0).standard_normal((3, 6, 5)).astype(np.float32)
    numbers = [pool.open() for _ in x]
    pieces = [
        pool.push_many({n: x[row : row + 1, place : place + 2] for row, n in enumerate(numbers)})
        for place in (0, 2, 4)
    ]
    with torch.no_grad():
        truth = Filtered().double()(torch.from_numpy(x).double())
    for row, number in enumerate(numbers):
        y = np.concatenate([piece[number][0] for piece in pieces], axis=1)
        np.testing.assert_allclose(y[0], truth[row], rtol=0, atol=2e-6)


def test_declared_states_are_carried(tmp_path: Path) -> None:
    path = save(Stateful(), tmp_path / "state.onnx", "sequence", "batch")
    found = rnn_edge.derive_stream(path, states={"h": "h_n"})
    assert found.path == tmp_path / "state.stream.onnx"
    assert [(p.input, p.output, p.batch_axis) for p in found.contract.states] == [("h", "h_n", 1)]
    x = np.random.default_rng(0).standard_normal((2, 9, 5)).astype(np.float32)
    with torch.no_grad():
        truth = Stateful().double()(torch.from_numpy(x).double(), torch.zeros(1, 2, 4).double())[0]
    np.testing.assert_allclose(in_pieces(found.path, x, [2, 7]), truth, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dynamic", [{}, {"x": {0: "rows"}, "y": {0: "rows"}}])
def test_file_for_one_length_streams_by_the_place_of_time(
    tmp_path: Path, dynamic: dict[str, Any]
) -> None:
    path = tmp_path / "fixed.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Filtered(), (torch.zeros(2, 7, 5),), path, dynamo=False, input_names=["x"],
            output_names=["y"], dynamic_axes=dynamic,
        )  # fmt: skip
    found = rnn_edge.derive_stream(path, axis="x.1")
    x = np.random.default_rng(0).standard_normal((2, 19, 5)).astype(np.float32)
    with torch.no_grad():
        truth = Filtered().double()(torch.from_numpy(x).double())
    # A stream of it goes on as long as it likes.
    np.testing.assert_allclose(in_pieces(found.path, x, [1, 3, 15]), truth, rtol=0, atol=2e-6)


def test_a_model_that_looks_ahead_is_refused_and_nothing_written(tmp_path: Path) -> None:
    path = save(Backwards(), tmp_path / "b.onnx", "sequence", "batch")
    with pytest.raises(StreamError, match="direction is bidirectional"):
        rnn_edge.derive_stream(path)
    assert [file.name for file in tmp_path.iterdir()] == ["b.onnx"]


def test_a_wrong_stream_graph_is_not_written(
    filtered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    derive = rnn_edge.graphs.streaming.derive_stream

    def damaged(*arguments: Any) -> Any:
        stream = derive(*arguments)
        for node in stream.model.graph:
            if node.op_type == "LSTM":
                node.replace_input_with(5, None)
        return stream

    monkeypatch.setattr(rnn_edge.graphs.streaming, "derive_stream", damaged)
    with pytest.raises(VerificationError, match="output 'y' in chunks"):
        rnn_edge.derive_stream(filtered, tmp_path, axis="time")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, StreamError, "the axis of time must be known, got N, time"),
        ({"axis": "tim"}, InputError, "axis must be one of N, time, got 'tim'"),
        ({"axis": "time", "states": {"h": "y"}}, rnn_edge.RnnEdgeError, "input must be one of x"),
    ],
)
def test_refusals(
    filtered: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        rnn_edge.derive_stream(filtered, **options)


def test_other_things_than_whole_sequence_files_are_refused(filtered: Path, tmp_path: Path) -> None:
    found = rnn_edge.derive_stream(filtered, tmp_path, axis="time")
    with pytest.raises(InputError, match="takes chunks already"):
        rnn_edge.derive_stream(found.path)
    with pytest.raises(InputError, match="it is a folder"):
        rnn_edge.derive_stream(tmp_path)
    (tmp_path / "noise.onnx").write_bytes(b"noise")
    with pytest.raises(InputError, match="must be an ONNX file that ONNX Runtime loads"):
        rnn_edge.derive_stream(tmp_path / "noise.onnx")


def test_command_writes_and_tells(filtered: Path, tmp_path: Path) -> None:
    asked = ["stream", str(filtered), "--axis", "time", "-o", str(tmp_path / "t.onnx")]
    done = CliRunner().invoke(program, asked)
    assert done.exit_code == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"Wrote {tmp_path}/t.onnx (")
    assert "chunks along time, no latency, a row starts anew where reset is true" in last
    document = json.loads(CliRunner().invoke(program, [*asked, "--json"]).stdout)
    assert document["stream"]["outputs"][0]["name"] == "y"
    wrong = CliRunner().invoke(program, ["stream", str(filtered)])
    assert wrong.exit_code == 1
    assert wrong.stderr.splitlines()[-1].startswith("Error: the axis of time must be known")
