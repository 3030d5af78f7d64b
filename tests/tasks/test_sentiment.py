"""The sentiment task: its data, its report, and that it learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rnn_edge.batching import SequenceSplit
from rnn_edge.contract import CharacterFrontEnd, LabelDecoder
from rnn_edge.errors import DataError, TrainingError
from rnn_edge.tasks.sentiment import Sentiment, split_by_label
from rnn_edge.tasks.task import Interface, TaskData
from rnn_edge.training import train
from rnn_edge.vocabulary import PADDING_ID, UNKNOWN_ID


def csv_file(folder: Path, rows: list[tuple[object, str]], header: str = "label,text") -> str:
    path = folder / "reviews.csv"
    path.write_text(header + "\n" + "".join(f"{label},{text}\n" for label, text in rows))
    return str(path)


def simple_rows(count: int = 10) -> list[tuple[object, str]]:
    return [(place % 2, "good" if place % 2 else "bad") for place in range(count)]


def parts(data: TaskData) -> list[SequenceSplit]:
    return [data.train, data.validation, data.test]  # type: ignore[list-item]


# --- Data -------------------------------------------------------------------------------------


def test_the_default_data_is_balanced_and_bilingual():
    data = Sentiment().load(None, seed=0)
    counts = [part.targets.bincount().tolist() for part in parts(data)]
    assert [sum(column) for column in zip(*counts, strict=True)] == [300, 300]
    characters = set(data.interface.front_end.vocabulary)
    assert {"e", "好"} <= characters


def test_every_row_is_in_one_part_and_each_label_has_its_share():
    labels = np.array([0] * 100 + [1] * 40)
    train, validation, test = split_by_label(labels, ("a", "b"), "x.csv", seed=0)
    assert sorted([*train, *validation, *test]) == list(range(140))
    assert np.bincount(labels[test]).tolist() == [20, 8]
    assert np.bincount(labels[validation]).tolist() == [5, 2]


def test_the_seed_decides_the_split():
    labels = np.array([0, 1] * 50)
    first, again, other = (split_by_label(labels, ("a", "b"), "x", seed)[2] for seed in (3, 3, 4))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


def test_characters_of_held_texts_are_unknown_to_the_vocabulary(tmp_path):
    # Every text has a character of its own, twice.
    rows = [(place % 2, chr(0x4E00 + place) * 2) for place in range(20)]
    data = Sentiment().load(csv_file(tmp_path, rows), seed=0)
    train, validation, test = parts(data)
    assert len(data.interface.front_end.vocabulary) == 2 + len(train)
    assert not any((row == UNKNOWN_ID).any() for row in train.sequences)
    assert all((row == UNKNOWN_ID).all() for row in validation.sequences + test.sequences)


def test_an_epoch_goes_through_small_data_several_times(tmp_path):
    train = Sentiment().load(csv_file(tmp_path, simple_rows(400)), seed=0).train
    batches = list(train.batches(64, torch.Generator().manual_seed(0)))
    assert len(batches) == train.batch_count(64)
    assert sum(batch.count for batch in batches) == 7 * len(train) == 7 * 300


def test_an_epoch_goes_through_large_data_once(tmp_path):
    train = Sentiment().load(csv_file(tmp_path, simple_rows(4000)), seed=0).train
    assert train.batch_count(1) == len(train) == 3000


def test_labels_0_and_1_are_called_negative_and_positive(tmp_path):
    data = Sentiment().load(csv_file(tmp_path, simple_rows()), seed=0)
    assert data.interface.decoder == LabelDecoder(("negative", "positive"))


def test_other_labels_keep_their_names(tmp_path):
    rows = [(("sad", "glad", "mad")[place % 3], "text") for place in range(12)]
    data = Sentiment().load(csv_file(tmp_path, rows), seed=0)
    assert data.interface.decoder == LabelDecoder(("glad", "mad", "sad"))


def test_targets_follow_the_order_of_the_label_names(tmp_path):
    rows = [("up", "u") if place % 2 else ("down", "d") for place in range(20)]
    data = Sentiment().load(csv_file(tmp_path, rows), seed=0)
    u = data.interface.front_end.vocabulary.index("u")
    for part in parts(data):
        expected = [int(row[0] == u) for row in part.sequences]
        assert part.targets.tolist() == expected


@pytest.mark.parametrize(
    ("header", "own"),
    [
        ("label,review", {}),
        ("stars,body", {"label_column": "stars", "text_column": "body"}),
    ],
)
def test_columns_are_found_by_name(tmp_path, header, own):
    data = Sentiment(**own).load(csv_file(tmp_path, simple_rows(), header), seed=0)
    assert sum(len(part) for part in parts(data)) == 10


def test_a_text_column_is_preferred_to_a_review_column(tmp_path):
    path = tmp_path / "both.csv"
    path.write_text("label,review,text\n" + "0,rr,tt\n1,rr,tt\n" * 5)
    data = Sentiment().load(str(path), seed=0)
    assert data.interface.front_end.vocabulary == ("<pad>", "<unk>", "t")


def test_texts_beyond_the_maximum_are_cut(tmp_path):
    rows = [(place % 2, "x" * 30) for place in range(10)]
    data = Sentiment(max_length=12).load(csv_file(tmp_path, rows), seed=0)
    assert all(part.lengths.tolist() == [12] * len(part) for part in parts(data))
    assert "10 texts cut to 12" in data.description


def test_byte_order_mark_and_crlf_change_nothing(tmp_path):
    path = Path(csv_file(tmp_path, simple_rows()))
    plain = Sentiment().load(str(path), seed=0)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    marked = Sentiment().load(str(path), seed=0)
    assert marked.interface == plain.interface
    for one, other in zip(parts(marked), parts(plain), strict=True):
        assert all(map(torch.equal, one.sequences, other.sequences))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"label,text\n", "rows under its header"),
        (b"label,text\n0,caf\xe9\n", "must be UTF-8, got byte 0xe9 in line 2"),
        (b"score,body\n0,a\n", "must include 'label', got score, body"),
        (b"label,body\n0,a\n", "must include 'text', got label, body. .* --text-column"),
        (b"label,text\n1,a\n1,b\n1,c\n", "two values or more, got '1' alone"),
        (b"label,text\n1,a\n0,b,c\n", "must have 2 fields .* got 3 in line 3"),
        (b"label,text\n1,a\n0\n", "must have 2 fields .* got 1 in line 3"),
        (b"label,text\n1,a\n0,  \n", "column 'text' .* empty in line 3"),
        (b"label,text\n1,a\n,b\n", "column 'label' .* empty in line 3"),
        (b"label,text\n1,a\n1,a\n1,a\n0,b\n0,b\n", "3 rows or more, .* got 2 of .negative"),
    ],
)
def test_bad_data_is_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        Sentiment().load(str(path), seed=0)
    assert "\n" not in str(caught.value)


def test_a_maximum_length_of_zero_is_refused():
    with pytest.raises(TrainingError, match="max_length must be at least 1, got 0"):
        Sentiment(max_length=0)


# --- Report -----------------------------------------------------------------------------------


class LongIsPositive(nn.Module):
    """Calls a text of more than two characters positive."""

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        return torch.stack([lengths <= 2, lengths > 2], dim=1).float()


def scored() -> TaskData:
    """Test lengths 1 2 3 4 5 with labels 0 1 1 1 0: 1 true negative, 1 missed, 2 hit, 1 false."""
    rows = [torch.full((length,), 2) for length in (1, 2, 3, 4, 5)]
    test = SequenceSplit(rows, torch.tensor([0, 1, 1, 1, 0]), PADDING_ID)
    train = SequenceSplit(rows[:3], torch.tensor([1, 0, 0]), PADDING_ID)
    interface = Interface(
        CharacterFrontEnd(("<pad>", "<unk>", "x"), unknown=1, padding=0),
        LabelDecoder(("negative", "positive")),
        {"longest": 5},
    )
    return TaskData(train, None, test, interface, "five texts")


def test_the_report_holds_accuracy_and_f1():
    scores = Sentiment().report(LongIsPositive(), scored()).scores["model"]
    # Precision 2/3, recall 2/3.
    assert scores == {"accuracy": pytest.approx(3 / 5), "F1 of positive": pytest.approx(2 / 3)}


def test_the_baseline_is_the_majority_of_the_training_part():
    scores = Sentiment().report(LongIsPositive(), scored()).scores
    assert scores["always negative"] == {"accuracy": pytest.approx(2 / 5), "F1 of positive": 0.0}


def test_the_report_counts_each_label_by_prediction():
    (table,) = Sentiment().report(LongIsPositive(), scored()).tables
    assert table.columns == ("label", "negative", "positive")
    assert table.rows == (("negative", 1, 1), ("positive", 1, 2))


# --- Training and deployment --------------------------------------------------------------------

TINY = {
    "hidden_size": 8,
    "embedding_size": 8,
    "batch_size": 16,
    "lr": 2e-2,
    "threads": 1,
    "dropout": 0.0,
}


def one_telling_character(folder: Path) -> str:
    """200 texts of 3 to 12 characters; those with a ``!`` are positive."""
    chance = np.random.default_rng(0)
    rows = []
    for place in range(200):
        letters = list(chance.choice(list("abcdef"), size=chance.integers(3, 13)))
        if place % 2:
            letters[chance.integers(len(letters))] = "!"
        rows.append((place % 2, "".join(letters)))
    return csv_file(folder, rows)


def test_training_learns_which_character_tells_and_draws_the_confusion(tmp_path):
    data = one_telling_character(tmp_path)
    checkpoint = train("sentiment", data, output=tmp_path / "model", epochs=2, plot=True, **TINY)
    assert (tmp_path / "model" / "confusion.png").read_bytes().startswith(b"\x89PNG")
    scores = checkpoint.config["metrics"]["scores"]
    assert scores["always negative"]["accuracy"] == 0.5
    assert scores["model"]["accuracy"] > 0.95


def test_the_same_seed_trains_the_same_model(tmp_path):
    data = one_telling_character(tmp_path)
    first, again, other = (
        train("sentiment", data, output=tmp_path / name, epochs=1, seed=seed, **TINY)
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    weights = [dict(run.module.state_dict()) for run in (first, again, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not torch.equal(weights[0]["embedding.weight"], weights[2]["embedding.weight"])


@pytest.mark.parametrize("cell", ["rnn-tanh", "rnn-relu", "lstm", "gru"])
def test_the_deployment_fits_the_module(tmp_path, cell):
    task = Sentiment(embedding_size=4)
    data = task.load(csv_file(tmp_path, simple_rows()), seed=0)
    options = type(task.model)(cell=cell, hidden_size=5)
    module = task.build(options, data.interface).eval()
    deployment = task.deployment(module, data.interface)
    logits = module(*deployment.args)
    assert logits.shape == (len(deployment.args[0]), 2)
    assert [len(axes) for axes in deployment.axes] == [arg.dim() for arg in deployment.args]
    assert deployment.bounds == {"tokens": (0, len(data.interface.front_end.vocabulary) - 1)}
    assert deployment.limits["sequence"].trained_maximum == len("good")
