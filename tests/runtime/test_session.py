import threading
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny_bundles
from onnx import TensorProto, helper

from rnn_edge.bundle import Bundle
from rnn_edge.contract import METADATA_KEY
from rnn_edge.errors import BundleError, ContractError, InputError
from rnn_edge.runtime import LongSequenceWarning, Session
from rnn_edge.runtime.cuda import CUDA_PROVIDER, cuda_obstacle

X = np.random.default_rng(5).normal(size=(2, 5, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def series(series_bundle: Bundle) -> Session:
    return Session(series_bundle)


@pytest.fixture(scope="module")
def language(language_bundle: Bundle) -> Session:
    return Session(language_bundle)


def save_identity(path: Path, dtype: int = TensorProto.FLOAT, dims: tuple = (None, 3)) -> Path:
    """A foreign file: y = x."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "foreign",
        [helper.make_tensor_value_info("x", dtype, dims)],
        [helper.make_tensor_value_info("y", dtype, dims)],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def expected(x: np.ndarray, lengths: list[int]) -> np.ndarray:
    return np.stack(
        [tiny_bundles.series_answer(row[:n]) for row, n in zip(x, lengths, strict=True)]
    )


def test_named_arrays_give_the_model_s_answer(series):
    (y,) = series.run({"lengths": np.array([5, 3]), "x": X})
    np.testing.assert_allclose(y, expected(X, [5, 3]), atol=1e-6)


def test_positional_arrays_follow_the_contract_s_order(series):
    (y,) = series.run(X, np.array([2, 5]))
    np.testing.assert_allclose(y, expected(X, [2, 5]), atol=1e-6)


def test_a_bundle_may_be_given_as_its_folder(series_bundle):
    (y,) = Session(str(series_bundle.path)).run(X, np.array([5, 5]))
    np.testing.assert_allclose(y, expected(X, [5, 5]), atol=1e-6)


def test_outputs_come_in_the_contract_s_order_and_by_name(language):
    logits, h_n = language.run(np.array([[2, 3, 4]]))
    np.testing.assert_allclose(logits[0], tiny_bundles.language_logits([2, 3, 4]), atol=1e-6)
    named = language.run_named(np.array([[2, 3, 4]]))
    assert list(named) == ["logits", "h_n"]
    np.testing.assert_array_equal(named["h_n"], h_n)


def test_a_state_that_is_given_is_used_and_a_left_out_one_starts_anew(language):
    _, h_n = language.run(np.array([[2, 3]]))
    logits, _ = language.run(np.array([[4]]), h_n)
    np.testing.assert_allclose(logits[0, 0], tiny_bundles.language_logits([2, 3, 4])[2], atol=1e-6)
    fresh, _ = language.run({"tokens": np.array([[4]])})
    np.testing.assert_allclose(fresh[0, 0], tiny_bundles.language_logits([4])[0], atol=1e-6)


def test_a_longer_sequence_than_trained_on_runs_with_a_warning(series):
    x = np.ones((1, 51, 2), np.float32)
    with pytest.warns(LongSequenceWarning, match="size 51, the model was trained on at most 50"):
        (y,) = series.run(x, np.array([51]))
    np.testing.assert_allclose(y, expected(x, [51]), atol=1e-6)


def test_the_trained_length_itself_gives_no_warning(series):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        series.run(np.ones((1, 50, 2), np.float32), np.array([50]))


def test_threads_share_one_session(series):
    wrong: list[int] = []

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(20):
            x = random.normal(size=(1, 7, 2)).astype(np.float32)
            if not np.allclose(series.run(x, [7])[0], expected(x, [7]), atol=1e-6):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_lone_file_explains_itself_by_the_contract_that_it_carries(series_bundle, tmp_path):
    lone = tmp_path / "moved.onnx"
    lone.write_bytes(series_bundle.graph_path().read_bytes())
    session = Session(lone)
    assert session.contract == series_bundle.graph()
    with pytest.raises(InputError, match="at most 5, got 6"):
        session.run(X, np.array([5, 6]))


def test_a_foreign_file_gets_the_contract_of_its_inputs_and_outputs(tmp_path):
    session = Session(save_identity(tmp_path / "f.onnx", dims=("rows", None, 3)))
    (spec,) = session.contract.inputs
    assert (spec.name, spec.dtype, spec.dims) == ("x", "float32", ("rows", "x.1", 3))
    x = np.ones((2, 4, 3), np.float32)
    np.testing.assert_array_equal(session.run(x)[0], x)


def test_a_trusted_foreign_file_loads_too(tmp_path):
    path = save_identity(tmp_path / "f.onnx", TensorProto.INT64, ("rows",))
    assert Session(path, trusted=True).run([1, 2])[0].tolist() == [1, 2]


def test_strings_pass_through(tmp_path):
    session = Session(save_identity(tmp_path / "s.onnx", TensorProto.STRING, ("rows",)))
    assert session.run(["好", "b"])[0].tolist() == ["好", "b"]


def test_a_graph_that_fails_while_it_runs_gives_one_line(tmp_path):
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        "foreign",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"]),
            helper.make_tensor_value_info("shape", TensorProto.INT64, [1]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["m"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "r.onnx")
    session = Session(tmp_path / "r.onnx")
    with pytest.raises(InputError, match=r"^r.onnx must run on these inputs, ONNX Runtime") as info:
        session.run([1.0, 2.0, 3.0], [2])
    assert "\n" not in str(info.value)


def test_a_file_whose_contract_names_other_tensors_is_refused(series_bundle, tmp_path):
    model = onnx.load(series_bundle.graph_path())
    (entry,) = (entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    entry.value = entry.value.replace('"lengths"', '"sizes"')
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ContractError, match="must be those of its contract"):
        Session(tmp_path / "m.onnx")


def test_a_missing_path_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere must be a bundle folder or an \.onnx file"):
        Session(tmp_path / "nowhere")


def test_a_folder_without_a_bundle_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"must be a folder with a bundle\.json"):
        Session(tmp_path)


def test_a_changed_byte_in_a_bundle_is_refused(tmp_path):
    bundle = tiny_bundles.write_series(tmp_path / "s")
    content = bytearray(bundle.graph_path().read_bytes())
    content[len(content) // 2] ^= 1
    bundle.graph_path().write_bytes(content)
    with pytest.raises(BundleError, match="SHA-256 differs"):
        Session(tmp_path / "s")


def test_an_unknown_graph_is_named(series_bundle):
    with pytest.raises(BundleError, match="graph must be one of model, got 'stream'"):
        Session(series_bundle, graph="stream")


@pytest.mark.parametrize("threads", [0, -1, 1.5])
def test_threads_must_be_a_positive_whole_number(series_bundle, threads):
    with pytest.raises(InputError, match="threads must be a whole number of at least 1"):
        Session(series_bundle, threads=threads)


@pytest.mark.gpu
def test_cuda_gives_the_answers_of_the_cpu(series_bundle):
    obstacle = cuda_obstacle()
    if obstacle is not None:
        pytest.skip(obstacle)
    session = Session(series_bundle, "cuda")
    assert session.native.get_providers()[0] == CUDA_PROVIDER
    (y,) = session.run(X, np.array([5, 3]))
    np.testing.assert_allclose(y, expected(X, [5, 3]), atol=1e-5)
