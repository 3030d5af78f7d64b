"""Behaviour of ONNX Runtime that guards exist for: when one of these fails, a guard can go."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

RUN = """
import sys, numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
session.run(None, {"x": numpy.zeros(tuple(map(int, sys.argv[2:])), numpy.float32)})
"""


def save_recurrent(path: Path, operator: str) -> Path:
    gates = {"LSTM": 4, "GRU": 3}[operator]
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "W", "R", "B"], ["y"], hidden_size=2)],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["time", "batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["time", 1, "batch", 2])],
        [
            numpy_helper.from_array(np.ones((1, 2 * gates, 3), np.float32), "W"),
            numpy_helper.from_array(np.ones((1, 2 * gates, 2), np.float32), "R"),
            numpy_helper.from_array(np.zeros((1, 4 * gates), np.float32), "B"),
        ],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


@pytest.mark.parametrize(
    ("operator", "time", "batch"), [("LSTM", 3, 0), ("GRU", 3, 0), ("GRU", 0, 2)]
)
def test_an_empty_batch_or_sequence_kills_the_process(tmp_path, operator, time, batch):
    path = save_recurrent(tmp_path / "m.onnx", operator)
    command = [sys.executable, "-c", RUN, str(path), str(time), str(batch), "3"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode < 0


@pytest.mark.parametrize("operator", ["LSTM", "GRU"])
def test_nan_in_the_input_comes_out_as_a_finite_number(tmp_path, operator):
    # Only with a bias, which is added and clipped in one step; without one, NaN stays NaN.
    session = onnxruntime.InferenceSession(save_recurrent(tmp_path / "m.onnx", operator))
    (y,) = session.run(None, {"x": np.full((2, 1, 3), np.nan, np.float32)})
    assert np.isfinite(y).all()
