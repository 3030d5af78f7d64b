"""generate.onnx of modules that tell of the next id a step later, or are one step themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import rnn_edge
from rnn_edge.contract import CharacterFrontEnd, NextCharacterDecoder, TextDecoder

IDS, SOURCES, SIZE = 19, 13, 10


class Decoder(nn.Module):
    """One step of attention, as many write it: time first, an axis of 1 for it."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(IDS, 6)
        self.score = nn.Linear(2 * SIZE, 1)
        self.core = nn.GRU(6 + SIZE, SIZE)
        self.head = nn.Linear(2 * SIZE, IDS)

    def forward(self, token: Tensor, hidden: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        wide = hidden.unsqueeze(0).repeat(memory.size(0), 1, 1)
        weights = self.score(torch.tanh(torch.cat([wide, memory], dim=2))).softmax(dim=0)
        seen = (weights * memory).sum(dim=0, keepdim=True)
        x = torch.cat([self.table(token).unsqueeze(0), seen], dim=2)
        y, h = self.core(x, hidden.unsqueeze(0))
        return self.head(torch.cat([y[0], seen[0]], dim=1)), h[0]


class Translator(nn.Module):
    """Teaches itself: the first of its answers is left empty, each id is answered one later."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(SOURCES, 6)
        self.encoder = nn.GRU(6, SIZE)
        self.decoder = Decoder()

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, h = self.encoder(self.table(source))
        hidden = h[0]
        answers = torch.zeros(target.size(0), target.size(1), IDS)
        token = target[0]
        for step in range(1, target.size(0)):
            answers[step], hidden = self.decoder(token, hidden, memory)
            token = target[step]
        return answers


class Caption(nn.Module):
    """What it is about stands before the ids: there is an answer more than ids."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(IDS, 8)
        self.core = nn.LSTM(8, SIZE, 2, batch_first=True)
        self.head = nn.Linear(SIZE, IDS)

    def forward(self, features: Tensor, tokens: Tensor) -> Tensor:
        x = torch.cat([features.unsqueeze(1), self.table(tokens)], dim=1)
        logits: Tensor = self.head(self.core(x)[0])
        return logits


def sharp(module: nn.Module) -> Any:
    torch.manual_seed(7)
    for name, weight in module.named_parameters():
        nn.init.normal_(weight, std=1.5 if "head" in name else 0.6)
    return module.eval()


def greedy(logits_after: Any, prompt: list[int], steps: int) -> list[int]:
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(steps):
            logits = logits_after(ids).double().clone()
            logits[0] = -torch.inf
            ids.append(int(logits.argmax()))
    return ids[len(prompt) :]


PROMPTS = np.array([[3, 4, 5], [8, 1, 1], [2, 5, 1]])
LENGTHS = np.array([3, 1, 2])
START = {"lengths": LENGTHS, "temperature": 0.0, "max_new": 8}


def written(bundle: rnn_edge.Bundle, beside: dict[str, np.ndarray]) -> list[list[int]]:
    session = rnn_edge.Session(bundle, graph="generate")
    first = session.contract.inputs[0].name
    found = session.run_named({first: PROMPTS, **START, **beside})
    rows: list[list[int]] = found["generated"].tolist()
    return rows


def check_translator(module: Any, bundle: rnn_edge.Bundle) -> None:
    source = np.random.default_rng(1).integers(0, SOURCES, (9, 3))
    for row, found in enumerate(written(bundle, {"source": source})):
        one = torch.from_numpy(source[:, [row]])

        def after(ids: list[int], one: Tensor = one) -> Tensor:
            logits: Tensor = module(one, torch.tensor([*ids, 0]).unsqueeze(1))[-1, 0]
            return logits

        assert found == greedy(after, PROMPTS[row, : LENGTHS[row]].tolist(), 8)


def test_the_first_answer_may_be_left_empty_and_texts_are_answered(tmp_path: Path) -> None:
    module = sharp(Translator())
    names = ("<pad>", "<start>", "<end>", *map(chr, range(65, 65 + IDS - 3)))
    letters = "\0?" + "".join(map(chr, range(97, 97 + SOURCES - 2)))
    bundle = rnn_edge.export(
        module, (torch.randint(SOURCES, (6, 2)), torch.randint(IDS, (5, 2))), tmp_path / "bundle",
        axes=[("source", "batch"), ("sequence", "batch")],
        bounds={"source": (0, SOURCES - 1), "target": (0, IDS - 1)},
        front_end=CharacterFrontEnd(tuple(letters), 1, 0),
        decoder=TextDecoder(names, end=2, start=1, never=(0,), steps=9),
    )  # fmt: skip
    check_translator(module, bundle)
    session = rnn_edge.Session(bundle, graph="pipeline")
    texts = ["abc", "", "k", "fedcba" * 3]
    answers = session.run_named({"text": np.array(texts, object)})["written"]
    for text, answer in zip(texts, answers, strict=True):
        source = torch.tensor([[letters.index(character)] for character in text])

        def after(ids: list[int], source: Tensor = source) -> Tensor:
            logits: Tensor = module(source, torch.tensor([*ids, 0]).unsqueeze(1))[-1, 0]
            return logits

        ids = greedy(after, [1], 9) if text else [2]
        ids = ids[: ids.index(2)] if 2 in ids else ids
        assert answer == "".join(names[n] for n in ids)


def test_what_it_is_about_may_stand_before_the_ids(tmp_path: Path) -> None:
    module = sharp(Caption())
    bundle = rnn_edge.export(
        module, (torch.randn(2, 8), torch.randint(IDS, (2, 5))), tmp_path / "bundle",
        axes=[("batch", None), ("batch", "sequence")], bounds={"tokens": (0, IDS - 1)},
        decoder=NextCharacterDecoder((0,)),
    )  # fmt: skip
    features = np.random.default_rng(2).standard_normal((3, 8)).astype(np.float32)
    for row, found in enumerate(written(bundle, {"features": features})):
        one = torch.from_numpy(features[[row]])

        def after(ids: list[int], one: Tensor = one) -> Tensor:
            logits: Tensor = module(one, torch.tensor([ids]))[0, -1]
            return logits

        assert found == greedy(after, PROMPTS[row, : LENGTHS[row]].tolist(), 8)


def test_a_step_of_a_decoder_attends_to_what_stays_the_same(tmp_path: Path) -> None:
    module = sharp(Decoder())
    bundle = rnn_edge.export(
        module,
        (torch.randint(IDS, (2,)), torch.randn(2, SIZE), torch.randn(6, 2, SIZE)),
        tmp_path / "bundle",
        axes=[("batch",), ("batch", None), ("source", "batch", None)],
        output_names=["logits", "hidden_n"],
        states={"hidden": "hidden_n"},
        bounds={"token": (0, IDS - 1)},
        decoder=NextCharacterDecoder((0,)),
    )
    random = np.random.default_rng(3)
    memory = random.standard_normal((4, 3, SIZE)).astype(np.float32)
    hidden = random.standard_normal((3, SIZE)).astype(np.float32)
    for row, found in enumerate(written(bundle, {"memory": memory, "hidden": hidden})):
        seen, begun = torch.from_numpy(memory[:, [row]]), torch.from_numpy(hidden[[row]])

        def after(ids: list[int], seen: Tensor = seen, begun: Tensor = begun) -> Tensor:
            h = begun
            for token in ids:
                logits, h = module(torch.tensor([token]), h, seen)
            found: Tensor = logits[0]
            return found

        assert found == greedy(after, PROMPTS[row, : LENGTHS[row]].tolist(), 8)
