"""pipeline.onnx of every task: in Python what eager torch says, in Node, Chromium and C the same.

One call takes what an app has and gives what a person reads.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import raw_inputs
from raw_inputs import PORTABLE, TASKS, Feed
from test_web import drive
from toolchain import HOSTS, call, need

import rnn_edge
from rnn_edge.bundle import Bundle

HERE = Path(__file__).parent
BundleOf = Callable[[str], Bundle]
# Their first call is greedy, which alone is compared with eager torch here.
# A module that gives logits of the next character: eager torch is asked in another test.
ANSWERING = "answering"
ALL = (*TASKS, *PORTABLE, ANSWERING)
WRITING = ("language-model", "language-model-portable", "music")


@pytest.fixture(scope="module")
def calls(bundle_of: BundleOf, folder: Path) -> Mapping[str, tuple[list[Feed], list[Feed]]]:
    """What each graph of ``folder`` is fed, and what it says in Python."""
    found = {}
    for name in ALL:
        session = rnn_edge.Session(folder / f"{name}.onnx", trusted=True)
        feeds = raw_inputs.feeds_of(name, session)
        found[name] = (feeds, [session.run_named(feed) for feed in feeds])
    return found


@pytest.fixture(scope="module")
def folder(bundle_of: BundleOf, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NAME.onnx of every bundle."""
    place = tmp_path_factory.mktemp("pipelines")
    for name in ALL:
        shutil.copyfile(bundle_of(name).graph_path("pipeline"), place / f"{name}.onnx")
    shutil.copyfile(HERE / "pipelines.mjs", place / "pipelines.mjs")
    return place


@pytest.mark.parametrize("name", [*TASKS, *PORTABLE])
def test_python_reads_what_eager_torch_reads(
    bundle_of: BundleOf, calls: Mapping[str, Any], name: str
) -> None:
    feeds, found = calls[name]
    for feed, answers in zip(feeds[: 1 if name in WRITING else None], found, strict=False):
        raw_inputs.check_against_eager(bundle_of(name), feed, answers)


@pytest.mark.parametrize("name", PORTABLE)
def test_both_forms_of_text_read_the_same(calls: Mapping[str, Any], name: str) -> None:
    check(calls[name][1], calls[name.removesuffix("-portable")][1], name)


def check(found: list[Feed], expected: list[Feed], name: str) -> None:
    assert len(found) == len(expected)
    for answers, right in zip(found, expected, strict=True):
        assert list(answers) == list(right)
        for output, truth in right.items():
            if truth.dtype == object or truth.dtype.kind == "i":
                assert answers[output].tolist() == truth.tolist(), (name, output)
            else:
                np.testing.assert_allclose(
                    answers[output], truth, atol=2e-5, rtol=2e-5, err_msg=f"{name} {output}"
                )


def check_json(told: str, calls: Mapping[str, Any]) -> None:
    found = json.loads(told)
    assert set(found) == set(calls)
    for name, answers in found.items():
        check([raw_inputs.from_json(each) for each in answers], calls[name][1], name)


def write_calls(folder: Path, calls: Mapping[str, Any]) -> None:
    told = {
        name: {"model": f"{name}.onnx", "feeds": [raw_inputs.as_json(feed) for feed in feeds]}
        for name, (feeds, _) in calls.items()
    }
    (folder / "calls.json").write_text(json.dumps(told))
    if not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(HOSTS / "node_modules")


def test_node_reads_what_python_reads(folder: Path, calls: Mapping[str, Any]) -> None:
    need("node", "node_modules/onnxruntime-node")
    write_calls(folder, calls)
    (folder / "main.mjs").write_text(
        'import { readFileSync } from "node:fs"; import ort from "onnxruntime-node";'
        'import { answers } from "./pipelines.mjs";'
        'const calls = JSON.parse(readFileSync("calls.json", "utf8"));'
        "console.log(JSON.stringify(await answers(ort, calls)));"
    )
    check_json(call("node", "main.mjs", cwd=folder).stdout, calls)


def test_a_browser_reads_what_python_reads(folder: Path, calls: Mapping[str, Any]) -> None:
    need("node", "chromium", "node_modules/playwright-core", "node_modules/onnxruntime-web")
    write_calls(folder, calls)
    (folder / "index.html").write_text(
        '<!doctype html><link rel="icon" href="data:,"><p id="error">'
    )
    code = """(async () => {
      const ort = await import("/node_modules/onnxruntime-web/dist/ort.wasm.min.mjs");
      ort.env.wasm.numThreads = 1;
      const { answers } = await import("/pipelines.mjs");
      const calls = await (await fetch("/calls.json")).json();
      return JSON.stringify(await answers(ort, calls));
    })()"""
    (found,) = drive(folder, [["evaluate", code]])
    check_json(found, calls)


@pytest.fixture(scope="module")
def reader(runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of C."""
    place = tmp_path_factory.mktemp("reader")
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", f"-I{runtime}/include"]
    libraries = [f"-L{runtime}/lib", f"-Wl,-rpath,{runtime}/lib", "-lonnxruntime"]
    call("gcc", *flags, HERE / "pipeline.c", "-o", "reader", *libraries, cwd=place)
    return place / "reader"


@pytest.mark.parametrize("name", ALL)
def test_c_reads_what_python_reads(
    folder: Path, calls: Mapping[str, Any], reader: Path, name: str, tmp_path: Path
) -> None:
    feeds, expected = calls[name]
    paths = [tmp_path / f"{place}.txt" for place in range(len(feeds))]
    for path, feed in zip(paths, feeds, strict=True):
        raw_inputs.write_feed(path, feed)
    output = call(reader, folder / f"{name}.onnx", *paths, cwd=tmp_path).stdout
    *told, rest = output.split("end string 0\nx\n")
    assert not rest
    check([raw_inputs.read_answers(each) for each in told], expected, name)
