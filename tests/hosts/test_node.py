"""The Node program: golden data, answers, streams, types, refusals."""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import programs
import pytest
from host_bundles import NAMES
from toolchain import HOSTS, call, need

import rnn_edge
from rnn_edge.bundle import Bundle
from rnn_edge.integration import integrate
from rnn_edge.runtime.generation import Sampling
from rnn_edge.runtime.pipeline import Pipeline

BundleOf = Callable[[str], Bundle]
NODE = ("node", "main.js")


def node_program(bundle: Bundle, folder: Path) -> Path:
    need("node", "node_modules/onnxruntime-node")
    integrate(bundle, "node", folder)
    (folder / "node_modules").symlink_to(HOSTS / "node_modules")
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_golden_data_and_answers_are_right(bundle_of: BundleOf, name: str, tmp_path: Path) -> None:
    bundle = bundle_of(name)
    folder = node_program(bundle, tmp_path / "node")
    assert "outputs right" in call(*NODE, "self-test", cwd=folder).stdout
    if name != "language-model":
        ours, theirs = programs.write_input(bundle, tmp_path)
        output = call(*NODE, "run", theirs, cwd=folder).stdout
        programs.assert_answers(output, programs.right_answers(bundle, ours))


@pytest.mark.parametrize(
    "name",
    [
        *("bytes", "sentiment-portable", "tagging-portable", "translation", "speech"),
        *("captioning", "video", "answering"),
    ],
)
def test_raw_files_are_answered_as_by_python(
    bundle_of: BundleOf, name: str, tmp_path: Path
) -> None:
    bundle = bundle_of(name)
    folder = node_program(bundle, tmp_path / "node")
    assert "outputs right" in call(*NODE, "self-test", cwd=folder).stdout
    programs.refuses_a_tampered_pipeline([*NODE, "self-test"], folder)
    ours, theirs = programs.write_raw(bundle, tmp_path)
    programs.check_raw(call(*NODE, "run", theirs, cwd=folder).stdout, bundle, ours)
    for other in programs.other_forms(theirs):
        same = other if other.suffix == ".wav" else ours
        programs.check_raw(call(*NODE, "run", other, cwd=folder).stdout, bundle, same)
    if theirs.suffix != ".txt":
        theirs.write_bytes(theirs.read_bytes()[:40])
        assert " must " in call(*NODE, "run", theirs, cwd=folder, fails=True).stderr
    elif name != "translation":  # its texts have a longest
        run = functools.partial(call, *NODE, "run", cwd=folder)
        programs.check_texts(run, bundle, tmp_path)


def test_several_rows_have_the_steps_of_each(bundle_of: BundleOf, tmp_path: Path) -> None:
    bundle = bundle_of("tagging-portable")
    folder = node_program(bundle, tmp_path / "node")
    texts = ["ATGCC", "", "A", "GGAT\U0001f600ACG" * 9]
    (folder / "rows.js").write_text(
        'import { answers, load } from "./index.js";'
        f"console.log(JSON.stringify(await answers(await load(), {json.dumps(texts)})));"
    )
    found = json.loads(call("node", "rows.js", cwd=folder).stdout)
    pipeline = Pipeline(bundle)
    samples = [pipeline.read_line(text, "text") for text in texts if text]
    right = [list(answer.labels) for answer in pipeline.answer(samples)]  # type: ignore[union-attr]
    assert found == [{"tags": tags} for tags in (right[0], [], *right[1:])]


@pytest.mark.parametrize("given", [["run"], ["run", "a", "b"], ["toString"], []])
def test_a_call_that_is_none_shows_how(
    bundle_of: BundleOf, tmp_path: Path, given: list[str]
) -> None:
    folder = node_program(bundle_of("forecast"), tmp_path / "node")
    child = subprocess.run([*NODE, *given], cwd=folder, capture_output=True, check=False)
    assert (child.returncode, child.stdout[:19]) == (2, b"usage: node main.js")


def test_wrong_golden_data_are_found(bundle_of: BundleOf, tmp_path: Path) -> None:
    folder = node_program(bundle_of("forecast"), tmp_path / "node")
    programs.spoil_golden_data(folder / "bundle", "stream/test_data_set_3/output_0.pb")
    child = subprocess.run([*NODE, "self-test"], cwd=folder, capture_output=True, check=False)
    assert child.returncode == 1
    assert b"worst error 1.00e-2" in child.stdout


def test_stream_gives_the_answers_of_the_whole(bundle_of: BundleOf, tmp_path: Path) -> None:
    bundle = bundle_of("forecast")
    folder = node_program(bundle, tmp_path / "node")
    values = [0.5, -0.25, 0.125, 2.0]
    lines = "\n".join(map(str, values))
    output = call(*NODE, "stream", cwd=folder, text=lines).stdout
    programs.assert_answers(output, programs.prefix_answers(bundle, values))


def test_generation_writes_what_python_writes_of_a_seed(
    bundle_of: BundleOf, tmp_path: Path
) -> None:
    bundle = bundle_of("language-model")
    folder = node_program(bundle, tmp_path / "node")
    base = (*NODE, "generate", "The ", "--length", "30")
    greedy = call(*base, "--temperature", "0", cwd=folder).stdout
    assert greedy == programs.greedy_text(bundle, "The ", 30) + "\n"
    drawn = call(*base, *("--seed", "3", "--top-k", "5", "--temperature", "0.8"), cwd=folder).stdout
    assert drawn == programs.drawn_text(bundle, "The ", 30) + "\n" != greedy
    how = Sampling(length=30, seed=2**63 - 1, top_p=0.9)
    first = "".join(Pipeline(bundle).generate("", how))
    options = ("--length=30", f"--seed={2**63 - 1}", "--top-p=0.9")
    assert call(*NODE, "generate", *options, cwd=folder).stdout == first + "\n"
    wrong = ("length=2.5", "length=20.5", "temperature=warm", "top-p=", "seed=1e3", f"seed={2**63}")
    for option in wrong:
        told = call(*base, f"--{option}", cwd=folder, fails=True)
        assert " must be " in told.stderr
        assert told.stdout == ""


def test_a_tune_ends_before_an_empty_line(bundle_of: BundleOf, tmp_path: Path) -> None:
    bundle = bundle_of("music")
    folder = node_program(bundle, tmp_path / "node")
    prompt = "\nR:jig\n"
    tune, seed = programs.short_tune(bundle, prompt, 300)
    options = ("--length=300", "--temperature=1.2", "--top-k=9", f"--seed={seed}")
    assert call(*NODE, "generate", *options, prompt, cwd=folder).stdout == tune + "\n"
    # What the README has is a command of a shell.
    readme = (folder / "README.md").read_text("utf-8")
    command = next(line for line in readme.splitlines() if " generate " in line)
    assert call("bash", "-c", command, cwd=folder).stdout


SCRIPT = """
import { Readable } from "node:stream";
import { load, ModelTransform } from "./index.js";
const model = await load();
const cases = process.argv.includes("stream") ? "stream" : "run";
const float = (dims, value = 0.5) =>
  model.tensor("float32", new Float32Array(dims.reduce((a, b) => a * b, 1)).fill(value), dims);
const long = (...n) => model.tensor("int64", BigInt64Array.from(n, BigInt), [n.length]);
const stream = model.stream();
const tries = {
  dtype: () => model.run({ values: long(1, 2), lengths: long(2) }),
  batch: () => model.run({ values: float([0, 2, 1]), lengths: long() }),
  sequence: () => model.run({ values: float([1, 0, 1]), lengths: long(1) }),
  nan: () => model.run({ values: float([1, 2, 1], NaN), lengths: long(2) }),
  lengths: () => model.run({ values: float([1, 2, 1]), lengths: long(3) }),
  zero: () => model.run({ values: float([1, 2, 1]), lengths: long(0) }),
  rows: () => model.run({ values: float([2, 2, 1]), lengths: long(2) }),
  missing: () => model.run({ values: float([2, 2, 1]) }),
  unknown: () => model.run({ value: float([2, 2, 1]) }),
  chunk: () => stream.push({ values: float([1, 0, 1]) }),
  width: () => stream.push({ values: float([1, 1, 2]) }),
  streamRows: () => stream.push({ values: float([2, 1, 1]) }),
  streamNan: () => stream.push({ values: float([1, 1, 1], Infinity) }),
  state: async () => stream.resume({}),
};
const told = {};
for (const [name, attempt] of Object.entries(tries)) {
  try { await attempt(); told[name] = "ran"; }
  catch (error) { told[name] = `${error.name}: ${error.message}`; }
}
// A refused chunk leaves the stream as it was: at its start.
const answers = [];
for (const v of [0.5, -0.25]) {
  answers.push((await stream.push({ values: float([1, 1, 1], v) })).prediction.data[0]);
}
const piped = [];
const frames = Readable.from([[0.5], new Float32Array([-0.25])]);
for await (const out of frames.pipe(new ModelTransform(model))) {
  piped.push(out.prediction.data[0]);
}
console.log(JSON.stringify({ told, answers, piped }));
"""


def test_bad_input_is_refused_and_leaves_the_stream_as_it_was(
    bundle_of: BundleOf, tmp_path: Path
) -> None:
    bundle = bundle_of("forecast")
    folder = node_program(bundle, tmp_path / "node")
    (folder / "bad.js").write_text(SCRIPT)
    found = json.loads(call("node", "bad.js", cwd=folder).stdout)
    for message in found["told"].values():
        assert message.startswith("ModelError: "), found["told"]
    expected = programs.numbers_of(programs.prefix_answers(bundle, [0.5, -0.25]))
    np.testing.assert_allclose(found["answers"], expected, atol=2e-6)
    np.testing.assert_allclose(found["piped"], expected, atol=2e-6)


def test_tampered_and_newer_bundles_are_refused(bundle_of: BundleOf, tmp_path: Path) -> None:
    folder = node_program(bundle_of("forecast"), tmp_path / "node")
    programs.refuses_tampered_files([*NODE, "self-test"], folder)


USE = """
import { load, ModelTransform } from "./index.js";
const model = await load();
const values = model.tensor("float32", new Float32Array(3), [1, 3, 1]);
const lengths = model.tensor("int64", BigInt64Array.of(3n), [1]);
const outputs = await model.run({ values, lengths });
outputs.prediction.data;
const answers = await model.stream({ batch: 1 }).push({ values });
answers.prediction.dims;
new ModelTransform(model).reset();
// @ts-expect-error: values are missing
await model.run({ lengths });
// @ts-expect-error: there is no such output
outputs.predictions;
"""


def test_types_name_the_tensors(bundle_of: BundleOf, tmp_path: Path) -> None:
    need("node_modules/typescript")
    folder = node_program(bundle_of("forecast"), tmp_path / "node")
    (folder / "use.ts").write_text(USE)
    options = (
        "--noEmit",
        "--strict",
        "--skipLibCheck",
        "--module",
        "nodenext",
        "--target",
        "es2022",
    )
    call(
        "node", "node_modules/typescript/bin/tsc", *options, "--types", "node", "use.ts", cwd=folder
    )


def test_readme_is_short(bundle_of: BundleOf, tmp_path: Path) -> None:
    integrate(bundle_of("forecast"), "node", tmp_path / "node")
    assert len((tmp_path / "node" / "README.md").read_text().splitlines()) < 40


def test_the_short_form_of_the_readme_answers_texts(bundle_of: BundleOf, tmp_path: Path) -> None:
    bundle = bundle_of("sentiment")
    folder = node_program(bundle, tmp_path / "node")
    readme = (folder / "README.md").read_text()
    blocks = [part for part in readme.split("```") if part.startswith("js\n")]
    (code,) = [block for block in blocks if "answers(" in block]
    (folder / "short.mjs").write_text(
        code.removeprefix("js\n") + "console.log(JSON.stringify(found));"
    )
    found = json.loads(call("node", "short.mjs", cwd=folder).stdout)
    labels, chances = ([answer[key] for answer in found] for key in ("label", "probability"))
    pipeline = rnn_edge.runtime.Pipeline(bundle)
    samples = [pipeline.read_line(text, "x") for text in ("A text", "Another one")]
    for answer, label, chance in zip(pipeline.answer(samples), labels, chances, strict=True):
        ((expected, probability),) = answer.rows()
        assert label == expected
        assert chance == pytest.approx(probability, abs=1e-5)
