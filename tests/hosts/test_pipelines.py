"""pipeline.onnx in Node, Chromium and C: texts in, the words that Python reads out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import native_programs
import numpy as np
import onnx_ir
import pytest
from test_web import drive
from toolchain import HOSTS, call, need

import rnn_edge
from rnn_edge.bundle import Bundle
from rnn_edge.graphs.streaming.stream import Stream
from rnn_edge.pipelining import add_pipeline, write_pipeline
from rnn_edge.runtime.generation import prompt_feed

HERE = Path(__file__).parent
TEXTS = ["Quick and friendly", "", "e\u0301 \U0001f600\r\n", "\u4f60\u597d", "x" * 3000]
WRITING = {"max_new": 40, "top_k": 9, "temperature": 0.9}


@pytest.fixture(scope="module")
def folder(bundle_of: Callable[[str], Bundle], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NAME.onnx and NAME-portable.onnx of a classifier and a language model."""
    place = tmp_path_factory.mktemp("pipelines")
    for name in ("sentiment", "language-model"):
        bundle = bundle_of(name)
        shutil.copyfile(bundle.graph_path("pipeline"), place / f"{name}.onnx")
        generator = None
        if name == "language-model":
            generator = Stream(
                onnx_ir.load(bundle.graph_path("generate")), bundle.graph("generate")
            )
        model = onnx_ir.load(bundle.graph_path())
        part = add_pipeline(model, bundle.contract, rnn_edge.Session(bundle), True, generator)
        (place / "written").mkdir(exist_ok=True)
        write_pipeline(place / "written", part, bundle.contract)
        (place / "written" / "pipeline.onnx").rename(place / f"{name}-portable.onnx")
        shutil.rmtree(place / "written")
    shutil.copyfile(HERE / "pipelines.mjs", place / "pipelines.mjs")
    (place / "node_modules").symlink_to(HOSTS / "node_modules")
    return place


def states(session: rnn_edge.Session) -> dict[str, list[int]]:
    dims = {pair.input: session.contract.input(pair.input).dims for pair in session.contract.states}
    del dims["seed"]
    return {
        name: [dim if isinstance(dim, int) else len(TEXTS) for dim in each]
        for name, each in dims.items()
    }


def in_python(path: Path) -> dict[str, Any]:
    session = rnn_edge.Session(path, trusted=True)
    feed: dict[str, Any] = prompt_feed(session, TEXTS)
    if "language" in path.name:
        feed |= {"seed": np.arange(len(TEXTS)), **WRITING}
    found = session.run_named(feed)
    numbers = found["probabilities" if "probabilities" in found else "log_probabilities"]
    return {"words": list(found[session.contract.outputs[0].name]), "numbers": numbers.ravel()}


def check(found: dict[str, Any], folder: Path) -> None:
    assert len(found) == 4
    for name, answers in found.items():
        expected = in_python(folder / name)
        assert answers["words"] == expected["words"], name
        # JSON has no NaN.
        numbers = np.array(answers["numbers"], float)
        np.testing.assert_allclose(numbers, expected["numbers"], atol=2e-5, rtol=2e-5)


def arguments(folder: Path) -> str:
    session = rnn_edge.Session(folder / "language-model.onnx", trusted=True)
    options = {**WRITING, "states": states(session)}
    return f"{json.dumps(TEXTS)}, {json.dumps(options)}"


def test_node_reads_what_python_reads(folder: Path) -> None:
    need("node", "node_modules/onnxruntime-node")
    names = sorted(path.name for path in folder.glob("*.onnx"))
    script = folder / "main.mjs"
    script.write_text(
        'import ort from "onnxruntime-node"; import { answers } from "./pipelines.mjs";'
        f"const models = {json.dumps({name: name for name in names})};"
        f"console.log(JSON.stringify(await answers(ort, models, {arguments(folder)})));"
    )
    check(json.loads(call("node", "main.mjs", cwd=folder).stdout), folder)


def test_a_browser_reads_what_python_reads(folder: Path) -> None:
    need("node", "chromium", "node_modules/playwright-core", "node_modules/onnxruntime-web")
    models = {path.name: path.name for path in sorted(folder.glob("*.onnx"))}
    (folder / "index.html").write_text(
        '<!doctype html><link rel="icon" href="data:,"><p id="error">'
    )
    code = f"""(async () => {{
      const ort = await import("/node_modules/onnxruntime-web/dist/ort.wasm.min.mjs");
      ort.env.wasm.numThreads = 1;
      const {{ answers }} = await import("/pipelines.mjs");
      return JSON.stringify(await answers(ort, {json.dumps(models)}, {arguments(folder)}));
    }})()"""
    (found,) = drive(folder, [["evaluate", code]])
    check(json.loads(found), folder)


def test_c_reads_what_python_reads(
    folder: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    runtime = native_programs.runtime_folder(tmp_path / "onnxruntime")
    shutil.copyfile(HERE / "pipeline.c", tmp_path / "pipeline.c")
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", f"-I{runtime}/include"]
    libraries = [f"-L{runtime}/lib", f"-Wl,-rpath,{runtime}/lib", "-lonnxruntime"]
    call("gcc", *flags, "pipeline.c", "-o", "pipeline", *libraries, cwd=tmp_path)
    output = call("./pipeline", folder / "sentiment.onnx", *TEXTS, cwd=tmp_path).stdout
    expected = in_python(folder / "sentiment.onnx")
    assert output.splitlines() == expected["words"]
