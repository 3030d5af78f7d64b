"""Vocabularies, labels and front ends that a person names, and the bundles that come of them."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import rnn_edge
from rnn_edge.cli.main import program
from rnn_edge.contract import (
    AudioFrontEnd,
    ByteFrontEnd,
    CtcDecoder,
    LabelDecoder,
    NextCharacterDecoder,
    TextDecoder,
    ValueDecoder,
)
from rnn_edge.errors import InputError, VerificationError
from rnn_edge.models.log_mel import LogMel, Mfcc, SoundFeaturesModule
from rnn_edge.sound_features import SoundFeatures, read_sound_features
from rnn_edge.source.descriptions import (
    read_decoder,
    read_entries,
    read_front_end,
    read_vocabulary,
)

NET = """
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

class Heard(nn.Module):
    def __init__(self, size=6):
        super().__init__()
        torch.manual_seed(4)
        self.core = nn.GRU(size, 5, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.head(self.core(packed)[1][0])

class Each(Heard):
    def forward(self, x):
        return self.head(self.core(x)[0])

class Spelled(Heard):
    def __init__(self):
        super().__init__(5)

    def forward(self, x, lengths):
        return self.head(self.core(x)[0]).log_softmax(2) + 0 * lengths.view(-1, 1, 1)

class Halved(Heard):
    def __init__(self):
        super().__init__(4)
        self.near = nn.Conv1d(5, 4, 3, stride=2, padding=1)

    def forward(self, x, lengths):
        rows = self.near(x.transpose(1, 2)).transpose(1, 2)
        return self.head(self.core(rows)[0]).log_softmax(2) + 0 * lengths.view(-1, 1, 1)

class Packed(Heard):
    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        rows, _ = pad_packed_sequence(self.core(packed)[0], batch_first=True)
        return self.head(rows)

class Likely(Heard):
    def forward(self, x, lengths):
        return super().forward(x, lengths).softmax(-1)

class Read(nn.Module):
    def __init__(self, size=6):
        super().__init__()
        torch.manual_seed(4)
        self.table = nn.Embedding(size, 4)
        self.rest = Heard(4)

    def forward(self, tokens, lengths):
        return self.rest(self.table(tokens), lengths)

class Bytes(Read):
    def __init__(self):
        super().__init__(258)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET)
    Path("labels.txt").write_text("no\nmaybe\nyes\n")
    Path("vocab.txt").write_text("<pad>\n<unk>\na\n\u597d\n\\n\n\\s\n", encoding="utf-8")
    return tmp_path


def expected_features(
    samples: np.ndarray, rate: int, window: int, hop: int, size: int
) -> np.ndarray:
    """By the fast Fourier transform, float64, one frame after the other."""
    count = (len(samples) - window) // hop + 1
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    frames = np.stack([samples[n * hop : n * hop + window] * hann for n in range(count)])
    power = np.abs(np.fft.rfft(frames, size)) ** 2
    top = 2595 * np.log10(1 + rate / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, 8) / 2595) - 1)
    frequencies = np.arange(size // 2 + 1) * rate / size
    rows = [
        np.interp(frequencies, corners[n : n + 3], [0, 1, 0], left=0, right=0) for n in range(6)
    ]
    return np.log(power @ np.stack(rows).T + 1e-6)


@pytest.mark.parametrize(("window", "hop", "size"), [(200, 80, 200), (200, 80, 256)])
def test_log_mel_is_what_the_formula_says(window: int, hop: int, size: int) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 1777)
    features = LogMel(8000, 6, window, hop, size)
    found = features(torch.from_numpy(samples[None]).float())[0].numpy()
    right = expected_features(samples, 8000, window, hop, size)
    np.testing.assert_allclose(found, right, atol=2e-4)
    assert int(features.frame_counts(torch.tensor(1777))) == len(right)


def cosine_transform(rows: np.ndarray) -> np.ndarray:
    """Orthonormal, type 2: half the Fourier transform of each row and its mirror image."""
    size = rows.shape[1]
    both = np.fft.fft(np.concatenate([rows, rows[:, ::-1]], axis=1))[:, :size]
    turned = (both * np.exp(-0.5j * np.pi * np.arange(size) / size)).real / 2
    turned[:, 0] /= np.sqrt(2)
    return np.asarray(turned * np.sqrt(2 / size))


@pytest.mark.parametrize("lifter", [0, 22])
def test_mfcc_is_what_the_formula_says(lifter: int) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 1777)
    features = Mfcc(8000, 5, n_mels=6, window=200, hop=80, lifter=lifter)
    found = features(torch.from_numpy(samples[None]).float())[0].numpy()
    right = cosine_transform(expected_features(samples, 8000, 200, 80, 200))[:, :5]
    weights = 1 + lifter / 2 * np.sin(np.pi * np.arange(5) / (lifter or 1))
    np.testing.assert_allclose(found / weights, right, atol=2e-4)


def export(*arguments: str) -> rnn_edge.Bundle:
    result = CliRunner().invoke(program, ["export", *arguments, "-o", "bundle"])
    assert result.exit_code == 0, result.output
    return rnn_edge.Bundle.load("bundle")


def load(name: str) -> nn.Module:
    found: dict[str, type[nn.Module]] = {"__name__": "net"}  # type: ignore[dict-item]
    exec(NET, found)
    return found[name]().eval()


def test_a_module_of_features_takes_sound(place: Path) -> None:
    front_end = "log-mel:8000,n_mels=6,window=200,hop=80"
    shape = "x:float32[batch,sequence,6]"
    arguments = ["--input", shape, "--input", "lengths:int64[batch]", "--front-end", front_end]
    bundle = export("net.py:Heard", *arguments, "--labels", "labels.txt")
    module, random = load("Heard"), np.random.default_rng(1)
    sounds = [random.normal(0, 0.2, n).astype(np.float32) for n in (200, 8000, 931)]
    session = rnn_edge.Session(bundle, graph="pipeline")
    found = session.run_named(
        {"samples": np.concatenate(sounds), "lengths": np.array([*map(len, sounds)])}
    )
    for row, sound in enumerate(sounds):
        features = expected_features(sound.astype(float), 8000, 200, 80, 200)
        given = torch.from_numpy(features[None]).float()
        with torch.no_grad():
            right = module(given, torch.tensor([len(features)])).softmax(1)[0]
        np.testing.assert_allclose(found["probabilities"][row], right, atol=2e-4)
        assert found["label"][row] == ("no", "maybe", "yes")[int(right.argmax())]
    # What reads features is compared behind them.
    assert rnn_edge.verify(bundle, module).cases
    with torch.no_grad():
        module.head.bias += 0.1
    with pytest.raises(VerificationError, match="outside the recurrent layers"):
        rnn_edge.verify(bundle, module)


def test_objects_say_what_options_say(place: Path) -> None:
    features = SoundFeatures(8000, n_mels=6, window=200, hop=80, low=20.5, padding=30)
    examples = (torch.randn(2, 9, 6),)
    rows = [("batch", "sequence", None)]
    bundle = rnn_edge.export(
        load("Each"), examples, "bundle", axes=rows, front_end=features, stream=True
    )
    front_end = bundle.contract.front_end
    assert front_end == AudioFrontEnd(8000, features.text)
    assert read_sound_features(features.text) == features
    sound = torch.randn(1, 1000)
    with torch.no_grad():
        right = load("Each")(SoundFeaturesModule(features)(sound))
    (found,) = rnn_edge.Session(bundle).run(sound.numpy())
    np.testing.assert_allclose(found, right, atol=2e-4)
    assert rnn_edge.verify(bundle, load("Each")).chunks is not None
    for given in ((torch.randn(2, 9, 5),), (*examples, torch.randn(2, 9))):
        with pytest.raises(InputError, match=r"float32\[batch, frames, 6\]"):
            rnn_edge.export(load("Each"), given, "other", axes=rows, front_end=features)


@pytest.mark.parametrize(("name", "stride"), [("Spelled", 80), ("Halved", 160)])
def test_what_is_heard_does_not_depend_on_other_sounds(place: Path, name: str, stride: int) -> None:
    shape = ["--input", "x:float32[batch,sequence,5]", "--input", "lengths:int64[batch]"]
    front_end = "mfcc:8000,n_mfcc=5,n_mels=6,window=200,hop=80"
    names = ["--front-end", front_end, "--labels", "labels.txt", "--decoder", "ctc"]
    bundle = export(f"net.py:{name}", *shape, *names)
    module, random = load(name), np.random.default_rng(1)
    assert isinstance(bundle.contract.decoder, CtcDecoder)
    assert bundle.contract.decoder.stride == stride
    sounds = [random.normal(0, 0.2, n).astype(np.float32) for n in (200, 8000, 931)]
    session = rnn_edge.Session(bundle, graph="pipeline")
    found = session.run_named(
        {"samples": np.concatenate(sounds), "lengths": np.array([*map(len, sounds)])}
    )
    for row, sound in enumerate(sounds):
        bands = expected_features(sound.astype(float), 8000, 200, 80, 200)
        features = torch.from_numpy(cosine_transform(bands)[None, :, :5]).float()
        with torch.no_grad():
            likely = module(features, torch.tensor([features.shape[1]]))[0]
        said = [label for label, _ in groupby(likely.argmax(1).tolist()) if label]
        assert found["text"][row] == "".join(("", "maybe", "yes")[label] for label in said)
        total = float(likely.max(1).values.sum())
        assert found["log_probability"][row] == pytest.approx(total, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize(
    ("more", "late"), [("", 0), (",center=zeros,mel_scale=slaney,log=db,preemphasis=0.97", 2)]
)
def test_features_of_a_stream_are_those_of_the_whole_sound_in_any_chunks(
    place: Path, more: str, late: int
) -> None:
    shape = ["--input", "x:float32[batch,sequence,6]"]
    front_end = f"log-mel:8000,n_mels=6,window=200,hop=80{more}"
    bundle = export("net.py:Each", *shape, "--front-end", front_end)
    rule = bundle.graph("stream").stream
    assert rule is not None
    assert rule.latency == late
    sound = np.random.default_rng(2).normal(0, 0.2, (1, 2600)).astype(np.float32)
    features = SoundFeaturesModule(read_sound_features(front_end)).double()
    with torch.no_grad():
        given = features(torch.from_numpy(sound).double())
        right = load("Each")(given.float())[0].numpy()
    for sizes in ([1] * 300 + [7, 80, 200, 1, 2012], [2600], [199, 1, 2400]):
        stream = rnn_edge.StreamSession(bundle)
        ends = np.cumsum(sizes)
        parts = [stream.push(sound[:, end - n : end]) for n, end in zip(sizes, ends, strict=True)]
        found = np.concatenate([np.asarray(part[0])[0] for part in parts])
        # At the end of this sound, so many frames reach beyond it.
        assert len(right) - late <= len(found) <= len(right)
        np.testing.assert_allclose(found, right[: len(found)], atol=2e-4)


def test_a_module_of_features_and_their_lengths_streams(place: Path) -> None:
    shape = ["--input", "x:float32[batch,sequence,6]", "--input", "lengths:int64[batch]"]
    bundle = export(
        "net.py:Packed", *shape, "--front-end", "log-mel:8000,n_mels=6,window=200,hop=80"
    )
    sound = np.random.default_rng(2).normal(0, 0.2, (2, 2600)).astype(np.float32)
    features = SoundFeaturesModule(SoundFeatures(8000, n_mels=6, window=200, hop=80))
    with torch.no_grad():
        given = features(torch.from_numpy(sound))
        right = load("Packed")(given, torch.tensor([given.shape[1]] * 2)).numpy()
    stream = rnn_edge.StreamSession(bundle, batch=2)
    ends = np.cumsum([1] * 250 + [7, 80, 200, 2063])
    found = [stream.push(part)[0] for part in np.split(sound, ends, axis=1)[:-1]]
    np.testing.assert_allclose(np.concatenate(found, axis=1), right, atol=2e-4)


def test_a_module_of_ids_takes_texts(place: Path) -> None:
    shape = "tokens:int64[batch,sequence]<6"
    arguments = ["--input", shape, "--input", "lengths:int64[batch]", "--vocab", "vocab.txt"]
    bundle = export("net.py:Read", *arguments, "--labels", "labels.txt", "--portable")
    pipeline = rnn_edge.runtime.Pipeline(bundle)
    (answer,) = pipeline.answer([pipeline.read_line("a\u597d \n?", "x")])
    with torch.no_grad():
        right = load("Read")(torch.tensor([[2, 3, 5, 4, 1]]), torch.tensor([5])).softmax(1)[0]
    np.testing.assert_allclose(answer.probabilities, right, atol=1e-6)
    assert bundle.graph("pipeline").inputs[0].name == "code_points"


def test_a_module_of_bytes_takes_texts(place: Path) -> None:
    shape = ["--input", "tokens:int64[batch,sequence]<258", "--input", "lengths:int64[batch]"]
    front_end = ["--front-end", "bytes:offset=2,padding=1"]
    bundle = export("net.py:Bytes", *shape, *front_end, "--labels", "labels.txt")
    assert bundle.contract.front_end == ByteFrontEnd(offset=2, padding=1)
    texts = ["a\u597d \n?", "", "e\u0301\r\n\U0001f600\0"]
    parts = [text.encode() for text in texts]
    session = rnn_edge.Session(bundle, graph="pipeline")
    given = np.frombuffer(b"".join(parts), np.uint8)
    found = session.run_named({"bytes": given, "lengths": np.array([*map(len, parts)])})
    nothing = {"bytes": np.array([], np.uint8), "lengths": np.array([0, 0])}
    assert session.run_named(nothing)["label"].tolist() == ["", ""]
    module = load("Bytes")
    pipeline = rnn_edge.runtime.Pipeline(bundle)
    for row, part in enumerate(parts):
        if not part:
            assert found["label"][row] == ""
            continue
        ids = torch.tensor([[byte + 2 for byte in part]])
        with torch.no_grad():
            right = module(ids, torch.tensor([len(part)])).softmax(1)[0]
        np.testing.assert_allclose(found["probabilities"][row], right, atol=1e-6)
        (answer,) = pipeline.answer([pipeline.read_line(texts[row], "x")])
        np.testing.assert_allclose(answer.probabilities, right, atol=1e-6)


def test_a_language_model_of_too_few_ids_has_no_texts(place: Path) -> None:
    Path("few.py").write_text(
        "from torch import nn\n"
        "class Few(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.table, self.core = nn.Embedding(9, 3), nn.GRU(3, 9, batch_first=True)\n"
        "    def forward(self, tokens):\n"
        "        return self.core(self.table(tokens))[0]\n"
    )
    shape = ["--input", "tokens:int64[batch,sequence]<9"]
    how = ["--front-end", "bytes", "--decoder", "next-character", "-o", "few"]
    result = CliRunner().invoke(program, ["export", "few.py:Few", *shape, *how])
    assert result.exit_code == 0, result.output
    assert "No pipeline.onnx: a language model of bytes must read ids up to 255" in result.output


def test_labels_fit_what_a_module_gives(place: Path) -> None:
    shape = ["--input", "x:float32[batch,sequence,6]", "--input", "lengths:int64[batch]"]
    Path("two.txt").write_text("no\nyes\n")
    for name, labels, told in (
        ("Likely", "labels.txt", r"is of Softmax already: .* at net.py:\d+"),
        ("Heard", "two.txt", "as many as the numbers on the last axis of output: float32"),
    ):
        command = ["export", f"net.py:{name}", *shape, "--labels", labels, "-o", "odd"]
        result = CliRunner().invoke(program, command)
        assert result.exit_code == 1
        assert re.search(told, result.output)
        assert not Path("odd").exists()
    values = read_decoder("values", Path("two.txt"), None)
    assert values == ValueDecoder(("no", "yes"))


def test_files_name_vocabularies_and_decoders(place: Path) -> None:
    front_end = read_vocabulary(Path("vocab.txt"))
    assert front_end.vocabulary == ("<pad>", "<unk>", "a", "\u597d", "\n", " ")
    assert (front_end.padding, front_end.unknown) == (0, 1)
    labels = Path("labels.txt")
    assert read_decoder(None, labels, None) == LabelDecoder(("no", "maybe", "yes"))
    assert read_decoder("next-character", None, front_end) == NextCharacterDecoder((0, 1))
    assert read_decoder("next-character", None, None) == NextCharacterDecoder(())
    # Without names for them, a character fills up, and is what others are read as; both may come.
    labels.write_text("a\nb\n\\s\n<start>\n")
    front_end = read_vocabulary(labels)
    assert (front_end.padding, front_end.unknown) == (0, 2)
    assert read_decoder("next-character", None, front_end) == NextCharacterDecoder((3,))
    labels.write_text("a\n<blank>\nb\n")
    assert read_decoder("ctc", labels, None) == CtcDecoder(("a", "", "b"), 1)
    labels.write_text("a\n<end>\n")
    assert read_decoder("text", labels, None) == TextDecoder(("a", "<end>"), 1)
    assert read_decoder(None, None, None) is None


def test_what_does_not_fit_is_refused_in_a_line(place: Path) -> None:
    labels = Path("labels.txt")
    for call, told in (
        (lambda: read_sound_features("mfcc:16000,n_mfcc=41"), "n_mfcc must be at most n_mels, 40"),
        (lambda: read_sound_features("log-mel:16000,hop=0"), "hop of log-mel must be a whole"),
        (lambda: read_sound_features("log-mel:16000,width=4"), "options of log-mel must be among"),
        (lambda: read_front_end("mels:16000", None), "must be bytes, .*log-mel"),
        (lambda: read_front_end("bytes:offset=-1", None), "must be bytes:offset"),
        (lambda: read_front_end("bytes", labels), "must be one"),
        (lambda: read_vocabulary(labels), "one character a line"),
        (lambda: read_decoder("ctc", None, None), "must have names"),
        (lambda: read_decoder("text", labels, None), "must hold <end>"),
    ):
        with pytest.raises(InputError, match=told):
            call()
    labels.write_text("a\nb\na\n")
    with pytest.raises(InputError, match="'a' twice"):
        read_entries(labels)
