"""The language-model task: streams, scores, samples, and that it learns."""

from __future__ import annotations

import inspect
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnn_edge.contract import NextCharacterDecoder
from rnn_edge.errors import DataError, TrainingError
from rnn_edge.tasks.language_model import LanguageModel, StreamSplit, frequency_entropy, sample
from rnn_edge.tasks.task import ModelOptions, TaskData
from rnn_edge.training import train
from rnn_edge.vocabulary import UNKNOWN_ID, Vocabulary

ROUND = "abcdefgh"


def text_file(folder: Path, content: bytes) -> str:
    path = folder / "book.txt"
    path.write_bytes(content)
    return str(path)


def round_and_round(folder: Path, length: int = 4000) -> str:
    return text_file(folder, (ROUND * length)[:length].encode())


def small(cell: str, data: TaskData, **own: int) -> tuple[LanguageModel, nn.Module]:
    torch.manual_seed(0)
    task = LanguageModel(embedding_size=4, **own)
    return task, task.build(ModelOptions(cell=cell, hidden_size=5), data.interface).eval()


# --- Streams ------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [2, 3, 10, 31, 100, 101])
@pytest.mark.parametrize("sequence_length", [1, 3, 10])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
@pytest.mark.parametrize("training", [True, False])
def test_every_pass_has_the_promised_number_of_batches(
    length, sequence_length, batch_size, training
):
    split = StreamSplit(torch.arange(length), sequence_length)
    generator = torch.Generator().manual_seed(0) if training else None
    batches = list(split.batches(batch_size, generator))
    assert len(batches) == split.batch_count(batch_size)
    assert all(1 <= batch.inputs[0].shape[1] <= sequence_length for batch in batches)
    assert all(batch.inputs[0].shape[0] <= batch_size for batch in batches)


def test_one_stream_reads_every_character_in_order():
    batches = list(StreamSplit(torch.arange(25), 10).batches(1))
    assert torch.cat([batch.inputs[0] for batch in batches], dim=1).tolist() == [list(range(24))]
    assert torch.cat([batch.targets for batch in batches], dim=1).tolist() == [list(range(1, 25))]
    assert [batch.count for batch in batches] == [10, 10, 4]


def test_streams_go_on_where_they_ended_and_together_hold_the_text():
    batches = list(StreamSplit(torch.arange(25), 5).batches(3))
    streams = torch.cat([batch.inputs[0] for batch in batches], dim=1)
    assert streams.tolist() == [list(range(0, 8)), list(range(8, 16)), list(range(16, 24))]


def test_a_training_pass_starts_anywhere_and_goes_round():
    split = StreamSplit(torch.arange(25), 5)
    generator = torch.Generator().manual_seed(1)
    starts = set()
    for _ in range(4):
        batches = list(split.batches(3, generator))
        tokens = torch.cat([batch.inputs[0] for batch in batches], dim=1).flatten()
        targets = torch.cat([batch.targets for batch in batches], dim=1).flatten()
        assert sorted(tokens.tolist()) == list(range(24))
        assert torch.equal(targets, tokens + 1)
        starts.add(int(tokens[0]))
    assert len(starts) > 1


def test_a_short_text_has_fewer_streams_than_the_batch_size():
    (batch,) = StreamSplit(torch.arange(21), 10).batches(64)
    assert batch.inputs[0].shape == (2, 10)


# --- Data ---------------------------------------------------------------------------------------


def test_the_last_tenth_is_held_and_the_parts_in_order_make_the_text(tmp_path):
    data = LanguageModel().load(round_and_round(tmp_path, 4000), seed=0)
    vocabulary = Vocabulary(data.interface.front_end.vocabulary)
    ids = [part.ids for part in (data.validation, data.train, data.test)]
    assert [len(part) for part in ids] == [80, 3520, 400]
    assert vocabulary.decode(torch.cat(ids).tolist()) == (ROUND * 500)


def test_a_character_of_the_held_part_alone_is_unknown(tmp_path):
    data = LanguageModel().load(text_file(tmp_path, b"ab" * 450 + b"az" * 50), seed=0)
    assert "z" not in data.interface.front_end.vocabulary
    assert (data.test.ids == UNKNOWN_ID).sum() == 50
    assert "50 of them unseen" in data.description


def test_byte_order_mark_and_crlf_change_nothing(tmp_path):
    content = b"one line\nand another\n" * 50
    plain = LanguageModel().load(text_file(tmp_path, content), seed=0)
    marked = b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n")
    other = LanguageModel().load(text_file(tmp_path, marked), seed=0)
    assert other.interface == plain.interface
    assert torch.equal(other.train.ids, plain.train.ids)


def test_the_default_is_the_documentation_of_python():
    data = LanguageModel().load(None, seed=0)
    vocabulary = Vocabulary(data.interface.front_end.vocabulary)
    assert 'The "assert" statement' in vocabulary.decode(data.validation.ids[:200].tolist())
    assert len(data.train) > 100_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"fine\nna\xefve\n", "must be UTF-8, got byte 0xef in line 2"),
        (b"too short", "longer than one training sequence of 64 characters, got 9 "),
        (b"x" * 72, "got 72 of which 64 are to train"),
    ],
)
def test_bad_data_is_refused_in_one_line(tmp_path, content, message):
    with pytest.raises(DataError, match=message) as caught:
        LanguageModel().load(text_file(tmp_path, content), seed=0)
    assert "\n" not in str(caught.value)


def test_a_sequence_length_of_zero_is_refused():
    with pytest.raises(TrainingError, match="sequence_length must be at least 1, got 0"):
        LanguageModel(sequence_length=0)


# --- Scores -------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["rnn-tanh", "rnn-relu", "lstm", "gru"])
def test_evaluation_carries_the_state_through_the_whole_text(tmp_path, cell):
    data = LanguageModel(sequence_length=7).load(round_and_round(tmp_path), seed=0)
    task, module = small(cell, data)
    ids = data.test.ids
    with torch.no_grad():
        logits, *_ = module(ids[None, :-1], *module.initial_state(1))
    expected = float(F.cross_entropy(logits[0], ids[1:]))
    assert task.evaluate(module, data.test)["loss"] == pytest.approx(expected, rel=1e-5)


def test_no_gradient_reaches_back_beyond_one_sequence(tmp_path):
    data = LanguageModel(sequence_length=7).load(round_and_round(tmp_path), seed=0)
    task, module = small("lstm", data)
    first, second, *_ = data.train.batches(4)
    _, state = task.forward(module, first, None)
    assert not any(tensor.requires_grad for tensor in state)
    output, _ = task.forward(module, second, state)
    task.loss(output, second).backward()


def test_the_baseline_is_the_entropy_of_the_counts_plus_one():
    # Ids: 0 padding, 1 unknown (counted 1), 2 three times + 1, 3 once + 1: of 7.
    train_ids = torch.tensor([2, 3, 2, 2])
    nats = frequency_entropy(train_ids, torch.tensor([2, 3, 1]), size=4)
    assert nats == pytest.approx(-(math.log(4 / 7) + math.log(2 / 7) + math.log(1 / 7)) / 3)


# --- Samples ------------------------------------------------------------------------------------


class Successor(nn.Module):
    """Sure that the next id is one more; surer still of padding and unknown."""

    def initial_state(self, batch: int) -> tuple[Tensor, ...]:
        return (torch.zeros(1, batch, 1),)

    def forward(self, tokens: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        logits = 100.0 * F.one_hot(tokens + 1, num_classes=8)
        logits[..., :2] = 1000.0
        return logits, h_0


def test_a_sample_follows_the_prompt_and_has_no_special_entries():
    vocabulary = Vocabulary(("<pad>", "<unk>", *"abcdef"))
    written = sample(Successor(), vocabulary, "ab", 4, torch.Generator().manual_seed(0))
    assert written == "cdef"


def test_the_generator_decides_the_sample(tmp_path):
    data = LanguageModel().load(round_and_round(tmp_path), seed=0)
    _, module = small("gru", data)
    vocabulary = Vocabulary(data.interface.front_end.vocabulary)
    first, again, other = (
        sample(module, vocabulary, "a", 40, torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert len(first) == 40


# --- Training and deployment --------------------------------------------------------------------

TINY = {
    "hidden_size": 24,
    "embedding_size": 8,
    "sequence_length": 16,
    "batch_size": 8,
    "lr": 2e-2,
    "threads": 1,
}


def test_training_learns_a_text_that_repeats_itself(tmp_path):
    data = round_and_round(tmp_path)
    checkpoint = train("language-model", data, output=tmp_path / "model", epochs=4, **TINY)
    report = checkpoint.config["metrics"]
    assert report["scores"]["model"]["nats per character"] < 0.1
    assert report["scores"]["model"]["bits per character"] == pytest.approx(
        report["scores"]["model"]["nats per character"] / math.log(2)
    )
    baseline = report["scores"]["character frequencies"]["bits per character"]
    assert baseline == pytest.approx(math.log2(len(ROUND)), abs=0.01)
    assert report["text"][:16] in ROUND * 4


def test_the_same_seed_trains_the_same_model(tmp_path):
    data = round_and_round(tmp_path, 1000)
    first, again, other = (
        train("language-model", data, output=tmp_path / name, epochs=1, seed=seed, **TINY)
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    weights = [dict(run.module.state_dict()) for run in (first, again, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not torch.equal(weights[0]["embedding.weight"], weights[2]["embedding.weight"])


@pytest.mark.parametrize(
    ("cell", "states"),
    [("lstm", {"h_0": "h_n", "c_0": "c_n"}), ("gru", {"h_0": "h_n"}), ("rnn-relu", {"h_0": "h_n"})],
)
def test_the_deployment_fits_the_module(tmp_path, cell, states):
    data = LanguageModel().load(round_and_round(tmp_path), seed=0)
    task, module = small(cell, data)
    deployment = task.deployment(module, data.interface)
    assert deployment.states == states
    assert list(inspect.signature(module.forward).parameters) == ["tokens", *states]
    assert list(deployment.output_names) == ["logits", *states.values()]
    assert [len(axes) for axes in deployment.axes] == [arg.dim() for arg in deployment.args]
    logits, *state = module(*deployment.args)
    assert logits.shape == (*deployment.args[0].shape, 2 + len(ROUND))
    assert [part.shape for part in state] == [part.shape for part in deployment.args[1:]]
    assert deployment.bounds == {"tokens": (0, 1 + len(ROUND))}
    assert deployment.decoder == NextCharacterDecoder(never=(0, 1))
