"""pipeline.onnx of a module that gives logits of the next character of an answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from test_conditional_generation import Attention, Caption
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnn_edge
from rnn_edge.cli.main import program
from rnn_edge.contract import CharacterFrontEnd, NextCharacterDecoder, PictureFrontEnd, TextDecoder
from rnn_edge.errors import InputError
from rnn_edge.models.log_mel import SoundFeaturesModule
from rnn_edge.runtime import Pipeline
from rnn_edge.sound_features import SoundFeatures

SOURCE = "\0?abcdefghijklmno"  # as many as the encoder knows
# Of 23 ids: what begins, what fills up, what is not known, what ends.
TARGET = ("<start>", "<pad>", "<unk>", "<end>", *"ABCDEFGHIJKLMNOPQRS")
START, END, NEVER, STEPS = 0, 3, (0, 1, 2), 12
TEXTS = ["abc", "", "a\u00e9 z", "onmlkjihgfedcba" * 3, "c"]


def decoder(beams: int) -> TextDecoder:
    return TextDecoder(TARGET, END, START, NEVER, STEPS, beams)


def export(kind: type[Any], beams: int, folder: Path) -> tuple[Any, rnn_edge.Bundle]:
    torch.manual_seed(11)
    module = kind().eval()
    with torch.no_grad():
        module.head.weight.mul_(5)
        module.head.bias[END] += 1.5
    if kind is Caption:
        bundle = rnn_edge.export(
            module, (torch.randn(2, 1, 7, 7), torch.randint(23, (2, 5))), folder,
            axes=[("batch", None, None, None), ("batch", "sequence")],
            bounds={"tokens": (0, 22)}, front_end=PictureFrontEnd(7, 7), decoder=decoder(beams),
        )  # fmt: skip
        return module, bundle
    bundle = rnn_edge.export(
        module,
        (torch.randint(17, (2, 6)), torch.tensor([6, 2]), torch.randint(23, (2, 5))),
        folder,
        axes=[("batch", "source"), ("batch",), ("batch", "sequence")],
        bounds={"tokens": (0, 22), "source": (0, 16)},
        front_end=CharacterFrontEnd(tuple(SOURCE), unknown=1, padding=0),
        decoder=decoder(beams),
    )
    return module, bundle


@pytest.fixture(scope="module", params=[1, 4], ids=["greedy", "beams"])
def translator(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("translated") / "bundle"
    return request.param, *export(Attention, request.param, folder)


def search(module: Any, given: list[torch.Tensor], beams: int) -> tuple[str, float]:
    """The likeliest text that so many in view find, in float64 torch, one text at a time."""
    module = module.double()
    texts: list[tuple[float, list[int]]] = [(0.0, [])]
    for _ in range(STEPS):
        longer = []
        for score, ids in texts:
            if ids[-1:] == [END]:
                longer.append((score, ids))
                continue
            with torch.no_grad():
                logits = module(*given, torch.tensor([[START, *ids]]))[0, -1]
            logits[list(NEVER)] = -torch.inf
            chances = logits.log_softmax(0).tolist()
            longer += [(score + chance, [*ids, n]) for n, chance in enumerate(chances)]
        texts = sorted(longer, key=lambda text: -text[0])[:beams]
    module.float()
    score, ids = texts[0]
    return "".join(TARGET[n] for n in ids if n != END), score


def test_texts_of_all_lengths_are_answered_as_eager_torch_answers_each(translator: Any) -> None:
    beams, module, bundle = translator
    session = rnn_edge.Session(bundle, graph="pipeline")
    found = session.run_named({"text": np.array(TEXTS, object)})
    lengths = set()
    for row, text in enumerate(TEXTS):
        if not text:
            assert found["written"][row] == ""
            assert np.isnan(found["log_probability"][row])
            continue
        ids = [SOURCE.index(character) if character in SOURCE else 1 for character in text]
        right, score = search(module, [torch.tensor([ids]), torch.tensor([len(ids)])], beams)
        assert found["written"][row] == right
        assert abs(found["log_probability"][row] - score) < 2e-5
        lengths.add(len(right))
    assert len(lengths) > 1


def test_run_answers_by_the_graph_and_no_other_device(translator: Any) -> None:
    _, _, bundle = translator
    pipeline = Pipeline(bundle)
    samples = [pipeline.read_line(text, "text") for text in ("abc", "no")]
    session = rnn_edge.Session(bundle, graph="pipeline")
    texts = session.run_named({"text": np.array(["abc", "no"], object)})["written"]
    assert [answer.to_dict()["text"] for answer in pipeline.answer(samples)] == texts.tolist()
    with pytest.raises(InputError, match=r"must have pipeline\.onnx beside it"):
        Pipeline(bundle.graph_path())


def test_a_picture_is_answered_with_its_caption(tmp_path: Path) -> None:
    module, bundle = export(Caption, 3, tmp_path / "bundle")
    pictures = np.random.default_rng(2).uniform(0, 1, (3, 1, 7, 7)).astype(np.float32)
    session = rnn_edge.Session(bundle, graph="pipeline")
    found = session.run_named({"picture": pictures})
    for row in range(3):
        text, score = search(module, [torch.from_numpy(pictures[[row]]).double()], 3)
        assert found["written"][row] == text
        assert abs(found["log_probability"][row] - score) < 2e-5


def test_prompts_are_texts_beside_what_they_are_about(tmp_path: Path) -> None:
    """Next characters of a caption, by a vocabulary that prompts and answers share."""
    module = Caption().eval()
    names = "?" + "".join(map(chr, range(65, 87)))
    bundle = rnn_edge.export(
        module, (torch.randn(2, 1, 7, 7), torch.randint(23, (2, 5))), tmp_path / "bundle",
        axes=[("batch", None, None, None), ("batch", "sequence")], bounds={"tokens": (0, 22)},
        front_end=CharacterFrontEnd(tuple(names), unknown=0, padding=0),
        decoder=NextCharacterDecoder((0,)),
    )  # fmt: skip
    session = rnn_edge.Session(bundle, graph="pipeline")
    pictures = np.random.default_rng(3).standard_normal((2, 1, 7, 7)).astype(np.float32)
    prompts = np.array(["BAD", "F"], object)
    feed = {"prompt": prompts, "picture": pictures, "seed": np.zeros(2, int), "temperature": 0.0}
    found = session.run_named({**feed, "max_new": 7})["text"]
    for row, prompt in enumerate(prompts):
        ids = [names.index(character) for character in prompt]
        for _ in range(7):
            with torch.no_grad():
                logits = module(torch.from_numpy(pictures[[row]]), torch.tensor([ids]))[0, -1]
            logits[0] = -torch.inf
            ids.append(int(logits.argmax()))
        assert found[row] == "".join(names[n] for n in ids[len(prompt) :])


class Speller(nn.Module):
    """Attends to what it has heard, forward and backward, and writes."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.GRU(8, 6, batch_first=True, bidirectional=True)
        self.table = nn.Embedding(23, 6)
        self.decoder = nn.GRU(6, 12, batch_first=True)
        self.head = nn.Linear(24, 23)

    def forward(self, x: Tensor, frames: Tensor, written: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, frames, batch_first=True, enforce_sorted=False)
        found, last = self.encoder(packed)
        memory, _ = pad_packed_sequence(found, batch_first=True, total_length=x.size(1))
        h = torch.cat([last[0], last[1]], dim=1).unsqueeze(0)
        y, _ = self.decoder(self.table(written), h)
        outside = torch.arange(x.size(1)) >= frames.unsqueeze(1)
        scores = (y @ memory.transpose(1, 2)).masked_fill(outside.unsqueeze(1), -1e9)
        logits: Tensor = self.head(torch.cat([y, scores.softmax(dim=2) @ memory], dim=2))
        return logits


def test_what_is_heard_is_written_by_a_module_of_features(tmp_path: Path) -> None:
    torch.manual_seed(4)
    module = Speller().eval()
    with torch.no_grad():
        module.head.weight.mul_(6)
    features = SoundFeatures(8000, n_mels=8, window=64, hop=32)
    bundle = rnn_edge.export(
        module,
        (torch.randn(2, 9, 8), torch.tensor([9, 4]), torch.randint(23, (2, 5))),
        tmp_path / "bundle",
        axes=[("batch", "sequence", None), ("batch",), ("batch", "steps")],
        bounds={"written": (0, 22)},
        front_end=features,
        decoder=decoder(2),
    )
    random = np.random.default_rng(6)
    sounds = [random.uniform(-1, 1, size).astype(np.float32) for size in (500, 64, 20, 2000)]
    feed = {"samples": np.concatenate(sounds), "lengths": np.array([*map(len, sounds)])}
    found = rnn_edge.Session(bundle, graph="pipeline").run_named(feed)
    hear = SoundFeaturesModule(features).double()
    for row, sound in enumerate(sounds):
        if len(sound) < 64:
            assert found["written"][row] == ""
            continue
        frames = hear(torch.from_numpy(sound).double()[None])
        text, score = search(module, [frames, torch.tensor([frames.size(1)])], 2)
        assert found["written"][row] == text
        assert abs(found["log_probability"][row] - score) < 1e-4
    assert rnn_edge.verify(bundle, module).golden_calls == {"generate": 1, "pipeline": 1}


def test_what_is_about_nothing_has_no_answers(tmp_path: Path) -> None:
    from test_conditional_generation import LearnedStart

    bundle = rnn_edge.export(
        LearnedStart().eval(), torch.randint(23, (2, 5)), tmp_path / "bundle",
        axes=[("batch", "sequence")], bounds={"tokens": (0, 22)}, decoder=decoder(1),
        front_end=CharacterFrontEnd(tuple(SOURCE), unknown=1, padding=0),
    )  # fmt: skip
    assert "pipeline" not in bundle.contract.graphs
    assert "must take what they are about" in bundle.evidence["pipeline"]["refused"]


def test_the_command_takes_names_that_begin_and_end_a_text(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_conditional_generation import Attention\n"
    )
    names = ["<pad>", "<unk>", *SOURCE[2:]]
    (tmp_path / "source.txt").write_text("\n".join(names) + "\n")
    (tmp_path / "target.txt").write_text("\n".join(TARGET) + "\n")
    base = ["export", str(tmp_path / "net.py") + ":Attention", "-o", str(tmp_path / "bundle")]
    inputs = ("source:int64[batch,source]<17", "lengths:int64[batch]")
    base += [word for each in inputs for word in ("--input", each)]
    base += ["--input", "tokens:int64[batch,sequence]<23", "--vocab", str(tmp_path / "source.txt")]
    labels = ["--labels", str(tmp_path / "target.txt")]
    wrong = CliRunner().invoke(program, [*base, *labels, "--decoder", "tags", "--beams", "2"])
    assert wrong.exit_code == 1
    assert "--steps and --beams go with --decoder text" in wrong.output
    done = CliRunner().invoke(
        program, [*base, *labels, "--decoder", "text", "--beams", "2", "--steps", "5", "--json"]
    )
    assert done.exit_code == 0, done.output
    bundle = rnn_edge.Bundle.load(tmp_path / "bundle")
    assert bundle.contract.decoder == TextDecoder(TARGET, END, START, NEVER, 5, 2)
    told = CliRunner().invoke(program, ["run", str(bundle.path), "--text", "abc", "--json"])
    assert len(json.loads(told.stdout)["results"][0]["text"]) <= 5
    verified = CliRunner().invoke(program, ["verify", str(bundle.path)])
    assert "Right in 1 golden calls of generate.onnx." in verified.output
    assert "Right in 1 golden calls of pipeline.onnx." in verified.output
