"""Front ends and decoders around .onnx files from elsewhere, against eager torch and formulas."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from rnn_edge.cli.main import program
from rnn_edge.contract import CtcDecoder, LabelDecoder
from rnn_edge.errors import ExportError, InputError
from rnn_edge.models.log_mel import SoundFeaturesModule
from rnn_edge.pipeline_file import derive_pipeline
from rnn_edge.sound_features import SoundFeatures

MFCC = SoundFeatures(8000, n_mels=8, window=200, hop=80, n_mfcc=6, lifter=22, padding=40)


class Heard(nn.Module):
    """The last state of each row over its own frames, as another exporter writes it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.core = nn.GRU(6, 5, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor, n: Tensor) -> Tensor:
        y, _ = self.core(x)
        last = (n - 1).view(-1, 1, 1).expand(-1, 1, 5)
        logits: Tensor = self.head(y.gather(1, last)[:, 0])
        return logits


class Frames(Heard):
    """Numbers of every frame, those behind the end of a row among them."""

    def forward(self, x: Tensor, n: Tensor) -> Tensor:
        return self.head(self.core(x)[0]).log_softmax(2) + 0 * n.view(-1, 1, 1)


class Fewer(Frames):
    """A third of the frames, each of five."""

    def __init__(self) -> None:
        super().__init__()
        self.near = nn.Conv1d(6, 6, 5, stride=3, padding=2)

    def forward(self, x: Tensor, n: Tensor) -> Tensor:
        return super().forward(self.near(x.transpose(1, 2)).transpose(1, 2), n)


class Read(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.table = nn.Embedding(6, 6)
        self.rest = Heard()

    def forward(self, x: Tensor, n: Tensor) -> Tensor:
        logits: Tensor = self.rest(self.table(x), n)
        return logits


def foreign(module: nn.Module, example: Tensor, path: Path) -> Path:
    """Written by torch's older exporter, axes called N and T."""
    module.eval()
    torch.onnx.export(
        module, (example, torch.tensor([4, 2])), path, dynamo=False, opset_version=18,
        input_names=["x", "n"], output_names=["logits"],
        dynamic_axes={"x": {0: "N", 1: "T"}, "n": {0: "N"}, "logits": {0: "N"}},
    )  # fmt: skip
    return path


@pytest.fixture
def heard(tmp_path: Path) -> Path:
    return foreign(Heard(), torch.randn(2, 4, 6), tmp_path / "heard.onnx")


AXES = {"N": "batch", "T": "sequence"}


def test_coefficients_of_sound_stand_before_any_file(heard: Path) -> None:
    decoder = LabelDecoder(("no", "maybe", "yes"))
    made = derive_pipeline(heard, front_end=MFCC, decoder=decoder, lengths="n", axes=AXES)
    random, module = np.random.default_rng(1), Heard().eval()
    sounds = [random.normal(0, 0.2, n).astype(np.float32) for n in (160, 8000, 931)]
    session = onnxruntime.InferenceSession(made.path)
    feed = {"samples": np.concatenate(sounds), "lengths": np.array([*map(len, sounds)])}
    labels, _, probabilities = session.run(None, feed)
    for row, sound in enumerate(sounds):
        features = SoundFeaturesModule(MFCC).double()(torch.from_numpy(sound[None]).double())
        with torch.no_grad():
            given = features.float(), torch.tensor([features.shape[1]])
            right = module(*given).softmax(1)[0]
        np.testing.assert_allclose(probabilities[row], right, atol=2e-4)
        assert labels[row] == decoder.labels[int(right.argmax())]


def test_texts_and_labels_by_the_command(tmp_path: Path) -> None:
    path = foreign(Read(), torch.ones(2, 4, dtype=torch.int64), tmp_path / "read.onnx")
    (tmp_path / "vocab.txt").write_text("<pad>\n<unk>\na\n\u597d\n\\n\n\\s\n", encoding="utf-8")
    (tmp_path / "labels.txt").write_text("no\nmaybe\nyes\n")
    names = ["--vocab", f"{tmp_path}/vocab.txt", "--labels", f"{tmp_path}/labels.txt"]
    axes = ["--lengths", "n", "--axis", "N=batch", "--axis", "T=sequence"]
    result = CliRunner().invoke(program, ["pipeline", str(path), *names, *axes])
    assert result.exit_code == 0, result.output
    assert "in   text: string[batch]" in result.output
    session = onnxruntime.InferenceSession(tmp_path / "read.pipeline.onnx")
    texts = ["a\u597d \n?", "\U0001f600", ""]
    labels, _, probabilities = session.run(None, {"text": np.array(texts, object)})
    for row, ids in enumerate(([2, 3, 5, 4, 1], [1])):
        with torch.no_grad():
            right = Read().eval()(torch.tensor([ids]), torch.tensor([len(ids)])).softmax(1)[0]
        np.testing.assert_allclose(probabilities[row], right, atol=1e-6)
    assert labels[2] == ""
    assert np.isnan(probabilities[2]).all()


@pytest.mark.parametrize("kind", [Frames, Fewer])
def test_sounds_of_other_lengths_change_no_transcript(kind: type[Frames], tmp_path: Path) -> None:
    path = foreign(kind(), torch.randn(2, 4, 6), tmp_path / "frames.onnx")
    decoder = CtcDecoder(("", "a", "b"))
    made = derive_pipeline(path, front_end=MFCC, decoder=decoder, lengths="n", axes=AXES)
    random = np.random.default_rng(1)
    sounds = [random.normal(0, 0.2, n).astype(np.float32) for n in (160, 4000, 931)]
    session = onnxruntime.InferenceSession(made.path)
    feed = {"samples": np.concatenate(sounds), "lengths": np.array([*map(len, sounds)])}
    texts, _, chances = session.run(None, feed)
    for row, sound in enumerate(sounds):
        features = SoundFeaturesModule(MFCC).double()(torch.from_numpy(sound[None]).double())
        with torch.no_grad():
            likely = kind().eval()(features.float(), torch.tensor([features.shape[1]]))[0]
        said = [label for label, _ in groupby(likely.argmax(1).tolist()) if label]
        assert texts[row] == "".join(decoder.labels[label] for label in said)
        np.testing.assert_allclose(chances[row], likely.max(1).values.sum(), rtol=1e-4, atol=1e-4)


def test_what_padding_would_change_is_refused(tmp_path: Path) -> None:
    path = foreign(Frames(), torch.randn(2, 4, 6), tmp_path / "frames.onnx")
    decoder = LabelDecoder(("a", "b", "c"))
    with pytest.raises(ExportError, match="pipeline"):
        derive_pipeline(path, front_end=MFCC, decoder=decoder, lengths="n", axes=AXES)
    assert not (tmp_path / "frames.pipeline.onnx").exists()


def test_export_names_the_commands_for_such_files(heard: Path) -> None:
    result = CliRunner().invoke(program, ["export", str(heard)])
    assert result.exit_code == 2
    assert "rnn-edge pipeline" in result.output


def test_other_features_and_axes_are_refused_in_a_line(heard: Path) -> None:
    decoder = LabelDecoder(("no", "maybe", "yes"))
    with pytest.raises(ExportError, match="frames, 40"):
        derive_pipeline(
            heard, front_end=SoundFeatures(8000), decoder=decoder, lengths="n", axes=AXES
        )
    with pytest.raises(InputError, match="axes must be among"):
        derive_pipeline(heard, front_end=None, decoder=decoder, axes={"B": "batch"})
