"""Texts, labels and sounds in Rust and Java, against Python's answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from test_java import make
from test_rust import cargo
from toolchain import call
from torch import Tensor, nn

import rnn_edge
from rnn_edge.bundle import Bundle
from rnn_edge.contract import CtcDecoder, Decoder, LabelDecoder
from rnn_edge.integration import integrate
from rnn_edge.runtime.ctc import greedy
from rnn_edge.runtime.front_ends import characters
from rnn_edge.runtime.generation import Sampling
from rnn_edge.runtime.pipeline import Pipeline

BundleOf = Callable[[str], Bundle]
PROMPT = "The 👍🏽 好\0é"
SAMPLING = Sampling(40, temperature=1.1, top_k=20, top_p=0.9, seed=2**40 + 9)
NAMES = ('a"\\', "好", "👍🏽", "\u0007$x")

RUST_WRITER = """
use language_model::{choose, read, Model, NAMES};

fn main() {
    let mut model = Model::new();
    let mut answer = None;
    for id in read("The 👍🏽 好\\0é") {
        print!("{id} ");
        answer = Some(model.push(&[id]).unwrap());
    }
    println!();
    let mut random = (1 << 40) + 9;
    for _ in 0..40 {
        let id = choose(&answer.unwrap().logits, 1.1, 20, 0.9, &mut random);
        print!("{}", NAMES[id as usize]);
        answer = Some(model.push(&[id]).unwrap());
    }
}
"""

JAVA_WRITER = """
package language_model;

import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

public final class Writer {
    public static void main(String[] none) {
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        try (Model model = new Model()) {
            float[] logits = null;
            for (long id : Model.read("The 👍🏽 好\\0é")) {
                out.print(id + " ");
                logits = model.push(new long[] {id}).logits();
            }
            out.println();
            long[] random = {(1L << 40) + 9};
            for (int left = 40; left > 0; left--) {
                int id = Model.choose(logits, 1.1f, 20, 0.9f, random);
                out.print(Model.NAMES[id]);
                logits = model.push(new long[] {id}).logits();
            }
        }
    }
}
"""


def written(bundle: Bundle) -> str:
    front_end = bundle.contract.front_end
    ids = characters(front_end, PROMPT, "text")  # type: ignore[arg-type]
    text = "".join(Pipeline(bundle).generate(PROMPT, SAMPLING))
    return f"{' '.join(map(str, ids))} \n{text}"


def run_rust(bundle: Bundle, place: Path, source: str) -> str:
    folder = place / "crate"
    integrate(bundle, "rust", folder)
    assert len((folder / "README.md").read_text().splitlines()) < 40
    (folder / "src" / "bin").mkdir()
    (folder / "src" / "bin" / "person.rs").write_text(source, encoding="utf-8")
    return cargo(folder, "run", "--bin", "person")


def run_java(bundle: Bundle, place: Path, source: str, name: str) -> str:
    folder = place / "java"
    integrate(bundle, "java", folder)
    assert len((folder / "README.md").read_text().splitlines()) < 40
    package = bundle.name.replace("-", "_")
    (folder / "src" / package / f"{name}.java").write_text(source, encoding="utf-8")
    make(folder, "JAVAC=javac -Werror -encoding UTF-8")
    options = ("-Djava.library.path=build", "-cp", "build/classes")
    return call("java", *options, f"{package}.{name}", cwd=folder).stdout


def test_rust_writes_what_generate_onnx_writes(bundle_of: BundleOf, tmp_path: Path) -> None:
    bundle = bundle_of("language-model")
    assert run_rust(bundle, tmp_path, RUST_WRITER) == written(bundle)


def test_java_writes_what_generate_onnx_writes(bundle_of: BundleOf, tmp_path: Path) -> None:
    bundle = bundle_of("language-model")
    assert run_java(bundle, tmp_path, JAVA_WRITER, "Writer") == written(bundle)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.core = nn.RNN(2, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.core(x)[0]
        return 5 * y


RUST_PERSON = {
    "labels": """
use small::{label, Model, NAMES};

fn main() {
    let mut model = Model::new();
    for frame in %s {
        let (best, probabilities) = label(&model.push(&frame).unwrap().logits);
        println!("{}\\t{:?}", NAMES[best], probabilities);
    }
}
""",
    "ctc": """
use small::{hear, Model};

fn main() {
    let mut model = Model::new();
    let mut before = -1;
    for frame in %s {
        print!("{}", hear(&model.push(&frame).unwrap().logits, &mut before).unwrap_or(""));
    }
}
""",
}
JAVA_PERSON = """
package small;

import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

public final class Person {
    public static void main(String[] none) {
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        long[] before = {-1};
        try (Model model = new Model()) {
            for (float[] frame : new float[][] %s) {
                float[] logits = model.push(frame).logits();
                %s
            }
        }
    }
}
"""
JAVA_TELLS = {
    "labels": (
        "String all = Arrays.toString(Model.probabilities(logits));"
        'out.printf("%s\\t%s%n", Model.label(logits), all);'
    ),
    "ctc": 'String heard = Model.hear(logits, before); out.print(heard == null ? "" : heard);',
}  # fmt: skip


@pytest.mark.parametrize("decoder", [LabelDecoder(NAMES), CtcDecoder(NAMES, blank=1)])
def test_labels_and_sounds_are_pythons(decoder: Decoder, tmp_path: Path) -> None:
    torch.manual_seed(2)
    module, x = Small().eval(), torch.randn(1, 30, 2) * 3
    axes = [("batch", "sequence", None)]
    bundle = rnn_edge.export(
        module, (x,), tmp_path / "small", axes=axes, output_names=["logits"], decoder=decoder
    )
    with torch.no_grad():
        logits = module(x)[0].numpy().astype(np.float64)
    rows = ", ".join(f"[{a!r}_f32, {b!r}_f32]" for a, b in x[0].tolist())
    rust = run_rust(bundle, tmp_path, RUST_PERSON[decoder.kind] % f"[{rows}]")
    rows = ", ".join(f"{{{a!r}f, {b!r}f}}" for a, b in x[0].tolist())
    told = JAVA_TELLS[decoder.kind]
    java = run_java(bundle, tmp_path, JAVA_PERSON % (f"{{{rows}}}", told), "Person")
    for output in (rust, java):
        if decoder.kind == "ctc":
            assert output == "".join(NAMES[label] for label in greedy(logits, 1).labels)
            continue
        lines = [line.split("\t") for line in output.split("\n")[:-1]]
        assert [label for label, _ in lines] == [NAMES[best] for best in logits.argmax(1)]
        found = np.array([list(map(float, told.strip("[]").split(","))) for _, told in lines])
        powers = np.exp(logits - logits.max(1, keepdims=True))
        np.testing.assert_allclose(
            found, powers / powers.sum(1, keepdims=True), rtol=2e-5, atol=1e-7
        )
