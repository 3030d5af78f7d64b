"""pipeline.onnx of every task: in Python what eager torch says, in Node, Chromium and C the same.

One call takes what an app has and gives what a person reads.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import doc_lines
import numpy as np
import pytest
import raw_inputs
from doc_lines import SAMPLES, blocks, python_answers, run_in_c, run_in_node
from PIL import Image
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


@pytest.fixture
def place(bundle_of: BundleOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with exported/NAME of the bundles that the documentation calls."""
    bundles = {name: bundle_of(task) for name, task in doc_lines.NAMES.items()}
    sine = Bundle.load(doc_lines.ROOT / "exported" / "sine")
    points = bundle_of("sentiment-portable")
    doc_lines.link_bundles(tmp_path, bundles | {"sine": sine, "points": points})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_lines_of_python(bundle_of: BundleOf, place: Path) -> None:
    one, other, *_ = raw_inputs.sounds()
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (16, 16, 3)).astype(np.uint8)
    image = Image.fromarray(picture)
    values: dict[str, Any] = {"one": one, "other": other, "image": image, "rnn_edge": rnn_edge}
    *told, _ = blocks("python")
    texts, tags, dates, sounds, series, pictures, prompts = told
    exec(texts, values)
    for text, label, sure in zip(
        values["texts"], values["labels"], values["probability"], strict=True
    ):
        ((right, chance), *_) = python_answers(bundle_of("sentiment"), text)[0].rows()
        assert (label, sure) == (right, pytest.approx(chance, abs=1e-5))
    exec(tags, values)
    assert tuple(values["tags"][0]) == python_answers(bundle_of("tagging"), "Ada met Bob")[0].labels
    exec(dates, values)
    assert values["written"][0] == python_answers(bundle_of("translation"), "3 May 1997")[0].text
    exec(sounds, values)
    heard = [answer.text for answer in python_answers(bundle_of("speech"), one, other)]
    assert values["text"].tolist() == heard
    exec(series, values)
    (right,) = python_answers(Bundle.load(doc_lines.ROOT / "exported" / "sine"), values["values"])
    np.testing.assert_allclose(values["prediction"][0], right.values.ravel(), atol=1e-6)
    _, captions, _ = pictures.split("\n\n")
    exec(captions, values)
    seen = python_answers(bundle_of("captioning"), np.moveaxis(picture.astype(np.float32), 2, 0))
    assert values["written"][0] == seen[0].text
    exec(prompts, values)
    assert values["abc"].startswith("R:jig\n")


def test_lines_of_node(bundle_of: BundleOf, place: Path) -> None:
    need("node", "node_modules/onnxruntime-node")
    texts, points, prompts, others = blocks("js")
    sounds, pictures = others.split("\n\n")
    (quick, odd) = python_answers(bundle_of("sentiment"), "Quick and friendly", "\u597d")
    ((label, chance), *_) = quick.rows()
    told = run_in_node(place, "reviews", texts, opens=False)[0].split()
    assert (told[0], float(told[1])) == (label, pytest.approx(chance, abs=1e-5))
    points += "console.log(label.data.join());"
    assert run_in_node(place, "points", points, opens=True)[0] == f"{label},{odd.rows()[0][0]}"
    # The bundle here is smaller.
    found = "\n".join(run_in_node(place, "book", prompts.replace("256", "8"), opens=False))
    how = {"prompt": ["It was "], "seed": np.array([1]), "temperature": 0.8, "max_new": 200}
    session = rnn_edge.Session(bundle_of("language-model"), graph="pipeline")
    assert found == session.run_named(how)["text"][0] + "\n"
    samples = (
        "const samples = Float32Array.from({ length: 4000 }, (_, step) => (step % 50) / 50);\n"
    )
    lines = samples + sounds + "\nconsole.log(text.data[0]);"
    (right,) = python_answers(bundle_of("speech"), SAMPLES)
    assert run_in_node(place, "keypad", lines, opens=True)[0] == right.text
    # A canvas whose pixels are red.
    canvas = (
        "const data = Uint8ClampedArray.from({ length: 4 * 16 * 16 }, (_, i) => 255 * !(i % 4));"
        "const canvas = { getContext: () => ({"
        "getImageData: () => ({ data, width: 16, height: 16 }) }) };\n"
    )
    red = np.zeros((3, 16, 16), np.float32)
    red[0] = 255
    (right,) = python_answers(bundle_of("captioning"), red)
    lines = canvas + pictures.replace("const { data, width", "const { data: pixels, width")
    lines = lines.replace("data[4 * i + c]", "pixels[4 * i + c]")
    assert run_in_node(place, "shapes", lines, opens=True)[0] == right.text


def test_lines_of_c(bundle_of: BundleOf, place: Path, runtime: Path) -> None:
    texts, sounds = blocks("c")
    (answer, _) = python_answers(bundle_of("sentiment"), "Quick and friendly", "It broke")
    assert run_in_c(place, "reviews", texts, runtime) == answer.rows()[0][0]
    (right,) = python_answers(bundle_of("speech"), SAMPLES)
    assert run_in_c(place, "keypad", sounds, runtime) == right.text
