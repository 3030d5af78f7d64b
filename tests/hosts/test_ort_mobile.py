"""The graphs in ORT format give the golden answers; the list names the operators that they hold."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from host_bundles import NAMES

from rnn_edge.bundle import Bundle, golden_sets_in
from rnn_edge.integration import integrate
from rnn_edge.integration.ort_mobile import OPERATORS
from rnn_edge.verification.golden import read_golden_set


def optimised_operators(path: Path) -> set[str]:
    """What is left of a graph once ONNX Runtime has optimised it, as its profiler names it."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path.with_suffix(".basic"))
    onnxruntime.InferenceSession(path, options)
    import onnx

    graph = onnx.load(options.optimized_model_filepath).graph
    return {node.op_type for node in graph.node}


@pytest.mark.parametrize("name", NAMES)
def test_golden_answers(bundle_of: Callable[[str], Bundle], name: str, tmp_path: Path) -> None:
    bundle, folder = bundle_of(name), tmp_path / "mobile"
    about = integrate(bundle, "ort-mobile", folder).about
    assert set(about) == {f"{Path(g.file).stem}.ort" for g in bundle.contract.graphs.values()}
    assert len(golden_sets_in(folder)) >= 2
    check_golden(bundle, "model", folder, folder)
    if "pipeline" in bundle.contract.graphs:
        assert golden_sets_in(folder / "pipeline")
        check_golden(bundle, "pipeline", folder, folder / "pipeline")


def check_golden(bundle: Bundle, graph: str, folder: Path, sets: Path) -> None:
    session = onnxruntime.InferenceSession(folder / f"{graph}.ort")
    contract = bundle.graph(graph)
    assert [each.name for each in session.get_inputs()] == [spec.name for spec in contract.inputs]
    for place in golden_sets_in(sets):
        inputs, expected = read_golden_set(place, contract)
        found = session.run([spec.name for spec in contract.outputs], dict(inputs))
        for array, spec in zip(found, contract.outputs, strict=True):
            if spec.dtype == "string":
                assert array.tolist() == expected[spec.name].tolist()
            else:
                np.testing.assert_allclose(array, expected[spec.name], rtol=1e-5, atol=1e-5)


def test_the_list_names_what_is_needed_and_no_path(
    bundle_of: Callable[[str], Bundle], tmp_path: Path
) -> None:
    bundle = bundle_of("sentiment")
    integrate(bundle, "ort-mobile", tmp_path / "mobile")
    text = (tmp_path / "mobile" / OPERATORS).read_text()
    assert str(tmp_path) not in text
    assert "/" not in text
    listed = set(re.findall(r"[A-Z]\w+", text.partition("\n")[2]))
    assert "GRU" in listed
    assert "LSTM" not in listed
    path = tmp_path / "model.onnx"
    path.write_bytes(bundle.graph_path().read_bytes())
    assert optimised_operators(path) - listed <= {"Constant"}
    readme = (tmp_path / "mobile" / "README.md").read_text()
    assert len(readme.splitlines()) < 40
    assert f"--include_ops_by_config {OPERATORS}" in readme
    # Its pipeline looks characters up in a table of ONNX's part for that.
    assert "ai.onnx.ml;" in text
    assert "--disable_ml_ops" not in readme
    assert "--disable_contrib_ops" not in readme
    bundle = bundle_of("tagger")
    integrate(bundle, "ort-mobile", tmp_path / "tagger")
    assert "--disable_ml_ops" in (tmp_path / "tagger" / "README.md").read_text()
