"""Numbers as measured around a graph of scaled ones, against the formula."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, save

from rnn_edge.cli.main import program
from rnn_edge.contract import AudioFrontEnd, SeriesFrontEnd, ValueDecoder
from rnn_edge.errors import InputError
from rnn_edge.scales import Scales, read_scales
from rnn_edge.source.descriptions import read_decoder, read_front_end, without_scales

MEAN, STD = np.array([20, 1000], np.float32), np.array([5, 30], np.float32)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A running sum over time, [sequence, batch, 2], as a file that reads scaled numbers."""
    monkeypatch.chdir(tmp_path)
    dims = ["T", "N", 2]
    graph = helper.make_graph(
        [helper.make_node("CumSum", ["x", "zero"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, dims)],
        [helper.make_tensor("zero", TensorProto.INT64, [], [0])],
    )
    opsets = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=8), "sums.onnx")
    Path("columns.txt").write_text("warmth,20,5\npressure, in hPa,1000,30\n")
    Path("names.txt").write_text("warmth\npressure\n")
    return tmp_path


def test_files_read_and_give_numbers_as_measured(place: Path) -> None:
    around = ["--front-end", "series:columns.txt", "--labels", "columns.txt", "--decoder", "values"]
    axes = ["--axis", "T=sequence", "--axis", "N=batch"]
    result = CliRunner().invoke(program, ["pipeline", "sums.onnx", *around, *axes])
    assert result.exit_code == 0, result.output
    given = np.random.default_rng(0).normal(0, 1, (3, 7, 2)).astype(np.float32) * STD + MEAN
    feed = {"x": given.reshape(21, 2), "lengths": np.array([7, 7, 7])}
    found, sizes = onnxruntime.InferenceSession("sums.pipeline.onnx").run(None, feed)
    assert sizes.tolist() == [7, 7, 7]
    right = np.cumsum((given.astype(float) - MEAN) / STD, axis=1) * STD + MEAN
    np.testing.assert_allclose(found, right, rtol=1e-6)


def test_columns_are_named_with_their_scales_or_without(place: Path) -> None:
    scales = read_front_end("series:columns.txt", None)
    assert scales == Scales(("warmth", "pressure, in hPa"), (20, 1000), (5, 30))
    plain = SeriesFrontEnd(("warmth", "pressure"), (0, 0), (1, 1))
    assert read_front_end("series:names.txt", None) == plain
    assert read_decoder("values", Path("names.txt"), None) == ValueDecoder(plain.columns)
    assert read_front_end("samples:16000", None) == AudioFrontEnd(16000)
    for call, told in (
        (lambda: without_scales(scales), "must scale numbers itself"),
        (lambda: read_scales("a\na\n", "x"), "line 2 of x"),
        (lambda: read_scales("a,1,0\n", "x"), "a std above 0, got 'a,1,0'"),
        (lambda: read_front_end("samples:fast", None), "samples:16000"),
        (lambda: Scales(("a",), (0.0,), ()), "for each of 1 columns"),
    ):
        with pytest.raises(InputError, match=told):
            call()
