"""A language model of bytes writes the same text of a seed everywhere, whole characters alone."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from pathlib import Path

import native_programs
import numpy as np
import onnxruntime
import programs
import torch
from host_bundles import ByteWriter, randomized
from test_node import NODE, node_program
from test_web import SELF_TEST, drive, page_of
from toolchain import call

import rnn_edge
from rnn_edge.bundle import Bundle
from rnn_edge.integration import integrate
from rnn_edge.runtime.generation import generate

BundleOf = Callable[[str], Bundle]
PROMPTS = ["The ", "", "\u597d\U0001f600", "e\u0301\r\n"]


def test_the_graph_writes_what_eager_torch_writes(bundle_of: BundleOf) -> None:
    bundle = bundle_of("byte-writer")
    torch.manual_seed(1)
    module = randomized(ByteWriter()).double()
    session = rnn_edge.Session(bundle, graph="pipeline")
    parts = [text.encode() for text in PROMPTS]
    feed = {
        "bytes": np.frombuffer(b"".join(parts), np.uint8),
        "lengths": np.array([*map(len, parts)]),
        "seed": np.arange(4),
        "temperature": 0.0,
        "max_new": 41,
    }
    found = session.run_named(feed)
    for row, part in enumerate(parts):
        ids, state, written = list(part or b"\n"), torch.zeros(1, 1, 8).double(), b""
        for _ in range(41):
            with torch.no_grad():
                logits, state = module(torch.tensor([ids]) + 1, state)
            ids = [int(logits[0, -1, 1:257].argmax())]
            written += bytes(ids)
        assert bytes((found["generated"][row] - 1).tolist()) == written
        # Without the unfinished character at the end.
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        assert found["text"][row] == decoder.decode(written)
    assert bundle.contract.decoder.never == (0, 257, 258)  # type: ignore[union-attr]


def test_python_writes_the_same_by_every_graph(bundle_of: BundleOf) -> None:
    bundle = bundle_of("byte-writer")
    greedy = programs.greedy_text(bundle, "The ", 50)
    how = rnn_edge.runtime.generation.Sampling(length=50, temperature=0)
    contract = bundle.contract
    session = rnn_edge.Session(bundle)
    assert greedy == "".join(
        generate(session, contract.front_end, contract.decoder, "The ", how)  # type: ignore[arg-type]
    )
    # Parts of 16 that end amid a character give what one run gives.
    session = rnn_edge.Session(bundle, graph="pipeline")
    feed = {"bytes": np.frombuffer(b"The ", np.uint8), "lengths": np.array([4])}
    options = {"temperature": 0.8, "top_k": 5, "seed": np.array([3]), "max_new": 50}
    (text,) = session.run_named(feed | options)["text"]
    assert text == programs.drawn_text(bundle, "The ", 50) != greedy
    assert max(len(letter.encode()) for letter in text) > 1


def test_c_writes_it(bundle_of: BundleOf, runtime: Path, tmp_path: Path) -> None:
    """The program in C++ calls the same C."""
    bundle = bundle_of("byte-writer")
    program = native_programs.build(bundle, "c", tmp_path / "c", runtime)
    native_programs.check_answers(program, bundle, tmp_path)


def test_node_writes_it(bundle_of: BundleOf, tmp_path: Path) -> None:
    bundle = bundle_of("byte-writer")
    folder = node_program(bundle, tmp_path / "node")
    assert "outputs right" in call(*NODE, "self-test", cwd=folder).stdout
    how = ("--length", "30", "--seed", "3", "--top-k", "5", "--temperature", "0.8")
    drawn = call(*NODE, "generate", "The ", *how, cwd=folder).stdout
    assert drawn == programs.drawn_text(bundle, "The ", 30) + "\n"


def test_a_page_writes_it(bundle_of: BundleOf, tmp_path: Path) -> None:
    bundle = bundle_of("byte-writer")
    code = """(async () => {
        const { generate, load } = await import("/index.js");
        const how = { length: 60, temperature: 0.8, topK: 5, seed: 3 };
        let text = "";
        for await (const character of generate(await load(), "The ", how)) text += character;
        return text;
    })()"""
    folder = page_of(bundle, tmp_path / "web")
    report, text = drive(folder, [*SELF_TEST, ["evaluate", code]])
    assert "outputs right" in report
    assert text == programs.drawn_text(bundle, "The ", 60)


def test_its_graphs_have_an_ort_format(bundle_of: BundleOf, tmp_path: Path) -> None:
    bundle = bundle_of("byte-writer")
    integrate(bundle, "ort-mobile", tmp_path / "mobile")
    feed = rnn_edge.Session(bundle, graph="pipeline").fill(
        {"bytes": np.frombuffer(b"a", np.uint8), "lengths": np.array([1]), "seed": np.array([4])}
    )
    texts = [
        onnxruntime.InferenceSession(path).run(["text"], feed)[0].tolist()
        for path in (bundle.graph_path("pipeline"), tmp_path / "mobile" / "pipeline.ort")
    ]
    assert texts[0] == texts[1]
