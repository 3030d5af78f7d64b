"""generate.onnx against the eager module, row by row, and against the probabilities it draws by."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch

import rnn_edge
from rnn_edge.contract import CharacterFrontEnd, NextCharacterDecoder
from rnn_edge.errors import InputError
from rnn_edge.generating import GeneratePart
from rnn_edge.graphs.generation import derive_generator
from rnn_edge.graphs.streaming.stream import Stream
from rnn_edge.models.language_model import LanguageModel, LstmLanguageModel, NextCharacterModel
from rnn_edge.pipelining import add_pipeline, write_pipeline
from rnn_edge.runtime import Pipeline
from rnn_edge.runtime.generation import Sampling, prompt_feed, softmax

VOCABULARY = "\0?abcdefghi\n"
SIZE = len(VOCABULARY)
NEVER = (0, 1)
PROMPTS = np.array([[3, 4, 5, 6, 7], [8, 9, 0, 0, 0], [2, 5, 9, 0, 0]])
LENGTHS = np.array([5, 2, 3])


def language_model(cell: str) -> NextCharacterModel:
    torch.manual_seed(5)
    kind = LstmLanguageModel if cell == "lstm" else LanguageModel
    module = kind(SIZE, cell=cell, embedding_size=8, hidden_size=12, num_layers=2)
    with torch.no_grad():
        module.head.weight.mul_(6)
    return module.eval()


def write_bundle(module: NextCharacterModel, folder: Path) -> rnn_edge.Bundle:
    states = {f"{name}_0": f"{name}_n" for name in module.states}
    return rnn_edge.export(
        module,
        (torch.arange(24).reshape(3, 8) % SIZE, *module.initial_state(3)),
        folder,
        axes=[("batch", "sequence"), *[(None, "batch", None)] * len(states)],
        output_names=["logits", *states.values()],
        states=states,
        bounds={"tokens": (0, SIZE - 1)},
        front_end=CharacterFrontEnd(tuple(VOCABULARY), 1, 0),
        decoder=NextCharacterDecoder(NEVER),
    )


@pytest.fixture(scope="module", params=["lstm", "gru"])
def case(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    module = language_model(request.param)
    bundle = write_bundle(module, tmp_path_factory.mktemp(request.param) / "bundle")
    return module, bundle, rnn_edge.Session(bundle, graph="generate")


def eager_greedy(module: NextCharacterModel, prompt: list[int], count: int) -> list[int]:
    tokens, state, written = torch.tensor([prompt]), module.initial_state(1), []
    with torch.no_grad():
        for _ in range(count):
            logits, *state = module(tokens, *state)
            scores = logits[0, -1]
            scores[list(NEVER)] = -torch.inf
            written.append(int(scores.argmax()))
            tokens = torch.tensor([[written[-1]]])
    return written


@pytest.mark.parametrize("count", [1, 2, 17])
def test_temperature_0_writes_what_eager_torch_writes(case: Any, count: int) -> None:
    module, _, session = case
    feed = {"tokens": PROMPTS, "lengths": LENGTHS, "temperature": 0.0, "max_new": count}
    found = session.run_named(feed)
    for row, length in enumerate(LENGTHS):
        expected = eager_greedy(module, PROMPTS[row, :length].tolist(), count)
        assert found["generated"][row].tolist() == expected
    assert found["generated_lengths"].tolist() == [count] * 3


def test_a_row_alone_writes_what_it_writes_in_a_batch(case: Any) -> None:
    _, _, session = case
    feed = {"max_new": 20, "temperature": 1.2, "top_k": 6, "top_p": 0.95}
    together = session.run_named(
        {"tokens": PROMPTS, "lengths": LENGTHS, "seed": np.array([4, 5, 6]), **feed}
    )
    for row, length in enumerate(LENGTHS):
        alone = session.run_named(
            {
                "tokens": PROMPTS[row : row + 1, :length],
                "lengths": LENGTHS[row : row + 1],
                "seed": np.array([4 + row]),
                **feed,
            }
        )
        assert alone["generated"].tolist() == together["generated"][row : row + 1].tolist()


@pytest.mark.parametrize("count", [1, 2, 17])
def test_a_row_alone_writes_what_eager_torch_writes(case: Any, count: int) -> None:
    module, _, session = case
    for row, length in enumerate(LENGTHS):
        prompt = PROMPTS[row : row + 1, :length]
        lengths = LENGTHS[row : row + 1]
        found = session.run_named(
            {"tokens": prompt, "lengths": lengths, "temperature": 0.0, "max_new": count}
        )
        expected = eager_greedy(module, prompt[0].tolist(), count)
        assert found["generated"].tolist() == [expected]
        assert found["generated_lengths"].tolist() == [count]


def test_a_row_alone_ends_where_it_ends_in_a_batch(case: Any) -> None:
    _, bundle, session = case
    free = session.run_named({"tokens": PROMPTS, "lengths": LENGTHS, "temperature": 0.0})
    for row, length in enumerate(LENGTHS):
        end = int(free["generated"][row, 3])
        options = {"temperature": 0.0, "end": end, "max_new": 25}
        start = {"tokens": PROMPTS, "lengths": LENGTHS}
        alone = {"tokens": PROMPTS[row : row + 1, :length], "lengths": LENGTHS[row : row + 1]}
        both = session.run_named({**start, **options})
        found = session.run_named({**alone, **options})
        written = int(both["generated_lengths"][row])
        assert found["generated_lengths"].tolist() == [written]
        assert found["generated"].tolist() == [both["generated"][row, :written].tolist()]
        assert found["generated"][0, -1] == end
        expected = both["log_probabilities"][row : row + 1, :written]
        np.testing.assert_allclose(found["log_probabilities"], expected, atol=2e-5)
        for pair in bundle.graph("generate").states:
            if pair.input != "seed":
                wanted = both[pair.output].take([row], pair.batch_axis)
                np.testing.assert_allclose(found[pair.output], wanted, atol=2e-6)


def test_loops_stand_where_the_runtime_packs_their_weights(case: Any) -> None:
    """It looks for weights in the graph of a node and in the one around it, no further."""
    _, bundle, _ = case
    graph = ir.load(bundle.graph_path("generate")).graph
    assert len(bodies(graph)) == sum(node.op_type == "Loop" for node in graph) == 5


def bodies(graph: Any) -> list[ir.Graph]:
    """Those of all Loops in a graph."""
    found = []
    for node in graph:
        inner = [a.as_graph() for a in node.attributes.values() if a.type == ir.AttributeType.GRAPH]
        found += inner if node.op_type == "Loop" else []
        for each in inner:
            found += bodies(each)
    return found


def test_each_turn_computes_what_differs_from_turn_to_turn(case: Any) -> None:
    """A row alone reads its first layer's products from a table."""
    _, bundle, _ = case
    loops = bodies(ir.load(bundle.graph_path("generate")).graph)
    assert len(loops) == 5
    read = [{value.name for node in body for value in node.inputs if value} for body in loops]
    assert sum("temperature" in names or "top_p" in names for names in read) == 0
    assert sum(any(str(n).endswith(".table") for n in names) for names in read) == 2
    assert sum("embedding.weight" in names for names in read) == 3


def test_going_on_from_a_state_gives_what_one_run_gives(case: Any) -> None:
    _, bundle, session = case
    contract = bundle.graph("generate")
    start = {"tokens": PROMPTS, "lengths": LENGTHS, "seed": np.array([7, 7, 8])}
    whole = session.run_named({**start, "max_new": 15})
    part = session.run_named({**start, "max_new": 6})
    carried = {pair.input: part[pair.output] for pair in contract.states}
    rest = session.run_named(
        {"tokens": part["generated"][:, -1:], "lengths": np.ones(3, int), "max_new": 9, **carried}
    )
    both = np.concatenate([part["generated"], rest["generated"]], axis=1)
    assert both.tolist() == whole["generated"].tolist()
    for pair in contract.states:
        np.testing.assert_allclose(rest[pair.output], whole[pair.output], atol=2e-6)


def test_the_end_ends_a_row_and_no_other(case: Any) -> None:
    _, _, session = case
    start = {"tokens": PROMPTS, "lengths": LENGTHS, "seed": np.array([1, 2, 3]), "max_new": 40}
    free = session.run_named({**start, "temperature": 1.5})
    end = int(free["generated"][0, 4])
    found = session.run_named({**start, "temperature": 1.5, "end": end})
    for row in range(3):
        written = free["generated"][row].tolist()
        length = written.index(end) + 1 if end in written else len(written)
        assert found["generated_lengths"][row] == length
        assert found["generated"][row, :length].tolist() == written[:length]
        assert not found["log_probabilities"][row, length:].any()


@pytest.mark.parametrize(
    "options", [{}, {"top_k": 3}, {"top_p": 0.7}, {"temperature": 2.0, "top_k": 5, "top_p": 0.6}]
)
def test_draws_follow_the_probabilities(case: Any, options: dict[str, float]) -> None:
    module, _, session = case
    rows = 4000
    prompt = np.tile(PROMPTS[:1], (rows, 1))
    found = session.run_named(
        {
            "tokens": prompt,
            "lengths": np.full(rows, 5),
            "seed": np.arange(rows),
            "max_new": 1,
            **options,
        }
    )
    with torch.no_grad():
        logits = module(torch.from_numpy(PROMPTS[:1]), *module.initial_state(1))[0][0, -1].double()
    logits[list(NEVER)] = -np.inf
    probabilities = expected_probabilities(logits.numpy(), **options)
    counts = np.bincount(found["generated"][:, 0], minlength=SIZE)
    assert not counts[probabilities == 0].any()
    spread = np.sqrt(rows * probabilities * (1 - probabilities))
    assert (np.abs(counts - rows * probabilities) <= 4 * spread + 1).all()


def expected_probabilities(
    logits: np.ndarray, temperature: float = 1.0, top_k: int = SIZE, top_p: float = 1.0
) -> np.ndarray:
    order = np.argsort(-logits, kind="stable")[:top_k]
    kept = softmax(logits[order] / temperature)
    inside = np.array([kept[:place].sum() < top_p for place in range(len(kept))])
    result = np.zeros_like(logits)
    result[order] = np.where(inside, kept, 0) / kept[inside].sum()
    return result


def test_consecutive_seeds_write_different_texts(case: Any) -> None:
    _, _, session = case
    rows = 64
    found = session.run_named(
        {
            "tokens": np.tile(PROMPTS[:1], (rows, 1)),
            "lengths": np.full(rows, 5),
            "seed": np.arange(rows),
            "max_new": 12,
            "temperature": 2.0,
        }
    )
    assert len({tuple(row) for row in found["generated"].tolist()}) == rows


def test_run_writes_by_the_graph_and_pieces_do_not_show(case: Any) -> None:
    _, bundle, session = case
    pipeline = Pipeline(bundle)
    text = "".join(pipeline.generate("abc", Sampling(length=40, seed=11, temperature=1.4)))
    ids = np.array([[VOCABULARY.index(character) for character in "abc"]])
    found = session.run_named(
        {"tokens": ids, "lengths": [3], "seed": [11], "max_new": 40, "temperature": 1.4}
    )
    assert text == "".join(VOCABULARY[place] for place in found["generated"][0])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"max_new": 0}, "max_new must be at least 1"),
        ({"lengths": np.array([5, 0, 3])}, "lengths"),
        ({"lengths": np.array([6, 2, 3])}, "lengths"),
        ({"tokens": np.full((3, 5), SIZE)}, "tokens"),
        ({"temperature": float("nan")}, "temperature must be finite"),
    ],
)
def test_wrong_inputs_are_refused(case: Any, wrong: dict[str, Any], said: str) -> None:
    _, _, session = case
    with pytest.raises(InputError, match=said.replace("[", r"\[")):
        session.run({"tokens": PROMPTS, "lengths": LENGTHS, **wrong})


def test_every_weight_stands_in_the_file_once(case: Any) -> None:
    module, bundle, _ = case
    generator = ir.load(bundle.graph_path("generate"))
    large = [
        value.const_value
        for value in generator.graph.initializers.values()
        if value.const_value is not None and value.const_value.size > SIZE
    ]
    weights = sum(p.numel() for p in module.parameters())
    # Beside them a row of the first layer's gates for each id, and what stands for its weights.
    gates = module.core.weight_ih_l0.shape[0]
    assert sum(tensor.size for tensor in large) <= weights + (SIZE + 2) * gates
    assert all(
        not isinstance(node.graph, ir.Graph)
        or node.graph is generator.graph
        or not node.graph.initializers
        for node in generator.graph.all_nodes()
    )


def test_another_module_than_the_graphs_is_found_out(case: Any, tmp_path: Path) -> None:
    from rnn_edge.generating import add_generator

    module, bundle, _ = case
    stream = Stream(ir.load(bundle.graph_path("stream")), bundle.graph("stream"))
    other = language_model("lstm" if len(module.states) == 2 else "gru")
    with torch.no_grad():
        other.core.weight_hh_l1[0, 0] += 0.5
    arguments = _arguments(bundle, other)
    whole = Stream(ir.load(bundle.graph_path()), bundle.graph())
    part = add_generator(stream, whole, (other, arguments), tmp_path, bundle.contract.decoder)
    assert part.generator is None
    assert "must be within" in part.evidence["refused"]


@pytest.fixture(scope="module", params=["strings", "code points"])
def texts(case: Any, request: Any, tmp_path_factory: pytest.TempPathFactory) -> rnn_edge.Session:
    """The graph that takes prompts as texts."""
    _, bundle, _ = case
    if request.param == "strings":
        return rnn_edge.Session(bundle, graph="pipeline")
    generator = Stream(ir.load(bundle.graph_path("generate")), bundle.graph("generate"))
    model, folder = ir.load(bundle.graph_path()), tmp_path_factory.mktemp("portable")
    part = add_pipeline(
        model, bundle.contract, rnn_edge.Session(bundle), True, GeneratePart(generator, {}, {})
    )
    write_pipeline(folder, part, bundle.contract)
    return rnn_edge.Session(folder / "pipeline.onnx", trusted=True)


def test_prompts_are_texts_and_so_is_what_follows(case: Any, texts: rnn_edge.Session) -> None:
    module, _, _ = case
    prompts = ["bcdef", "gh", "", "?b"]
    feed = texts.fill({**prompt_feed(texts, prompts), "temperature": 0.0, "max_new": 13})
    found = texts.run_named(feed)
    for row, prompt in enumerate(prompts):
        # Nothing starts a line; what is not known is read as unknown.
        ids = [VOCABULARY.index(c) if c in VOCABULARY else 1 for c in prompt or "\n"]
        written = eager_greedy(module, ids, 13)
        assert found["text"][row] == "".join(VOCABULARY[place] for place in written)
        assert found["generated"][row].tolist() == written


def test_a_text_goes_on_from_its_last_character_and_ends_with_its_end(
    case: Any, texts: rnn_edge.Session
) -> None:
    start = {**prompt_feed(texts, ["bc", "def"]), "seed": np.array([3, 4])}
    whole = texts.run_named({**start, "max_new": 30})["text"]
    part = texts.run_named({**start, "max_new": 11})
    carried = {pair.input: part[pair.output] for pair in texts.contract.states}
    last = prompt_feed(texts, [text[-1] for text in part["text"]])
    rest = texts.run_named({**last, "max_new": 19, **carried})["text"]
    assert [a + b for a, b in zip(part["text"], rest, strict=True)] == whole.tolist()
    ended = texts.run_named({**start, "max_new": 30, "end": ord(whole[0][4])})["text"]
    for text, long in zip(ended, whole, strict=True):
        assert text == long[: long.find(whole[0][4]) + 1 or None]


def test_no_prompts_give_no_texts(texts: rnn_edge.Session) -> None:
    # In a process of its own: where a guard is missing, ONNX Runtime ends it.
    feed = texts.fill({**prompt_feed(texts, ["b"]), "max_new": 2})
    kinds = {name: str(array.dtype) for name, array in feed.items()}
    shapes = {
        spec.name: [0 if isinstance(dim, str) else dim for dim in spec.dims]
        for spec in texts.contract.inputs
    }
    code = f"""
import numpy, onnxruntime
feed = {{name: numpy.ones({shapes!r}[name], kind) for name, kind in {kinds!r}.items()}}
print(onnxruntime.InferenceSession({str(texts.path)!r}).run(["text"], feed)[0].shape)
"""
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100
    )
    assert child.stdout == "(0,)\n", child.stderr


def _arguments(bundle: rnn_edge.Bundle, module: NextCharacterModel) -> Any:
    from rnn_edge.verification.against_module import read_bundle_arguments

    return read_bundle_arguments(bundle, module, None, None)[1]


def test_a_model_without_ids_is_refused(tmp_path: Path) -> None:
    module = torch.nn.GRU(3, 4, batch_first=True)
    bundle = rnn_edge.export(
        module, (torch.zeros(2, 5, 3),), tmp_path / "gru", axes=[("batch", "sequence", None)]
    )
    stream = Stream(ir.load(bundle.graph_path("stream")), bundle.graph("stream"))
    with pytest.raises(rnn_edge.errors.ExportError, match="must read one id at each step"):
        derive_generator(stream)


class Plain(torch.nn.Module):
    """As many write it: ids in, logits out, and no word of a state."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(6)
        self.table = torch.nn.Embedding(SIZE, 5)
        self.core = torch.nn.LSTM(5, 7, batch_first=True)
        self.head = torch.nn.Linear(7, SIZE)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(6 * self.core(self.table(tokens))[0])
        return logits


def test_a_module_that_keeps_its_state_to_itself_writes_what_it_writes(tmp_path: Path) -> None:
    module = Plain().eval()
    bundle = rnn_edge.export(
        module,
        (torch.arange(12).reshape(2, 6) % SIZE,),
        tmp_path / "plain",
        axes=[("batch", "sequence")],
        bounds={"tokens": (0, SIZE - 1)},
        decoder=NextCharacterDecoder(()),
    )
    session = rnn_edge.Session(bundle, graph="generate")
    inputs = {"tokens": PROMPTS, "lengths": LENGTHS, "temperature": 0.0, "max_new": 20}
    found = session.run_named(session.fill(inputs))["generated"]
    for prompt, length, row in zip(PROMPTS, LENGTHS, found, strict=True):
        read = prompt[:length].tolist()
        for written in row.tolist():
            with torch.no_grad():
                assert written == int(module(torch.tensor([read]))[0, -1].argmax())
            read.append(written)
