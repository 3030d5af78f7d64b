"""A graph on which ONNX Runtime dies is refused in words, by a process that goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import rnn_edge
from rnn_edge.errors import VerificationError
from rnn_edge.verification import crashes
from rnn_edge.verification.cases import Case
from rnn_edge.verification.crashes import refuse_crashes


def save_nested(path: Path, operator: str, gates: int) -> rnn_edge.Session:
    """A recurrent layer over the steps of each chunk, the first step of a chunk left out."""
    body = helper.make_graph(
        [
            helper.make_node("Slice", ["chunk", "one", "end", "zero"], ["rest"]),
            helper.make_node(operator, ["rest", "W", "R"], ["", "last"], hidden_size=2),
        ],
        "body",
        [helper.make_tensor_value_info("chunk", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("last", TensorProto.FLOAT, None)],
    )
    graph = helper.make_graph(
        [helper.make_node("Scan", ["x"], ["y"], num_scan_inputs=1, body=body)],
        "nested",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["chunk", "step", "batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["chunk", 1, "batch", 2])],
        [
            numpy_helper.from_array(np.ones((1, 2 * gates, 3), np.float32), "W"),
            numpy_helper.from_array(np.ones((1, 2 * gates, 2), np.float32), "R"),
            *(
                numpy_helper.from_array(np.array([value], np.int64), name)
                for name, value in (("zero", 0), ("one", 1), ("end", 2**31))
            ),
        ],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return rnn_edge.Session(path, trusted=True)


def case_of(steps: int) -> Case:
    sizes = {"batch": 2, "step": steps}
    return Case(sizes, {"x": np.ones((4, steps, 2, 3), np.float32)}, [])


def test_graph_that_ends_the_process_is_refused_at_the_sizes_that_do(tmp_path: Path) -> None:
    session = save_nested(tmp_path / "gru.onnx", "GRU", 3)
    refuse_crashes(session, [case_of(3), case_of(2)])
    with pytest.raises(VerificationError, match=r"at batch 2, step 1 .*ends the process \(SIGA"):
        refuse_crashes(session, [case_of(3), case_of(1)])


def test_plain_layers_need_no_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = save_nested(tmp_path / "rnn.onnx", "RNN", 1)
    monkeypatch.setattr(crashes.subprocess, "run", None)
    refuse_crashes(session, [case_of(1)])
