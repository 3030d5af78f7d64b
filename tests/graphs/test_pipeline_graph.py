"""pipeline.onnx answers as front end, eager torch and decoder do, whatever an app gives it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnn_edge
from rnn_edge.contract import (
    AudioFrontEnd,
    AxisLimits,
    CharacterFrontEnd,
    ClipFrontEnd,
    CtcDecoder,
    LabelDecoder,
    SeriesFrontEnd,
    TagDecoder,
    TextDecoder,
    ValueDecoder,
)
from rnn_edge.errors import ExportError, InputError, VerificationError
from rnn_edge.graphs.pipelines import derive_pipeline
from rnn_edge.models.forecaster import Forecaster
from rnn_edge.models.speech_recognizer import SpeechRecognizer
from rnn_edge.models.text_classifier import TextClassifier
from rnn_edge.pipelining import add_pipeline, write_pipeline
from rnn_edge.runtime.decoders import LabelAnswer
from rnn_edge.runtime.pipeline import Pipeline, Sample
from rnn_edge.verification.golden import read_golden_set, write_golden_set
from rnn_edge.verification.golden_calls import replay_golden_calls

VOCABULARY = ("<pad>", "<unk>", *"abc 好\U0001f600\r\n\u0301")
FRONT_END = CharacterFrontEnd(VOCABULARY, unknown=1, padding=0)
LABELS = ("bad", "good", "neither")
TEXTS = [
    "a good \U0001f600", "e\u0301\u0301", "one\r\ntwo", "\U0001f469\u200d\U0001f680", "\0a\0",
    "unseen \u4e8c", "b" * 10_000, "c",
]  # fmt: skip
STANDARD = {"", "ai.onnx.ml"}


class Classifier(nn.Module):
    """As the sentiment task has it, and a label for every character too."""

    def __init__(self) -> None:
        super().__init__()
        options: dict[str, Any] = {"cell": "gru", "embedding_size": 5, "hidden_size": 6}
        self.whole = TextClassifier(len(VOCABULARY), len(LABELS), **options)
        with torch.no_grad():
            self.whole.head.weight.mul_(8)

    def forward(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return self.whole(tokens, lengths)


class Characters(nn.Module):
    """A number for each character, and one more that the decoders read as places."""

    def __init__(self, shift: int) -> None:
        super().__init__()
        self.core = nn.GRU(1, 3, batch_first=True)
        self.shift = shift

    def forward(self, tokens: torch.Tensor, lengths: torch.Tensor) -> tuple[Any, Any]:
        steps = torch.arange(tokens.shape[1])
        inside = steps < lengths.unsqueeze(1)
        return (tokens + self.shift) % 4 * inside, self.core(tokens.unsqueeze(2).float())[0]


@pytest.fixture(scope="module")
def module() -> Classifier:
    torch.manual_seed(3)
    return Classifier().eval()


@pytest.fixture(scope="module")
def bundle(module: Classifier, tmp_path_factory: pytest.TempPathFactory) -> rnn_edge.Bundle:
    return export_texts(module, tmp_path_factory.mktemp("p") / "texts", LabelDecoder(LABELS))


@pytest.fixture(scope="module")
def portable(bundle: rnn_edge.Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("portable")
    model = onnx_ir.load(bundle.graph_path())
    part = add_pipeline(model, bundle.contract, rnn_edge.Session(bundle), portable=True)
    write_pipeline(folder, part, bundle.contract)
    return folder / "pipeline.onnx"


def export_texts(module: nn.Module, folder: Path, decoder: Any, names: Any = None) -> Any:
    return rnn_edge.export(
        module,
        (torch.arange(24).reshape(3, 8) % len(VOCABULARY), torch.tensor([5, 8, 2])),
        folder,
        axes=[("batch", "sequence"), ("batch",)],
        output_names=names or ["logits"],
        bounds={"tokens": (0, len(VOCABULARY) - 1)},
        front_end=FRONT_END,
        decoder=decoder,
        stream=False,
    )


def native(path: Path, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = rnn_edge.Session(path, trusted=True).native
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feed), strict=True))


def strings(texts: list[str]) -> dict[str, np.ndarray]:
    return {"text": np.array(texts, object).reshape(len(texts))}


def code_points(texts: list[str]) -> dict[str, np.ndarray]:
    points = [ord(character) for text in texts for character in text]
    lengths = np.array([len(text) for text in texts], np.int64)
    return {"code_points": np.array(points, np.int32), "lengths": lengths}


def eager(module: nn.Module, text: str) -> np.ndarray:
    ids = [VOCABULARY.index(c) if c in VOCABULARY else FRONT_END.unknown for c in text]
    with torch.no_grad():
        logits = module(torch.tensor([ids]), torch.tensor([len(ids)]))
    return logits.double().softmax(1).numpy()[0]


@pytest.mark.parametrize("form", ["strings", "code points"])
def test_texts_are_answered_as_eager_torch_answers_each(
    module: Classifier, bundle: rnn_edge.Bundle, portable: Path, form: str
) -> None:
    if form == "strings":
        found = native(bundle.graph_path("pipeline"), strings(TEXTS))
    else:
        found = native(portable, code_points(TEXTS))
    for row, text in enumerate(TEXTS):
        expected = eager(module, text)
        # A mean over so many steps, summed in float32 by both.
        allowed = 5e-5 if len(text) > 1000 else 2e-6
        np.testing.assert_allclose(found["probabilities"][row], expected, atol=allowed)
        assert found["label"][row] == LABELS[int(expected.argmax())]
        assert found["probability"][row] == found["probabilities"][row].max()


def test_the_portable_form_has_standard_operators_alone(
    bundle: rnn_edge.Bundle, portable: Path
) -> None:
    model = onnx.load(portable)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == STANDARD
    own = onnx.load(bundle.graph_path("pipeline"))
    assert {node.domain for node in own.graph.node} - STANDARD == {"com.microsoft"}


def test_a_row_answers_the_same_alone(bundle: rnn_edge.Bundle) -> None:
    path = bundle.graph_path("pipeline")
    texts = [text[:300] for text in TEXTS]
    together = native(path, strings(texts))
    for row, text in enumerate(texts):
        alone = native(path, strings([text]))
        np.testing.assert_allclose(
            alone["probabilities"][0], together["probabilities"][row], atol=1e-6
        )


def test_an_empty_text_has_no_answer_and_changes_no_other(
    bundle: rnn_edge.Bundle, portable: Path
) -> None:
    for path, give in ((bundle.graph_path("pipeline"), strings), (portable, code_points)):
        found, without = native(path, give(["", "ab", ""])), native(path, give(["ab"]))
        assert found["label"].tolist() == ["", without["label"][0], ""]
        assert np.isnan(found["probabilities"][[0, 2]]).all()
        np.testing.assert_allclose(found["probabilities"][1], without["probabilities"][0])


NOTHING = """
import sys, numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
for rows in (1, 0):
    feed = {}
    for spec in session.get_inputs():
        shape = [dim if isinstance(dim, int) else 0 for dim in spec.shape]
        if spec.shape == ["batch"]:
            shape = [rows]
        kind = {"tensor(string)": object, "tensor(int32)": np.int32, "tensor(int64)": np.int64}
        feed[spec.name] = np.zeros(shape, kind.get(spec.type, np.float32))
        if kind.get(spec.type) is object:
            feed[spec.name] = np.full(shape, "", object)
    print([len(output) for output in session.run(None, feed)])
"""


def survives_nothing(path: Path) -> None:
    # Where a guard is missing, ONNX Runtime ends the process.
    found = subprocess.run(
        [sys.executable, "-c", NOTHING, str(path)], capture_output=True, text=True, timeout=100
    )
    assert found.returncode == 0, found.stderr
    one, none = (eval(line) for line in found.stdout.splitlines())
    assert set(one) == {1}
    assert set(none) == {0}


def test_nothing_at_all_does_not_end_the_process(bundle: rnn_edge.Bundle, portable: Path) -> None:
    survives_nothing(bundle.graph_path("pipeline"))
    survives_nothing(portable)


def test_lengths_that_do_not_add_up_are_refused(portable: Path) -> None:
    feed = code_points(["abc", "a"])
    feed["lengths"] = np.array([3, 2])
    with pytest.raises(InputError, match=r"lengths must add up to the 4 characters of code_points"):
        rnn_edge.Session(portable).run(feed)
    with pytest.raises(Exception, match="Reshape"):
        native(portable, feed)


def test_the_readers_of_a_bundle_use_it(bundle: rnn_edge.Bundle, module: Classifier) -> None:
    pipeline = rnn_edge.runtime.Pipeline(bundle)
    samples = [pipeline.read_line(text, "x") for text in ("ab", "好" * 30, "c")]
    for sample, answer in zip(samples, pipeline.answer(samples), strict=True):
        np.testing.assert_allclose(answer.probabilities, eager(module, sample.excerpt), atol=2e-6)
    (last,) = pipeline.answer([pipeline.read_line("xyzab", "x").last(2)])
    np.testing.assert_allclose(last.probabilities, eager(module, "ab"), atol=2e-6)


def test_the_bundle_tells_of_it(bundle: rnn_edge.Bundle) -> None:
    assert bundle.evidence["pipeline"]["rows"] > 5
    assert bundle.evidence["pipeline"]["error"] < 1e-6
    assert "`pipeline.onnx`" in (bundle.path / "README.md").read_text()
    assert (bundle.path / "pipeline" / "test_data_set_0" / "input_0.pb").is_file()


def test_verify_replays_its_golden_calls(bundle: rnn_edge.Bundle, tmp_path: Path) -> None:
    assert rnn_edge.verify(bundle).golden_calls["pipeline"] == 1
    shutil.copytree(bundle.path, tmp_path / "other")
    graph = bundle.graph("pipeline")
    place = tmp_path / "other" / "pipeline"
    inputs, outputs = read_golden_set(place / "test_data_set_0", graph)
    shutil.rmtree(place / "test_data_set_0")
    outputs["label"][0] = "another"
    write_golden_set(place, 0, inputs, outputs)
    with pytest.raises(VerificationError, match="'label' of pipeline/test_data_set_0"):
        replay_golden_calls(replace(bundle, path=tmp_path / "other"))


def test_tags_are_words_and_end_with_the_text(tmp_path: Path) -> None:
    labels = ("O", "B-X", "I-X", "B-Y")
    bundle = export_texts(Characters(1), tmp_path / "b", TagDecoder(labels), ["tags", "more"])
    texts = ["abca", "", "好"]
    found = native(bundle.graph_path("pipeline"), strings(texts))
    assert found["lengths"].tolist() == [4, 0, 1]
    for row, text in enumerate(texts):
        places = [(VOCABULARY.index(character) + 1) % 4 for character in text]
        tags = [labels[place] for place in places]
        assert found["tags"][row].tolist() == [*tags, *[""] * (4 - len(text))]


def test_a_written_text_ends_before_its_end(tmp_path: Path) -> None:
    decoder = TextDecoder(("<end>", "p", "q", "\U0001f600"), end=0)
    bundle = export_texts(Characters(0), tmp_path / "b", decoder, ["ids", "more"])
    texts = ["abcab", "", "b", " a" * 2000]
    found = native(bundle.graph_path("pipeline"), strings(texts))["written"]
    for row, text in enumerate(texts):
        places = [VOCABULARY.index(character) % 4 for character in text]
        places = places[: places.index(0)] if 0 in places else places
        assert found[row] == "".join(decoder.vocabulary[place] for place in places)


class Scored(nn.Module):
    """Places and what stands for their log-probabilities, each its own."""

    def forward(self, tokens: torch.Tensor, lengths: torch.Tensor) -> tuple[Any, Any]:
        steps = torch.arange(tokens.shape[1])
        inside = steps < lengths.unsqueeze(1)
        return tokens % 4 * inside, (-0.5 * tokens - 0.01 * steps) * inside


def test_a_written_text_has_the_log_probability_of_its_characters_and_its_end(
    tmp_path: Path,
) -> None:
    decoder = TextDecoder(("<end>", "p", "q", "r"), end=0)
    bundle = export_texts(Scored(), tmp_path / "b", decoder, ["ids", "log_probabilities"])
    texts = ["abcab", "", "b", "b" * 300, "ab好 a好bb", "c"]
    found = native(bundle.graph_path("pipeline"), strings(texts))
    pipeline = rnn_edge.runtime.Pipeline(bundle)
    for row, text in enumerate(texts):
        places = [VOCABULARY.index(character) for character in text]
        ends = [step for step, place in enumerate(places) if place % 4 == 0]
        counted = places[: ends[0] + 1] if ends else places
        chance = sum(-0.5 * place - 0.01 * step for step, place in enumerate(counted))
        if not text:
            assert np.isnan(found["log_probability"][row])
            continue
        assert found["log_probability"][row] == pytest.approx(chance, rel=1e-5)
        (answer,) = pipeline.answer([pipeline.read_line(text, "x")])
        assert answer.to_dict()["log_probability"] == pytest.approx(chance, rel=1e-5)
    assert bundle.evidence["pipeline"]["rows"] > 5


def test_a_series_is_answered_in_its_units(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Forecaster([20.0, 5.0], [4.0, 2.0], [0.5, 0.1], hidden_size=4).eval()
    nn.init.normal_(module.head.weight)
    bundle = rnn_edge.export(
        module,
        (torch.randn(3, 9, 2), torch.tensor([5, 9, 2])),
        tmp_path / "b",
        axes=[("batch", "sequence", None), ("batch",)],
        output_names=["prediction"],
        front_end=SeriesFrontEnd(("heat", "wind"), (20.0, 5.0), (4.0, 2.0)),
        decoder=ValueDecoder(("heat", "wind")),
        stream=False,
    )
    random = np.random.default_rng(1)
    rows = [random.normal(20, 4, (n, 2)).astype(np.float32) for n in (7, 1, 0, 30, 4)]
    rows[4][2, 1] = np.nan
    feed = {"values": np.concatenate(rows), "lengths": np.array([len(row) for row in rows])}
    found = native(bundle.graph_path("pipeline"), feed)["prediction"]
    for row in (0, 1, 3):
        with torch.no_grad():
            expected = module(torch.from_numpy(rows[row][None]), torch.tensor([len(rows[row])]))
        np.testing.assert_allclose(found[row], expected[0], rtol=2e-6)
    assert np.isnan(found[[2, 4]]).all()
    survives_nothing(bundle.graph_path("pipeline"))


RATE, STRIDE = 8000, 160


@pytest.mark.parametrize("whole", [True, False])
def test_sound_of_any_length_becomes_the_text_that_eager_torch_hears(
    tmp_path: Path, whole: bool
) -> None:
    """Of a model that hears forwards alone too, which takes no lengths and streams."""
    torch.manual_seed(1)
    labels = ("", "a", "b", "\u0161")
    options = {"cell": "gru", "hidden_size": 8, "bidirectional": whole}
    module = SpeechRecognizer(RATE, [0.0] * 6, [1.0] * 6, 4, **options).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        module.head.weight.mul_(9)
    args = (0.1 * torch.randn(3, 9600), torch.tensor([9600, 5000, 3000]))
    bundle = rnn_edge.export(
        module,
        args if whole else args[:1],
        tmp_path / "b",
        axes=[("batch", "sequence"), ("batch",)][: 2 if whole else 1],
        output_names=["log_probabilities"],
        front_end=AudioFrontEnd(RATE),
        decoder=CtcDecoder(labels, 0, STRIDE),
        limits={"sequence": AxisLimits(2 * STRIDE)},
        stream=False,
    )
    random = np.random.default_rng(2)
    sounds = [random.normal(0, 0.2, int(seconds * RATE)) for seconds in (0.1, 1.3, 60)]
    sounds += [np.zeros(RATE), np.clip(random.normal(0, 3, RATE), -1, 1), sounds[1] + 0.5]
    sounds += [np.zeros(0), np.zeros(STRIDE)]
    sounds = [sound.astype(np.float32) for sound in sounds]
    feed = {"samples": np.concatenate(sounds), "lengths": np.array([*map(len, sounds)])}
    found = native(bundle.graph_path("pipeline"), feed)
    for row, sound in enumerate(sounds[:6]):
        with torch.no_grad():
            said = module(torch.from_numpy(sound[None]), torch.tensor([len(sound)]))[0]
        best = [place for place, _ in groupby(said.argmax(1).tolist())]
        assert found["text"][row] == "".join(labels[place] for place in best), row
        chance = float(said.double().max(1).values.sum())
        assert found["log_probability"][row] == pytest.approx(chance, rel=1e-4, abs=1e-3)
        begun = found["labels"][row] != ""
        assert "".join(found["labels"][row][begun]) == found["text"][row]
        assert not begun[len(said) :].any()
    assert found["text"][6:].tolist() == ["", ""]
    assert np.isnan(found["log_probability"][6:]).all()
    survives_nothing(bundle.graph_path("pipeline"))


def test_frames_of_clips_stand_one_after_the_other(tmp_path: Path) -> None:
    class Clips(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(0.01))

        def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            steps = torch.arange(frames.shape[1]) < lengths.unsqueeze(1)
            sums = (frames * steps[:, :, None, None]).sum((1, 2)) * self.scale
            return sums / lengths.unsqueeze(1)

    module = Clips()
    bundle = rnn_edge.export(
        module,
        (255 * torch.rand(3, 5, 4, 2), torch.tensor([5, 1, 3])),
        tmp_path / "b",
        axes=[("batch", "sequence", None, None), ("batch",)],
        output_names=["logits"],
        front_end=ClipFrontEnd(4, 2),
        decoder=LabelDecoder(("left", "right")),
        stream=False,
    )
    clips = [255 * torch.rand(n, 4, 2) for n in (2, 6, 1)]
    lengths = torch.tensor([2, 6, 1])
    found = native(
        bundle.graph_path("pipeline"),
        {"frames": torch.cat(clips).numpy(), "lengths": lengths.numpy()},
    )
    for row, clip in enumerate(clips):
        with torch.no_grad():
            expected = module(clip[None], lengths[row : row + 1]).softmax(1)[0]
        np.testing.assert_allclose(found["probabilities"][row], expected, atol=2e-6)


class Backwards(nn.Module):
    """Reads the whole text in both directions and takes no lengths: padding would change it."""

    def __init__(self, steps: bool) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.table = nn.Embedding(len(VOCABULARY), 5)
        self.core = nn.GRU(5, 4, batch_first=True, bidirectional=True)
        self.head = nn.Linear(8, len(LABELS))
        self.steps = steps

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        states, final = self.core(self.table(tokens))
        if self.steps:
            tags: torch.Tensor = self.head(states).argmax(2)
            return tags
        logits: torch.Tensor = self.head(torch.cat([*final], dim=1))
        return logits


@pytest.mark.parametrize("steps", [False, True])
def test_texts_of_a_model_without_lengths_are_read_one_by_one(tmp_path: Path, steps: bool) -> None:
    module = Backwards(steps).eval()
    bundle = rnn_edge.export(
        module,
        (torch.arange(24).reshape(3, 8) % len(VOCABULARY),),
        tmp_path / "b",
        axes=[("batch", "sequence")],
        bounds={"tokens": (0, len(VOCABULARY) - 1)},
        front_end=FRONT_END,
        decoder=TagDecoder(LABELS) if steps else LabelDecoder(LABELS),
        stream=False,
    )
    texts = ["abca", "", "\u597d", "b" * 300, "e\u0301 \U0001f600\r\n"]
    found = native(bundle.graph_path("pipeline"), strings(texts))
    for row, text in enumerate(texts):
        ids = [VOCABULARY.index(c) if c in VOCABULARY else 1 for c in text]
        with torch.no_grad():
            right = module(torch.tensor([ids], dtype=torch.int64))[0] if ids else None
        if steps:
            tags = [LABELS[place] for place in right.tolist()] if right is not None else []
            assert found["tags"][row].tolist() == [*tags, *[""] * (300 - len(text))]
        elif right is None:
            assert found["label"][row] == ""
            assert np.isnan(found["probabilities"][row]).all()
        else:
            np.testing.assert_allclose(found["probabilities"][row], right.softmax(0), atol=2e-6)
    nothing = native(bundle.graph_path("pipeline"), strings([]))
    assert all(len(array) == 0 for array in nothing.values())


class Steps(nn.Module):
    """Logits of every step, of rows with lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.core = nn.GRU(2, 4, batch_first=True, bidirectional=True)
        self.head = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        rows = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        logits: torch.Tensor = self.head(
            pad_packed_sequence(self.core(rows)[0], batch_first=True)[0]
        )
        return logits


def test_labels_of_steps_end_with_each_row(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Steps().eval()
    bundle = rnn_edge.export(
        module,
        (torch.randn(2, 9, 2), torch.tensor([9, 4])),
        tmp_path / "b",
        axes=[("batch", "sequence", None), ("batch",)],
        front_end=SeriesFrontEnd(("a", "b"), (0.0, 0.0), (1.0, 1.0)),
        decoder=LabelDecoder(("no", "yes")),
        stream=False,
    )
    random = np.random.default_rng(0)
    rows = [random.normal(size=(size, 2)).astype(np.float32) for size in (3, 7, 1)]
    samples = [Sample("", "", row) for row in rows]
    for row, answer in zip(rows, Pipeline(bundle).answer(samples), strict=True):
        assert isinstance(answer, LabelAnswer)
        right = module(torch.from_numpy(row)[None], torch.tensor([len(row)]))[0].softmax(1)
        np.testing.assert_allclose(answer.probabilities, right.detach(), atol=1e-5)
    told = bundle.graph("pipeline").counts
    assert told is not None
    assert (told.name, told.lengths_of, told.minimum) == ("lengths_n", "sequence", 0)


def test_what_has_no_form_is_told(bundle: rnn_edge.Bundle) -> None:
    model = onnx_ir.load(bundle.graph_path())
    without = rnn_edge.contract.Contract("x", bundle.contract.graphs, front_end=FRONT_END)
    with pytest.raises(ExportError, match="there is no decoder"):
        derive_pipeline(model, without)
    part = add_pipeline(model, without, rnn_edge.Session(bundle))
    assert part.graph is None
    assert "refused" in part.evidence
    model.graph.opset_imports[""] = 17
    model.graph.append(onnx_ir.node("Elsewhere", [model.graph.inputs[0]]))
    with pytest.raises(ExportError, match=r"opset 18 or newer, .* got opset 17: .*Elsewhere"):
        derive_pipeline(model, bundle.contract)
