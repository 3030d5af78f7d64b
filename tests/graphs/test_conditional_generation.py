"""generate.onnx of models that write about something: a source text, a picture, a first state."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnn_edge
from rnn_edge.contract import NextCharacterDecoder

IDS, SOURCES, SIZE = 23, 17, 12


class Attention(nn.Module):
    """A bidirectional encoder of ragged sources; the decoder attends to it at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.source_table = nn.Embedding(SOURCES, 8)
        self.encoder = nn.GRU(8, SIZE, batch_first=True, bidirectional=True)
        self.bridge = nn.Linear(2 * SIZE, SIZE)
        self.table = nn.Embedding(IDS, 8)
        self.decoder = nn.GRU(8, SIZE, batch_first=True)
        self.head = nn.Linear(3 * SIZE, IDS)

    def forward(self, source: Tensor, lengths: Tensor, tokens: Tensor) -> Tensor:
        packed = pack_padded_sequence(
            self.source_table(source), lengths, batch_first=True, enforce_sorted=False
        )
        found, last = self.encoder(packed)
        memory, _ = pad_packed_sequence(found, batch_first=True, total_length=source.size(1))
        h = torch.tanh(self.bridge(torch.cat([last[0], last[1]], dim=1)))
        y, _ = self.decoder(self.table(tokens), h.unsqueeze(0))
        scores = y @ self.bridge(memory).transpose(1, 2)
        outside = torch.arange(source.size(1)) >= lengths.unsqueeze(1)
        scores = scores.masked_fill(outside.unsqueeze(1), -1e9)
        logits: Tensor = self.head(torch.cat([y, scores.softmax(dim=2) @ memory], dim=2))
        return logits


class InputFeeding(nn.Module):
    """A cell in a loop that reads what it has attended to one step before; ids come first."""

    def __init__(self) -> None:
        super().__init__()
        self.source_table = nn.Embedding(SOURCES, SIZE)
        self.table = nn.Embedding(IDS, 8)
        self.cell = nn.LSTMCell(8 + SIZE, SIZE)
        self.head = nn.Linear(2 * SIZE, IDS)

    def forward(self, tokens: Tensor, source: Tensor) -> Tensor:
        memory = self.source_table(source).cumsum(dim=1)
        h = memory.mean(dim=1)
        c, seen = torch.zeros_like(h), torch.zeros_like(h)
        logits = []
        for t in range(tokens.size(1)):
            h, c = self.cell(torch.cat([self.table(tokens[:, t]), seen], dim=1), (h, c))
            weights = (memory @ h.unsqueeze(2)).softmax(dim=1)
            seen = (weights * memory).sum(dim=1)
            logits.append(self.head(torch.cat([h, seen], dim=1)))
        return torch.stack(logits, dim=1)


class Caption(nn.Module):
    """The first state and cell are of a picture, which each step reads as well."""

    def __init__(self) -> None:
        super().__init__()
        self.see = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), nn.ReLU(), nn.Flatten())
        self.first = nn.Linear(18, 2 * SIZE)
        self.table = nn.Embedding(IDS, 8)
        self.core = nn.LSTM(8 + 18, SIZE, batch_first=True)
        self.head = nn.Linear(SIZE, IDS)

    def forward(self, picture: Tensor, tokens: Tensor) -> Tensor:
        seen = self.see(picture)
        h, c = self.first(seen).unsqueeze(0).chunk(2, dim=2)
        beside = seen.unsqueeze(1).expand(-1, tokens.size(1), -1)
        x = torch.cat([self.table(tokens), beside], dim=2)
        y, _ = self.core(x, (h.contiguous(), c.contiguous()))
        logits: Tensor = self.head(y)
        return logits


class LearnedStart(nn.Module):
    """No further input, but a first state that is not zero."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(1, 1, SIZE))
        self.table = nn.Embedding(IDS, 8)
        self.core = nn.GRU(8, SIZE, batch_first=True)
        self.head = nn.Linear(SIZE, IDS)

    def forward(self, tokens: Tensor) -> Tensor:
        h = self.start.expand(-1, tokens.size(0), -1).contiguous()
        logits: Tensor = self.head(self.core(self.table(tokens), h)[0])
        return logits


KINDS: dict[type[nn.Module], tuple[list[Any], dict[str, Any]]] = {
    Attention: (
        [("batch", "source"), ("batch",), ("batch", "sequence")],
        {
            "source": torch.randint(SOURCES, (3, 6)),
            "lengths": torch.tensor([6, 2, 4]),
            "tokens": torch.randint(IDS, (3, 5)),
        },
    ),
    InputFeeding: (
        [("batch", "sequence"), ("batch", "source")],
        {"tokens": torch.randint(IDS, (3, 5)), "source": torch.randint(SOURCES, (3, 6))},
    ),
    Caption: (
        [("batch", None, None, None), ("batch", "sequence")],
        {"picture": torch.randn(3, 1, 7, 7), "tokens": torch.randint(IDS, (3, 5))},
    ),
    LearnedStart: ([("batch", "sequence")], {"tokens": torch.randint(IDS, (3, 5))}),
}
# A source has lengths of its own, beside those of the prompts.
RENAMED = {"lengths": "source_lengths"}


@pytest.fixture(scope="module", params=list(KINDS), ids=lambda kind: kind.__name__)
def case(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    axes, example = KINDS[request.param]
    torch.manual_seed(3)
    module = request.param().eval()
    with torch.no_grad():
        module.head.weight.mul_(4)
    bundle = rnn_edge.export(
        module, tuple(example.values()), tmp_path_factory.mktemp("written") / "bundle", axes=axes,
        bounds={
            "tokens": (0, IDS - 1),
            **({"source": (0, SOURCES - 1)} if "source" in example else {}),
        },
        decoder=NextCharacterDecoder((0,)),
    )  # fmt: skip
    assert "generate" in bundle.contract.graphs, bundle.evidence["generate"]
    return module, bundle, rnn_edge.Session(bundle, graph="generate")


def beside(module: nn.Module, rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """What the module is given beside the ids, at sizes that its example has not."""
    random = np.random.default_rng(seed)
    given: dict[str, np.ndarray] = {
        "source": random.integers(0, SOURCES, (rows, 9)),
        "lengths": random.integers(1, 10, rows),
        "picture": random.standard_normal((rows, 1, 7, 7)).astype(np.float32),
    }
    _, example = KINDS[type(module)]
    return {name: array for name, array in given.items() if name in example}


def renamed(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {RENAMED.get(name, name): array for name, array in given.items()}


def eager(module: nn.Module, given: dict[str, np.ndarray], row: int, ids: list[int]) -> np.ndarray:
    """Log-probabilities float64[steps, ids] behind each of ``ids``, 0 apart."""
    _, example = KINDS[type(module)]
    inputs = {
        name: torch.tensor([ids]) if name == "tokens" else torch.from_numpy(given[name][[row]])
        for name in example
    }
    wide = {
        name: value.double() if value.is_floating_point() else value
        for name, value in inputs.items()
    }
    with torch.no_grad():
        logits = module.double()(*wide.values())[0]
    module.float()
    logits[:, 0] = -torch.inf
    found: np.ndarray = logits.log_softmax(dim=1).numpy()
    return found


PROMPTS = np.array([[3, 4, 5, 6], [8, 1, 1, 1], [2, 5, 1, 1]])
LENGTHS = np.array([4, 1, 2])


def test_temperature_0_writes_the_likeliest_of_eager_torch(case: Any) -> None:
    module, _, session = case
    given = beside(module, 3)
    feed = {"tokens": PROMPTS, "lengths": LENGTHS, "temperature": 0.0, "max_new": 11}
    found = session.run_named({**feed, **renamed(given)})
    for row, length in enumerate(LENGTHS):
        ids = PROMPTS[row, :length].tolist()
        for step in range(11):
            truth = eager(module, given, row, ids)[-1]
            assert int(truth.argmax()) == found["generated"][row, step]
            assert abs(truth.max() - found["log_probabilities"][row, step]) < 1e-5
            ids.append(int(truth.argmax()))


def test_a_row_alone_writes_what_it_writes_in_a_batch(case: Any) -> None:
    module, _, session = case
    given = renamed(beside(module, 3, seed=1))
    options = {"max_new": 14, "temperature": 1.1, "top_k": 7, "top_p": 0.9}
    start = {"tokens": PROMPTS, "lengths": LENGTHS, "seed": np.array([4, 5, 6])}
    together = session.run_named({**start, **given, **options})
    for row, length in enumerate(LENGTHS):
        part = {name: array[row : row + 1] for name, array in {**start, **given}.items()}
        part["tokens"] = part["tokens"][:, :length]
        alone = session.run_named({**part, **options})
        assert alone["generated"].tolist() == together["generated"][row : row + 1].tolist()


def test_what_is_drawn_has_the_probabilities_of_eager_torch(case: Any) -> None:
    module, _, session = case
    given = beside(module, 3, seed=2)
    feed = {"tokens": PROMPTS, "lengths": LENGTHS, "seed": np.array([1, 2, 3]), "max_new": 9}
    found = session.run_named({**feed, **renamed(given)})
    for row, length in enumerate(LENGTHS):
        ids = PROMPTS[row, :length].tolist() + found["generated"][row].tolist()
        truth = eager(module, given, row, ids[:-1])[length - 1 :]
        expected = truth[np.arange(9), found["generated"][row]]
        np.testing.assert_allclose(found["log_probabilities"][row], expected, atol=1e-5)


def test_going_on_from_the_states_gives_what_one_run_gives(case: Any) -> None:
    module, bundle, session = case
    contract = bundle.graph("generate")
    given = renamed(beside(module, 3, seed=4))
    start = {"tokens": PROMPTS, "lengths": LENGTHS, "seed": np.array([7, 7, 8])}
    whole = session.run_named({**start, **given, "max_new": 12})
    part = session.run_named({**start, **given, "max_new": 5})
    carried = {pair.input: part[pair.output] for pair in contract.states}
    rest = session.run_named(
        {"tokens": part["generated"][:, -1:], "lengths": np.ones(3, int), "max_new": 7}
        | given | carried
    )  # fmt: skip
    both = np.concatenate([part["generated"], rest["generated"]], axis=1)
    assert both.tolist() == whole["generated"].tolist()


def test_a_turn_computes_nothing_of_what_stays_the_same(case: Any) -> None:
    module, bundle, _ = case
    graph = ir.load(bundle.graph_path("generate")).graph
    loops = [node.attributes["body"].as_graph() for node in graph if node.op_type == "Loop"]
    # Prompts, one row and several by two choices, and beams.
    assert len(loops) == (5 if isinstance(module, LearnedStart) else 6)
    names = {str(value.name) for body in loops for node in body for value in node.inputs if value}
    of_encoders = ("encoder", "source_table", "see.", "first.", "start")
    weights = names & set(map(str, graph.initializers))
    assert not [name for name in weights if name.startswith(of_encoders)]
    assert sum(name.startswith("source_table") for name in graph.initializers) <= 1


def test_what_the_folder_s_page_shows_begins_a_row(case: Any, monkeypatch: Any) -> None:
    """Also where the first state is not zero: a page that says otherwise writes something else."""
    _, bundle, session = case
    text = (bundle.path / "README.md").read_text(encoding="utf-8")
    code = next(part for part in text.split("```") if "generate.onnx" in part and "run(" in part)
    monkeypatch.chdir(bundle.path)
    found: dict[str, Any] = {}
    exec(code.removeprefix("python"), found)
    assert found["inputs"]["begin"].all()
    begun = {name: array for name, array in found["inputs"].items() if name != "begin"}
    assert found["generated"].tolist() == session.run_named(begun)["generated"].tolist()


# Beams are of what writes about something.
SEARCHED = [kind for kind in KINDS if kind is not LearnedStart]
START = {"tokens": PROMPTS, "lengths": LENGTHS}


def likeliest(
    module: Any, given: dict[str, np.ndarray], row: int, beams: int, steps: int, end: int = -1
) -> tuple[list[int], float]:
    """The text that a beam search finds behind a row's prompt, and its log-probability."""
    prompt = PROMPTS[row, : LENGTHS[row]].tolist()
    texts: list[tuple[float, list[int]]] = [(0.0, [])]
    for _ in range(steps):
        longer = []
        for score, ids in texts:
            if ids and ids[-1] == end:
                longer.append((score, ids))
                continue
            chances = eager(module, given, row, prompt + ids)[-1]
            longer += [(score + chance, [*ids, n]) for n, chance in enumerate(chances)]
        texts = sorted(longer, key=lambda text: -text[0])[:beams]
    return texts[0][1], texts[0][0]


@pytest.mark.parametrize("case", SEARCHED, indirect=True, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("beams", [2, 5])
def test_it_finds_what_a_search_in_eager_torch_finds(case: Any, beams: int) -> None:
    module, _, session = case
    given = beside(module, 3, seed=5)
    found = session.run_named({**START, **renamed(given), "beams": beams, "max_new": 6})
    assert found["generated"].shape == (3, 6)
    for row in range(3):
        ids, score = likeliest(module, given, row, beams, 6)
        assert found["generated"][row].tolist() == ids
        assert abs(found["log_probabilities"][row].sum() - score) < 1e-5


@pytest.mark.parametrize("case", SEARCHED, indirect=True, ids=lambda kind: kind.__name__)
def test_with_as_many_beams_as_texts_it_finds_the_likeliest_of_all(case: Any) -> None:
    module, _, session = case
    given = beside(module, 3, seed=6)
    found = session.run_named({**START, **renamed(given), "beams": IDS**2, "max_new": 2})
    for row in range(3):
        prompt = PROMPTS[row, : LENGTHS[row]].tolist()
        first = eager(module, given, row, prompt)[-1]
        second = [eager(module, given, row, [*prompt, n])[-1] for n in range(IDS)]
        best = max(
            itertools.product(range(1, IDS), repeat=2),
            key=lambda text: first[text[0]] + second[text[0]][text[1]],
        )
        assert found["generated"][row].tolist() == list(best)


@pytest.mark.parametrize("case", SEARCHED, indirect=True, ids=lambda kind: kind.__name__)
def test_a_text_that_has_ended_stays_and_its_row_gives_the_end_again(case: Any) -> None:
    module, _, session = case
    given = beside(module, 3, seed=7)
    free = session.run_named({**START, **renamed(given), "beams": 3, "max_new": 8})
    end = int(free["generated"][0, 2])
    options = {"beams": 3, "max_new": 8, "end": end}
    found = session.run_named({**START, **renamed(given), **options})
    for row in range(3):
        ids, score = likeliest(module, given, row, 3, 8, end)
        length = int(found["generated_lengths"][row])
        assert found["generated"][row, :length].tolist() == ids
        assert (found["generated"][row, length:] == end).all()
        assert not found["log_probabilities"][row, length:].any()
        # The states have read all but the end, as those after a prompt that is all but the end.
        read = PROMPTS[row, : LENGTHS[row]].tolist() + ids[:-1]
        one = {name: array[row : row + 1] for name, array in renamed(given).items()}
        once = {"tokens": [read], "lengths": [len(read)], "max_new": 1, **one}
        again = session.run_named(once)
        for pair in session.contract.states:
            if pair.input not in ("seed", "begin"):
                right = again[pair.output].take(0, pair.batch_axis)
                state = found[pair.output].take(row, pair.batch_axis)
                np.testing.assert_allclose(state, right, atol=1e-5)
        assert abs(found["log_probabilities"][row].sum() - score) < 1e-5


@pytest.mark.parametrize("case", SEARCHED, indirect=True, ids=lambda kind: kind.__name__)
def test_a_row_alone_is_found_as_in_a_batch_and_one_beam_is_none(case: Any) -> None:
    module, _, session = case
    given = renamed(beside(module, 3, seed=8))
    options = {"beams": 4, "max_new": 7}
    together = session.run_named({**START, **given, **options})
    plain = session.run_named({**START, **given, "temperature": 0.0, "max_new": 7})
    one = session.run_named({**START, **given, "temperature": 0.0, "max_new": 7, "beams": 1})
    assert one["generated"].tolist() == plain["generated"].tolist()
    for row, length in enumerate(LENGTHS):
        part = {name: array[row : row + 1] for name, array in {**START, **given}.items()}
        part["tokens"] = part["tokens"][:, :length]
        alone = session.run_named({**part, **options})
        assert alone["generated"].tolist() == together["generated"][row : row + 1].tolist()


@pytest.mark.parametrize("case", SEARCHED, indirect=True, ids=lambda kind: kind.__name__)
def test_its_states_go_on_from_the_text_that_was_found(case: Any) -> None:
    module, bundle, session = case
    contract = bundle.graph("generate")
    given = beside(module, 3, seed=9)
    found = session.run_named({**START, **renamed(given), "beams": 3, "max_new": 4})
    carried = {pair.input: found[pair.output] for pair in contract.states}
    last = {"tokens": found["generated"][:, -1:], "lengths": np.ones(3, int)}
    more = session.run_named(
        {**last, **renamed(given), **carried, "temperature": 0.0, "max_new": 3}
    )
    for row in range(3):
        ids = PROMPTS[row, : LENGTHS[row]].tolist() + found["generated"][row].tolist()
        for step in range(3):
            best = int(eager(module, given, row, ids)[-1].argmax())
            assert more["generated"][row, step] == best
            ids.append(best)
