"""The graphs in ORT format give the golden answers; the list names the operators that they hold."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from host_bundles import NAMES

from rnn_edge.bundle import Bundle, golden_sets_in
from rnn_edge.integration import integrate
from rnn_edge.integration.ort_mobile import OPERATORS
from rnn_edge.verification.golden import read_golden_set


def optimised_operators(path: Path, folder: Path) -> set[tuple[str, str]]:
    """What ONNX Runtime leaves of a graph for another processor than this one."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / f"optimised-{path.name}")
    onnxruntime.InferenceSession(path, options, disabled_optimizers=["NchwcTransformer"])
    found: set[tuple[str, str]] = set()
    waiting = [onnx.load(options.optimized_model_filepath).graph]
    while waiting:
        for node in waiting.pop().node:
            found.add((node.domain or "ai.onnx", node.op_type))
            for attribute in node.attribute:
                waiting += [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
    return found


def listed_operators(text: str) -> set[tuple[str, str]]:
    """Domain and name of each operator of the list: DOMAIN;OPSET;NAME{types},NAME ..."""
    found = set()
    for line in text.splitlines():
        if not line.startswith(("#", "!")):
            domain, _, names = line.split(";", 2)
            while "{" in names:
                names = re.sub(r"\{[^{}]*\}", "", names)
            found |= {(domain, name.strip()) for name in names.split(",")}
    return found


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
    needed = set()
    for graph in bundle.contract.graphs.values():
        needed |= optimised_operators(bundle.path / graph.file, tmp_path)
        session = onnxruntime.InferenceSession(folder / f"{Path(graph.file).stem}.ort")
        assert [each.name for each in session.get_outputs()] == [s.name for s in graph.outputs]
    assert listed_operators((folder / OPERATORS).read_text()) == needed


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
