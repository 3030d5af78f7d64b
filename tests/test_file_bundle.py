"""Bundles of .onnx files from elsewhere, against eager torch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from test_bundle_schema import VALIDATOR
from test_pipeline_file import AXES, MFCC, Heard, Read, foreign
from torch import Tensor, nn

import rnn_edge
from rnn_edge.cli.main import program
from rnn_edge.contract import CharacterFrontEnd, CtcDecoder, LabelDecoder, NextCharacterDecoder
from rnn_edge.errors import BundleError, InputError
from rnn_edge.file_bundle import write_file_bundle
from rnn_edge.integration import integrate
from rnn_edge.models.log_mel import SoundFeaturesModule
from rnn_edge.pipeline_file import derive_pipeline

LABELS = LabelDecoder(("no", "maybe", "yes"))
VOCABULARY = CharacterFrontEnd(("<pad>", "<unk>", "a", "\u597d", "\n", " "), 1, 0)


class Each(Heard):
    """Labels of every frame, of rows without lengths."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return self.head(self.core(x)[0]).log_softmax(2)


class Writer(nn.Module):
    """What follows each character; the state is its own, or comes in and out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(9)
        self.table = nn.Embedding(6, 8)
        self.core = nn.GRU(8, 9, batch_first=True)
        self.head = nn.Linear(9, 6)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        y, h_n = self.core(self.table(x), h)
        logits: Tensor = 4 * self.head(y)
        return logits if h is None else (logits, h_n)


@pytest.mark.parametrize("has_state", [False, True])
def test_a_language_model_writes_texts(has_state: bool, tmp_path: Path) -> None:
    module, path = Writer().eval(), tmp_path / "writer.onnx"
    axes = {"x": {0: "N", 1: "T"}, "y": {0: "N", 1: "T"}}
    torch.onnx.export(
        module,
        (torch.ones(2, 4, dtype=torch.int64), *([torch.zeros(1, 2, 9)] if has_state else [])),
        path, dynamo=False, opset_version=18,
        input_names=["x", "h"][: 1 + has_state], output_names=["y", "h_n"][: 1 + has_state],
        dynamic_axes=axes | ({"h": {1: "N"}, "h_n": {1: "N"}} if has_state else {}),
    )  # fmt: skip
    bundle = write_file_bundle(
        path, tmp_path / "out", front_end=VOCABULARY, decoder=NextCharacterDecoder((0, 1)),
        axes=AXES, states={"h": "h_n"} if has_state else None,
    )  # fmt: skip
    VALIDATOR.validate(json.loads((bundle.path / "bundle.json").read_text()))
    rnn_edge.verify(bundle)
    ids, written = [2, 3], ""
    for _ in range(12):
        with torch.no_grad():
            logits = module(torch.tensor([ids]))[0, -1]
        ids.append(2 + int(logits[2:].argmax()))
        written += VOCABULARY.vocabulary[ids[-1]]
    how = rnn_edge.runtime.generation.Sampling(length=12, temperature=0)
    assert "".join(rnn_edge.runtime.Pipeline(bundle).generate("a\u597d", how)) == written
    texts = rnn_edge.Session(bundle, graph="pipeline")
    feed = {"prompt": ["a\u597d"], "max_new": 12, "temperature": 0.0, "seed": np.array([1])}
    assert texts.run_named(feed)["text"].tolist() == [written]


@pytest.fixture
def read(tmp_path: Path) -> Path:
    return foreign(Read(), torch.ones(2, 4, dtype=torch.int64), tmp_path / "read.onnx")


def test_texts_of_a_bundle_are_answered(read: Path, tmp_path: Path) -> None:
    bundle = write_file_bundle(
        read, tmp_path / "texts", front_end=VOCABULARY, decoder=LABELS, lengths="n", axes=AXES
    )
    VALIDATOR.validate(json.loads((bundle.path / "bundle.json").read_text()))
    assert rnn_edge.verify(bundle).golden_calls["pipeline"] == 1
    assert bundle.graph().inputs[0].maximum == 5
    pipeline = rnn_edge.runtime.Pipeline(bundle)
    texts = ["a\u597d \n?", "\U0001f600"]
    samples = [pipeline.read_line(text, "x") for text in texts]
    for answer, ids in zip(pipeline.answer(samples), ([2, 3, 5, 4, 1], [1]), strict=True):
        with torch.no_grad():
            right = Read().eval()(torch.tensor([ids]), torch.tensor([len(ids)])).softmax(1)[0]
        np.testing.assert_allclose(answer.probabilities, right, atol=1e-6)  # type: ignore[union-attr]
    stream = rnn_edge.StreamSession(bundle)
    for ids in ([2, 3, 5], [4, 1]):
        (logits,) = stream.push(np.array([ids]))
    with torch.no_grad():
        right = Read().eval()(torch.tensor([[2, 3, 5, 4, 1]]), torch.tensor([5]))
    np.testing.assert_allclose(logits, right, atol=1e-6)
    integrate(bundle, "node", tmp_path / "node")


def test_a_bundle_of_sound_streams(tmp_path: Path) -> None:
    module, path = Each().eval(), tmp_path / "each.onnx"
    torch.onnx.export(
        module, (torch.randn(2, 4, 6),), path, dynamo=False, opset_version=18,
        input_names=["x"], output_names=["y"],
        dynamic_axes={"x": {0: "N", 1: "T"}, "y": {0: "N", 1: "T"}},
    )  # fmt: skip
    bundle = write_file_bundle(
        path, tmp_path / "sound", front_end=MFCC, decoder=CtcDecoder(("", "a", "b")), axes=AXES
    )
    VALIDATOR.validate(json.loads((bundle.path / "bundle.json").read_text()))
    assert rnn_edge.verify(bundle).golden_chunks is not None
    sound = np.random.default_rng(1).normal(0, 0.2, (1, 2500)).astype(np.float32)
    with torch.no_grad():
        right = module(SoundFeaturesModule(MFCC)(torch.from_numpy(sound)))[0]
    stream = rnn_edge.StreamSession(bundle)
    parts = [np.asarray(stream.push(sound[:, at : at + 333])[0])[0] for at in range(0, 2500, 333)]
    np.testing.assert_allclose(np.concatenate(parts), right, atol=2e-4)


def test_the_command_writes_one(read: Path, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("<pad>\n<unk>\na\n\u597d\n\\n\n\\s\n", encoding="utf-8")
    (tmp_path / "labels.txt").write_text("no\nmaybe\nyes\n")
    names = ["--vocab", f"{tmp_path}/vocab.txt", "--labels", f"{tmp_path}/labels.txt"]
    axes = ["--lengths", "n", "--axis", "N=batch", "--axis", "T=sequence"]
    command = ["pipeline", str(read), *names, *axes, "--bundle", "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(program, command)
    assert result.exit_code == 0, result.output
    assert "Wrote stream.onnx" in result.output
    assert "text: string[batch] in" in result.output
    run = CliRunner().invoke(program, ["run", str(tmp_path / "out"), "--text", "a\u597d"])
    assert run.exit_code == 0, run.output


def test_what_has_no_pipeline_writes_nothing(read: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--lengths n"):
        write_file_bundle(read, tmp_path / "out", front_end=VOCABULARY, decoder=LABELS, axes=AXES)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="--bundle"):
        derive_pipeline(read, front_end=VOCABULARY, decoder=NextCharacterDecoder())
    with pytest.raises(BundleError):
        write_file_bundle(
            read, tmp_path, front_end=VOCABULARY, decoder=LABELS, lengths="n", axes=AXES
        )
