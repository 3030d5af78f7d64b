import sys
import time

import onnx
import pytest
from onnx import TensorProto, helper

from rnn_edge.errors import InputError
from rnn_edge.runtime import Session, probe


def refusal(path: object) -> str:
    with pytest.raises(InputError) as info:
        Session(path)
    assert "\n" not in str(info.value)
    return str(info.value)


def test_a_truncated_file_is_refused_in_one_line(series_bundle, tmp_path):
    content = series_bundle.graph_path().read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(content[: len(content) // 2])
    assert refusal(path).startswith(
        f"{path} must be an ONNX file that ONNX Runtime loads, got: Load model from"
    )


@pytest.mark.parametrize("content", [b"", b"hello, I am a text\n", bytes(100)])
def test_what_is_not_onnx_is_refused(tmp_path, content):
    path = tmp_path / "no.onnx"
    path.write_bytes(content)
    assert "must be an ONNX file" in refusal(path)


def test_a_hostile_file_is_refused_and_this_process_lives(tmp_path):
    # This block size squared overflows to 0, by which ONNX Runtime before 1.32 divides.
    graph = helper.make_graph(
        [helper.make_node("DepthToSpace", ["x"], ["y"], blocksize=1 << 32)],
        "hostile",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    path = tmp_path / "hostile.onnx"
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    assert "must be an ONNX file that ONNX Runtime loads, got: " in refusal(path)


def test_a_file_that_kills_the_process_that_loads_it_is_refused(series_bundle, monkeypatch):
    monkeypatch.setattr(probe, "_CHILD", "import os; os.kill(os.getpid(), 11)")
    assert "loading it kills the process (SIGSEGV)" in refusal(series_bundle.graph_path())


def test_a_file_that_takes_too_long_to_load_is_refused(series_bundle, monkeypatch):
    monkeypatch.setattr(probe, "_CHILD", "import time; time.sleep(60)")
    monkeypatch.setattr(probe, "SECONDS", 1)
    started = time.monotonic()
    assert "it took more than 1 s to load" in refusal(series_bundle.graph_path())
    assert time.monotonic() - started < 10


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs RLIMIT_AS")
def test_a_file_that_needs_more_memory_than_allowed_is_refused(series_bundle, monkeypatch):
    monkeypatch.setattr(probe, "BYTES_BESIDE_FILE", 1 << 26)
    assert "must be an ONNX file" in refusal(series_bundle.graph_path())
