"""generate.onnx of language models in the forms that people write, against one float64 core."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import rnn_edge
from rnn_edge.contract import CharacterFrontEnd, NextCharacterDecoder
from rnn_edge.errors import InputError
from rnn_edge.graphs.generation.choice import MODULUS, MULTIPLIER
from rnn_edge.runtime import Pipeline, Sampling

SIZE, HIDDEN, WIDER = 9, 6, 12
STATE = (1, HIDDEN)
PROMPTS = np.array([[3, 4, 5, 6, 7], [8, 1, 0, 0, 0], [2, 5, 7, 0, 0]])
LENGTHS = np.array([5, 2, 3])


class Core(nn.Module):
    """What all of them compute; ``tell`` gives logits [steps, ids] of the ids of one row."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(8)
        self.table = nn.Embedding(SIZE, 5)
        self.core = nn.GRU(5, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, SIZE)
        with torch.no_grad():
            self.head.weight.mul_(8)

    def read(self, tokens: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, h_n = self.core(self.table(tokens), h)
        return self.head(y), h_n

    def tell(self, ids: Tensor) -> Tensor:
        return self.read(ids[None])[0][0]


class Late(Core):
    """Its first answer is of nothing, each id is answered one step later."""

    def forward(self, tokens: Tensor) -> Tensor:
        x = functional.pad(self.table(tokens)[:, :-1], (0, 0, 1, 0))
        return self.head(self.core(x)[0])

    def tell(self, ids: Tensor) -> Tensor:
        return self(torch.cat([ids, ids[:1]])[None])[0, 1:]


class FlatTimeFirst(Core):
    def forward(self, tokens: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        logits, h_n = self.read(tokens.t(), h)
        flat = logits.transpose(0, 1).reshape(-1, SIZE)
        return functional.log_softmax(flat, dim=1), h_n


class FlatRowsFirst(Core):
    def forward(self, tokens: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        logits, h_n = self.read(tokens, h)
        return logits.reshape(-1, SIZE), h_n


class OneHotSteps(Core):
    """One step a call, of vectors; the state comes first, and is returned first."""

    def forward(self, h: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = self.core((x @ self.table.weight)[:, None], h)
        return h_n, self.head(y[:, 0])


class IdSteps(Core):
    def forward(self, token: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        logits, h_n = self.read(token[:, None], h)
        return logits[:, 0], h_n


class OneRowSteps(Core):
    """As a tutorial writes it: a batch of 1 and a step of 1, both fixed."""

    def forward(self, tokens: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        logits, h_n = self.read(tokens.view(1, 1), h)
        return functional.log_softmax(logits[0], dim=1), h_n


class Probabilities(Core):
    """Of ids that stand at axis 1, in float64 from int32."""

    def forward(self, tokens: Tensor) -> Tensor:
        logits, _ = self.read(tokens.long())
        return logits.double().softmax(dim=2).transpose(1, 2)


class Last(Core):
    def forward(self, tokens: Tensor) -> Tensor:
        return self.read(tokens)[0][:, -1]


class OneRow(Core):
    def forward(self, tokens: Tensor) -> Tensor:
        return self.tell(tokens)


class WithFeatures(Core):
    """Features as wide as the logits, which only their name tells from them."""

    def __init__(self) -> None:
        super().__init__()
        self.more = nn.Linear(HIDDEN, SIZE)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        y, _ = self.core(self.table(tokens))
        return self.more(y), self.head(y)


class WiderHead(Core):
    """More logits than ids that can be read."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(HIDDEN, WIDER)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.read(tokens)[0]

    def tell(self, ids: Tensor) -> Tensor:
        return super().tell(ids)[:, :SIZE]


class Places(Core):
    """The place in the sequence is read as well: rows of a batch share the count of steps."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Embedding(64, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens) + self.places(torch.arange(tokens.size(1)))
        return self.head(self.core(x)[0])

    def tell(self, ids: Tensor) -> Tensor:
        return self(ids[None])[0]


class LooksBack(Core):
    """Attention over all steps so far, behind a step of its own: no chunk can be read alone."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(5))

    def forward(self, tokens: Tensor) -> Tensor:
        start = self.start.expand(tokens.size(0), 1, -1)
        y, _ = self.core(torch.cat([start, self.table(tokens)], dim=1))
        scores = y @ y.transpose(1, 2)
        later = torch.ones(y.size(1), y.size(1), dtype=torch.bool).triu(1)
        return self.head(scores.masked_fill(later, -torch.inf).softmax(dim=2) @ y)

    def tell(self, ids: Tensor) -> Tensor:
        return self(ids[None])[0, 1:]


IDS = torch.arange(10).reshape(2, 5) % SIZE
H = torch.zeros(1, 2, HIDDEN)
ROWS, TIMES, STATES = ("batch", "sequence"), ("sequence", "batch"), (None, "batch", None)
NAMED = {"output_names": ["logits", "h_n"], "states": {"h": "h_n"}}
# Class, arguments, axes, other options of the export.
FORMS: dict[str, tuple[type[Core], tuple[Any, ...], list[Any], dict[str, Any]]] = {
    "a step later": (Late, (IDS,), [ROWS], {}),
    "flat, time first": (FlatTimeFirst, (IDS.t(), H), [TIMES, STATES], NAMED),
    "flat, rows first": (FlatRowsFirst, (IDS, H), [ROWS, STATES], NAMED),
    "vectors, step by step": (
        OneHotSteps,
        (H, torch.eye(SIZE)[:2]),
        [STATES, ("batch", None)],
        {"output_names": ["h_n", "scores"], "states": {"h": "h_n"}},
    ),
    "ids, step by step": (IdSteps, (IDS[:, 0], H), [("batch",), STATES], NAMED),
    "one row, step by step": (OneRowSteps, (IDS[0, :1], H[:, :1]), [(None,), (None,) * 3], NAMED),
    "probabilities": (Probabilities, (IDS.int(),), [ROWS], {}),
    "the last step alone": (Last, (IDS,), [ROWS], {}),
    "one row alone": (OneRow, (IDS[0],), [("sequence",)], {}),
    "features beside": (WithFeatures, (IDS,), [ROWS], {"output_names": ["features", "logits"]}),
    "a wider head": (WiderHead, (IDS,), [ROWS], {}),
    "places": (Places, (IDS,), [ROWS], {}),
    "all steps so far": (LooksBack, (IDS,), [ROWS], {}),
}


def export(form: str, folder: Path) -> tuple[Core, rnn_edge.Bundle]:
    kind, arguments, axes, options = FORMS[form]
    module = kind().eval()
    name = "token" if form == "ids, step by step" else "tokens"
    bounds = {} if form == "vectors, step by step" else {name: (0, SIZE - 1)}
    bundle = rnn_edge.export(
        module, arguments, folder, axes=axes, bounds=bounds, decoder=NextCharacterDecoder(()),
        **options,
    )  # fmt: skip
    return module.double(), bundle


Choose = Callable[[np.ndarray, int], tuple[int, int]]


def likeliest(logits: np.ndarray, seed: int) -> tuple[int, int]:
    return int(logits.argmax()), seed


def drawn(logits: np.ndarray, seed: int) -> tuple[int, int]:
    """As documented: of ids from the likeliest on, that at the share of the generator's number."""
    seed = (seed + 1) * MULTIPLIER % MODULUS - 1
    order = np.argsort(-logits, kind="stable")[:4]
    parts = np.exp(logits[order] - logits.max())
    place = int((np.cumsum(parts) <= seed / MODULUS * parts.sum()).sum())
    return int(order[place]), seed


def write(module: Core, prompt: list[int], count: int, choose: Choose, seed: int) -> Any:
    """Ids and their log-probabilities, by the float64 module that reads all again each time."""
    ids, chances = list(prompt), []
    for _ in range(count):
        with torch.no_grad():
            logits = module.tell(torch.tensor(ids))[-1].numpy()
        place, seed = choose(logits, seed)
        chances.append(logits[place] - np.logaddexp.reduce(logits))
        ids.append(place)
    return ids[len(prompt) :], chances


@pytest.mark.parametrize("form", FORMS)
def test_a_model_in_any_form_writes_what_it_would(form: str, tmp_path: Path) -> None:
    module, bundle = export(form, tmp_path / "bundle")
    assert "generate" in bundle.contract.graphs, bundle.evidence["generate"]
    session = rnn_edge.Session(bundle, graph="generate")
    name = session.contract.inputs[0].name
    ways: list[tuple[Choose, dict[str, Any]]] = [
        (likeliest, {"temperature": 0.0}), (drawn, {"top_k": 4}),
    ]  # fmt: skip
    for choose, options in ways:
        seeds = np.array([6, 7, 8])
        feed = {name: PROMPTS, "lengths": LENGTHS, "seed": seeds, **options}
        whole = session.run_named({**feed, "max_new": 9})
        for row, length in enumerate(LENGTHS):
            ids, chances = write(module, PROMPTS[row, :length].tolist(), 9, choose, int(seeds[row]))
            assert whole["generated"][row].tolist() == ids
            np.testing.assert_allclose(whole["log_probabilities"][row], chances, atol=1e-5)
        part = session.run_named({**feed, "max_new": 4})
        carried = {pair.input: part[pair.output] for pair in session.contract.states}
        ones = np.ones(3, np.int64)
        last = {name: part["generated"][:, -1:], "lengths": ones, **options, **carried}
        rest = session.run_named({**last, "max_new": 5})
        both = np.concatenate([part["generated"], rest["generated"]], axis=1)
        assert both.tolist() == whole["generated"].tolist()
    # A row that ends is filled up with its end.
    end = int(whole["generated"][0, 1])
    found = session.run_named({**feed, "max_new": 9, "end": end})
    for row, written in enumerate(whole["generated"].tolist()):
        count = written.index(end) + 1 if end in written else 9
        width = found["generated"].shape[1]
        assert found["generated"][row].tolist() == (written[:count] + 9 * [end])[:width]
        assert found["generated_lengths"][row] == count


class Sliced(Places):
    """The same, from a table that is cut to the length."""

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens) + self.places.weight[: tokens.size(1)]
        return self.head(self.core(x)[0])


@pytest.mark.parametrize("module", [Places, Sliced])
def test_beyond_the_last_place_a_run_fails(module: type[Core], tmp_path: Path) -> None:
    bundle = rnn_edge.export(
        module().eval(), (IDS,), tmp_path / "bundle", axes=[ROWS],
        bounds={"tokens": (0, SIZE - 1)}, decoder=NextCharacterDecoder(()),
    )  # fmt: skip
    # In a process of its own: ONNX Runtime ends it where a GRU gets no steps.
    code = f"""
import numpy, rnn_edge
session = rnn_edge.Session({str(bundle.path)!r}, graph="generate")
feed = {{"tokens": numpy.array([[3]]), "lengths": numpy.array([1])}}
print(session.run_named({{**feed, "max_new": 64}})["generated"].shape)
try:
    session.run_named({{**feed, "max_new": 66}})
except rnn_edge.errors.InputError as error:
    print("refused")
"""
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100
    )
    assert child.stdout == "(1, 64)\nrefused\n", child.stderr


class Shifted(Core):
    """By two steps: one may be asked for."""

    def forward(self, tokens: Tensor) -> Tensor:
        x = functional.pad(self.table(tokens), (0, 0, 2, 0))[:, :-2]
        return self.head(self.core(x)[0])


class Plain(Core):
    def forward(self, tokens: Tensor) -> Tensor:
        return self.read(tokens)[0]


def test_a_character_that_fills_up_and_stands_for_others_is_written(tmp_path: Path) -> None:
    module, letters = Plain().eval(), "abcdefghi"
    with torch.no_grad():
        module.head.bias[0] += 4
    bundle = rnn_edge.export(
        module, (IDS,), tmp_path / "bundle", axes=[ROWS], bounds={"tokens": (0, SIZE - 1)},
        front_end=CharacterFrontEnd(tuple(letters), 0, 0), decoder=NextCharacterDecoder(()),
    )  # fmt: skip
    session = rnn_edge.Session(bundle, graph="pipeline")
    module.double()
    feed = {"prompt": ["bci", "z"], "seed": np.array([6, 7]), "top_k": 4, "max_new": 12}
    found = session.run_named(feed)["text"]
    for prompt, seed, text in zip(([1, 2, 8], [0]), (6, 7), found, strict=True):
        ids, _ = write(module, prompt, 12, drawn, seed)
        assert text == "".join(letters[place] for place in ids)
        assert "a" in text


class Attending(Core):
    """A step that attends to what it was given: its axis is not that of time."""

    def forward(self, token: Tensor, h: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weights = (memory @ h[0][:, :, None]).softmax(dim=1)
        h = h + (weights * memory).sum(dim=1)[None]
        logits, h_n = self.read(token, h)
        return logits, h_n, weights[..., 0]


def test_a_step_that_attends_writes_what_it_would(tmp_path: Path) -> None:
    module = Attending().eval()
    memory = torch.randn(2, 4, HIDDEN, generator=torch.Generator().manual_seed(1))
    bundle = rnn_edge.export(
        module, (IDS[:, :1], H, memory), tmp_path / "bundle",
        axes=[("batch", None), STATES, ("batch", "source", None)],
        output_names=["logits", "h_n", "weights"], states={"h": "h_n"},
        bounds={"token": (0, SIZE - 1)}, decoder=NextCharacterDecoder(()),
    )  # fmt: skip
    session = rnn_edge.Session(bundle, graph="generate")
    feed = {"token": PROMPTS[:2], "lengths": LENGTHS[:2], "memory": memory.numpy()}
    found = session.run_named({**feed, "temperature": 0.0, "max_new": 7})["generated"]
    module.double()
    for row, length in enumerate(LENGTHS[:2]):
        h, ids, read = torch.zeros(1, 1, HIDDEN).double(), PROMPTS[row, :length].tolist(), 0
        while len(ids) < length + 7:
            with torch.no_grad():
                token = torch.tensor([[ids[read]]])
                logits, h, _ = module(token, h, memory[row : row + 1].double())
            read += 1
            if read == len(ids):
                ids.append(int(logits.argmax()))
        assert found[row].tolist() == ids[length:]


class BothWays(Core):
    def __init__(self) -> None:
        super().__init__()
        self.core = nn.GRU(5, HIDDEN // 2, batch_first=True, bidirectional=True)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.read(tokens)[0]


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (BothWays, "must follow from ids so far"),
        (Shifted, "must follow from the id of that step"),
        (WithFeatures, "Name one of them 'logits'"),
    ],
)
def test_what_would_write_nonsense_is_refused(
    module: type[Core], reason: str, tmp_path: Path
) -> None:
    bundle = rnn_edge.export(
        module().eval(), (IDS,), tmp_path / "bundle", axes=[ROWS],
        bounds={"tokens": (0, SIZE - 1)}, decoder=NextCharacterDecoder(()),
        front_end=CharacterFrontEnd(tuple("abcdefghi"), 0, 0),
    )  # fmt: skip
    assert "generate" not in bundle.contract.graphs
    assert reason in bundle.evidence["generate"]["refused"]
    with pytest.raises(InputError, match=reason):
        Pipeline(bundle).generate("abc", Sampling(3))
