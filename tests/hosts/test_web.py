"""The page, in headless Chromium: golden data, what a person does, refusals, no foreign request."""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import programs
import pytest
from host_bundles import NAMES
from toolchain import HOSTS, call, need

from rnn_edge.bundle import Bundle
from rnn_edge.integration import integrate

BundleOf = Callable[[str], Bundle]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def page_of(bundle: Bundle, folder: Path) -> Path:
    need("node", "chromium", "node_modules/playwright-core", "node_modules/onnxruntime-web")
    integrate(bundle, "web", folder)
    (folder / "node_modules").symlink_to(HOSTS / "node_modules")
    return folder


def drive(folder: Path, actions: list[Any], screenshot: str = "") -> list[Any]:
    """What the actions gave; the page asks no other server for anything, and raises nothing."""
    script = folder / "browser.js"
    shutil.copyfile(Path(__file__).with_name("browser.js"), script)
    with served(folder) as url:
        output = call("node", script, url, screenshot, cwd=folder, text=json.dumps(actions)).stdout
    told = json.loads(output)
    assert told["foreign"] == []
    assert told["errors"] == []
    results: list[Any] = told["results"]
    return results


SELF_TEST = [["click", "#self-test"], ["wait", "#report", "allowed"], ["text", "#report"]]
# Read while the page still writes: a part of the text is there, and not all of it.
GENERATE = [
    ["fill", "#length", "400"],
    ["fill", "#temperature", "0"],
    # Watched before it starts: a fast machine has written it all when the next action comes.
    ["evaluate", """new Promise((done) => {
        new MutationObserver(() => {
            const { length } = document.querySelector("#answer").textContent;
            if (length > 40) done(length);
        }).observe(document.querySelector("#answer"), { childList: true });
        document.querySelector("#start").click();
    })"""],
    ["evaluate", """new Promise((done) => setInterval(() => {
        const { textContent } = document.querySelector("#answer");
        if (textContent.length === 404) done(textContent);
    }, 20))"""],
]  # fmt: skip
# Of a seed, on the page and by the function that the page calls.
SEEDED = [
    ["fill", "#length", "60"],
    ["fill", "#temperature", "0.8"],
    ["fill", "#seed", "3"],
    ["click", "#start"],
    ["evaluate", """new Promise((done) => setInterval(() => {
        const { textContent } = document.querySelector("#answer");
        if (textContent.length === 64) done(textContent);
    }, 20))"""],
    ["evaluate", """(async () => {
        const { generate, load } = await import("/index.js");
        const how = { length: 60, temperature: 0.8, topK: 5, seed: 3 };
        let text = "";
        for await (const character of generate(await load(), "The ", how)) text += character;
        return text;
    })()"""],
]  # fmt: skip
DRAW = [
    ["draw", "#drawing", [[60, 40], [220, 40], [120, 240]]],
    ["wait", "#answer", "."],
    ["wait", "#latency", "ms"],
    ["text", "#answer"],
]


def type_in(text: str) -> list[Any]:
    return [["fill", "#text", text], ["wait", "#latency", "ms"], ["text", "#answer"]]


@pytest.mark.parametrize("name", NAMES)
def test_golden_data_and_answers_are_right(bundle_of: BundleOf, name: str, tmp_path: Path) -> None:
    bundle = bundle_of(name)
    folder = page_of(bundle, tmp_path / "web")
    if name == "language-model":
        report, part, whole, drawn, chosen = drive(folder, SELF_TEST + GENERATE + SEEDED)
        assert part < 404
        assert whole == "The " + programs.greedy_text(bundle, "The ", 400)
        assert drawn == "The " + programs.drawn_text(bundle, "The ", 60, top_k=None)
        assert chosen == programs.drawn_text(bundle, "The ", 60) != drawn[4:]
    elif name == "images":
        report, answer = drive(folder, SELF_TEST + DRAW)
        assert answer.startswith(bundle.contract.decoder.labels[0])  # type: ignore[union-attr]
    else:
        report, answer = drive(folder, SELF_TEST + type_in(programs.COMMON[name]))
        ours, _ = programs.write_input(bundle, tmp_path)
        expected = programs.right_answers(bundle, ours)
        if name == "sentiment":
            told = [f"{p:.3f}" for p in expected[0]["probabilities"].values()]
            assert [part in answer for part in told] == [True, True]
        else:
            np.testing.assert_allclose(
                programs.numbers_of(json.loads(answer)),
                programs.numbers_of(expected[-1]),
                rtol=2e-5,
                atol=2e-6,
            )
    assert "outputs right" in report


@pytest.mark.parametrize("name", ["tagging", "speech", "captioning"])
def test_raw_input_is_answered_as_by_python(bundle_of: BundleOf, name: str, tmp_path: Path) -> None:
    bundle = bundle_of(name)
    folder = page_of(bundle, tmp_path / "web")
    ours, _ = programs.write_raw(bundle, tmp_path)
    given = ["files", "#file", str(ours)]
    if name == "tagging":
        given = ["fill", "#text", ours.read_text("utf-8")]
    actions = [given, ["wait", "#latency", "ms"], ["text", "#answer"]]
    report, answer = drive(folder, SELF_TEST + actions)
    assert "outputs right" in report
    expected = programs.python_answer(bundle, ours)
    assert answer == (" ".join(expected.labels) if name == "tagging" else expected.text)


ATTEMPTS = """(async () => {
  const { load } = await import("/index.js");
  const told = {};
  const attempt = async (name, work) => {
    try { await work(); told[name] = "ran"; } catch (e) { told[name] = `${e.name}: ${e.message}`; }
  };
  const model = await load();
  const float = (dims, value = 0.5) => model.tensor(
    "float32", new Float32Array(dims.reduce((a, b) => a * b, 1)).fill(value), dims);
  const long = (...n) => model.tensor("int64", BigInt64Array.from(n, BigInt), [n.length]);
  await attempt("dtype", () => model.run({ values: long(1), lengths: long(1) }));
  await attempt("batch", () => model.run({ values: float([0, 2, 1]), lengths: long() }));
  await attempt("sequence", () => model.run({ values: float([1, 0, 1]), lengths: long(1) }));
  await attempt("nan", () => model.run({ values: float([1, 1, 1], NaN), lengths: long(1) }));
  await attempt("chunk", () => model.stream().push({ values: float([1, 0, 1]) }));
  await attempt("tampered", () => load(new URL("/tampered/", location)));
  await attempt("newer", () => load(new URL("/newer/", location)));
  await attempt("absent", () => load(new URL("/absent/", location)));
  return told;
})()"""


def test_bad_input_and_bad_bundles_are_refused(bundle_of: BundleOf, tmp_path: Path) -> None:
    folder = page_of(bundle_of("forecast"), tmp_path / "web")
    for name in ("tampered", "newer"):
        shutil.copytree(folder / "bundle", folder / name)
    model = bytearray((folder / "tampered" / "model.onnx").read_bytes())
    model[len(model) // 2] ^= 1
    (folder / "tampered" / "model.onnx").write_bytes(model)
    programs.change_manifest(folder / "newer", lambda m: m.update(format_version=2))
    (told,) = drive(folder, [["evaluate", ATTEMPTS]])
    for name, message in told.items():
        assert message.startswith("ModelError: "), (name, message)
    assert "SHA-256" in told["tampered"]
    assert "format_version" in told["newer"]
