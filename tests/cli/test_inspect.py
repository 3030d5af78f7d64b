import json
import sys
from pathlib import Path

import onnx
import pytest
import tiny_bundles
from click.testing import CliRunner, Result
from onnx import TensorProto, helper

from rnn_edge.bundle import write_bundle
from rnn_edge.cli.main import program
from rnn_edge.contract import Contract, GraphContract, TensorSpec


def inspect(*arguments: object) -> Result:
    return CliRunner().invoke(program, ["inspect", *map(str, arguments)])


def document(*arguments: object) -> dict:
    done = inspect(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A file of another program: y = If(flag, x + x, x * x)."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 3])
    branches = [
        helper.make_graph([helper.make_node(operator, ["x", "x"], ["b"])], "b", [], [value])
        for operator in ("Add", "Mul")
        for value in [helper.make_tensor_value_info("b", TensorProto.FLOAT, ["rows", 3])]
    ]
    node = helper.make_node("If", ["flag"], ["y"], then_branch=branches[0], else_branch=branches[1])
    flag = helper.make_tensor_value_info("flag", TensorProto.BOOL, [])
    model = helper.make_model(
        helper.make_graph([node], "theirs", [x, flag], [y]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
        producer_name="someone",
    )
    onnx.save(model, tmp_path / "foreign.onnx")
    return tmp_path / "foreign.onnx"


def test_a_bundle_s_contract_is_in_the_json(language_bundle):
    found = document(language_bundle.path)
    assert found["name"] == "language-model"
    graph = found["graphs"]["model"]
    assert [tensor["name"] for tensor in graph["inputs"]] == ["tokens", "h_0"]
    assert graph["states"] == [{"input": "h_0", "output": "h_n", "batch_axis": 1, "initial": 0.0}]
    assert graph["axes"]["sequence"]["trained_maximum"] == 30
    assert found["front_end"]["vocabulary"] == list(tiny_bundles.VOCABULARY)
    assert found["decoder"]["never"] == [0, 1]
    assert found["opset"] == 17
    assert list(found["files"]) == ["model.onnx"]
    assert found["operators"]["model"]["RNN"] == 1


def test_a_bundle_s_page_shows_tensors_states_limits_and_decoder(language_bundle):
    lines = inspect(language_bundle.path).stdout.splitlines()
    assert "input\ttokens\tint64[batch, sequence]\tfrom 0 to 5\t" in lines
    assert "input\th_0\tfloat32[1, batch, 3]\t\tstate: h_n of the call before, at first 0" in lines
    assert "output\th_n\tfloat32[1, batch, 3]\t\tstate: h_0 of the next call" in lines
    assert "axis\tsequence\t\tfrom 1, trained to 30\t" in lines
    assert "decoder\tnext-character: never [0, 1]" in lines


def test_lengths_say_what_they_count(text_bundle):
    lines = inspect(text_bundle.path).stdout.splitlines()
    assert "input\tlengths\tint64[batch]\t1 to the size of axis sequence\t" in lines


def test_a_lone_file_shows_the_contract_that_it_carries(text_bundle, tmp_path):
    path = tmp_path / "lone.onnx"
    path.write_bytes(text_bundle.graph_path().read_bytes())
    found = document(path)
    whole = document(text_bundle.path)
    for part in ("name", "graphs", "front_end", "decoder"):
        assert found[part] == whole[part]


def test_a_foreign_file_shows_its_tensors_producer_opset_and_operators(foreign):
    found = document(foreign)
    assert found["producer"] == "someone"
    assert found["opset"] == {"ai.onnx": 17}
    tensors = found["graphs"]["model"]["inputs"]
    assert [(tensor["name"], tensor["dtype"], tensor["dims"]) for tensor in tensors] == [
        ("x", "float32", ["rows", 3]),
        ("flag", "bool", []),
    ]
    assert found["operators"] == {"model": {"If": 1, "Add": 1, "Mul": 1}}


def test_without_the_onnx_package_the_operators_are_left_out(foreign, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    done = inspect(foreign)
    assert done.exit_code == 0
    assert "output\ty\tfloat32[rows, 3]\t\t" in done.stdout.splitlines()
    assert "operators: not listed, that needs the onnx package" in done.stdout


@pytest.mark.parametrize("content", [b"", b"no onnx at all"])
def test_what_is_not_onnx_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    done = inspect(path)
    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 1
    assert "must be an ONNX file" in done.stderr


def test_a_missing_path_is_refused_in_one_line(tmp_path):
    done = inspect(tmp_path / "nowhere")
    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 1


def test_a_bundle_s_page_shows_its_evidence_and_its_folders_as_a_whole(tmp_path):
    parity = {
        "oracle": "float64 torch",
        "cases": [{"batch": 1}, {"batch": 2}],
        "outputs": [
            {
                "name": "y",
                "error": 1e-7,
                "noise": 2e-7,
                "tolerance": 1.8e-6,
                "sizes": {"batch": 2},
            }
        ],
    }
    graph = GraphContract("model.onnx", (TensorSpec("x", "float32", (1,)),), ())

    def fill(folder: Path) -> None:
        (folder / "test_data_set_0").mkdir()
        (folder / "test_data_set_0" / "input_0.pb").write_bytes(bytes(10))
        (folder / "test_data_set_0" / "output_0.pb").write_bytes(bytes(5))
        onnx.save(helper.make_model(helper.make_graph([], "g", [], [])), folder / "model.onnx")

    write_bundle(tmp_path / "b", Contract("b", {"model": graph}), {"parity": parity}, fill)
    lines = inspect(tmp_path / "b").stdout.splitlines()
    assert "y\t1e-07\t1.8e-06\t2e-07\tbatch 2" in lines
    assert "Right at all 2 sizes tried, against float64 torch." in lines
    assert "test_data_set_0/\t15" in lines
