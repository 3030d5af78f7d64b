"""The tagging task: its data and rule, its measures, and that it learns, exports and runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from rnn_edge.cli.main import program
from rnn_edge.contract import TagDecoder
from rnn_edge.errors import DataError
from rnn_edge.tasks.entities import bracketed, entity_parts, filled
from rnn_edge.tasks.tagging import (
    Tagging,
    conll,
    dna,
    frame_labels,
    scores,
)

FRAME = re.compile(r"ATG(?:(?!TAA|TAG|TGA)[ACGT]{3})*(?:TAA|TAG|TGA|[ACGT]{0,2}$)")


def frames_by_expression(bases: str) -> str:
    """The rule once more, as a regular expression."""
    labels = ["-"] * len(bases)
    for match in FRAME.finditer(bases):
        for place in range(*match.span()):
            labels[place] = "123"[(place - match.start()) % 3]
    return "".join(labels)


@pytest.mark.parametrize(
    ("bases", "labels"),
    [
        ("CCATGAAATAGCC", "--123123123--"),
        ("CATGAAAC", "-1231231"),
        ("ATGTAAATGTGA", "123123123123"),
        ("CCCTAACCC", "---------"),
    ],
)
def test_the_frame_runs_from_start_to_stop_codon(bases: str, labels: str) -> None:
    assert "".join(frame_labels(bases)) == labels == frames_by_expression(bases)


def test_generated_dna_follows_the_rule() -> None:
    chance = np.random.default_rng(0)
    for _ in range(300):
        bases, labels = dna(chance)
        assert "".join(labels) == frames_by_expression(bases)


def test_the_other_strand_is_labelled_where_this_one_is_not_read() -> None:
    # TTACAT read backwards and complemented is ATGTAA.
    assert "".join(frame_labels("CTTACATC", both=True)) == "-cbacba-"
    assert "".join(frame_labels("TTACATG", both=True)) == "cbac123"


def test_marked_sentences_are_as_long_as_their_labels() -> None:
    text, labels = bracketed("[PER Ada] saw [LOC Rome].")
    assert len(text) == len(labels)
    spans = [(text[first:end], kind) for kind, first, end in TagDecoder.spans(labels)]
    assert spans == [("Ada", "PER"), ("Rome", "LOC")]


def test_templates_are_filled_with_names_of_their_language() -> None:
    names = {
        **{"english given": ["Ada"], "english family": ["Ng"], "english place": ["Rome"]},
        **{"chinese family": ["王"], "chinese given": ["芳", "明"], "chinese place": ["北京"]},
    }
    chance = np.random.default_rng(0)
    for _ in range(20):
        assert filled("[PER] saw [LOC].", names, chance)[0] in {"Ada Ng saw Rome.", "Ada saw Rome."}
        text, labels = filled("[PER]在[LOC]。", names, chance)
        assert re.fullmatch("王(芳|明|芳明|明芳)在北京。", text)
        assert labels[-4:] == ["O", "B-LOC", "I-LOC", "O"]


def test_what_is_held_for_test_shares_no_template_and_no_name_with_training() -> None:
    for seed in range(3):
        parts = entity_parts(np.random.default_rng(seed))
        assert [len({text for text, _ in part}) for part in parts] == [4000, 300, 600]
        frames, names = [], []
        for part in parts:
            assert 0.35 < np.mean([text.isascii() for text, _ in part]) < 0.65
            found: set[tuple[str, str]] = set()
            seen = set()
            for text, labels in part:
                frame = ""
                for place, (character, label) in enumerate(zip(text, labels, strict=True)):
                    begins = label.startswith("B-")
                    frame += label[2:] if begins else character if label == "O" else ""
                    assert label[:2] != "I-" or labels[place - 1][2:] == label[2:]
                seen.add(frame)
                for kind, first, end in TagDecoder.spans(labels):
                    name = text[first:end]
                    # The first words of an English name, all but the family name of a Chinese.
                    parted = name.split() if name.isascii() else [*name[1:]]
                    if kind == "PER":
                        found |= {(kind, part) for part in parted}
                    elif kind == "LOC":
                        found.add((kind, name))
                    else:
                        found.add((kind, name.split()[0] if name.isascii() else name[:2]))
            frames.append(seen)
            names.append(found)
        for held in (1, 2):
            assert not frames[0] & frames[held]
            assert not names[0] & names[held]


def test_conll_columns_become_labelled_characters() -> None:
    text = "Ada NNP B-PER\nNg NNP I-PER\nsang VBD O\n\n王 B-PER\n芳 I-PER\n\n\nx O\n"
    first, second, third = conll(text, "x")
    assert first == ("Ada Ng sang", ["B-PER", *["I-PER"] * 5, *["O"] * 5])
    assert second == ("王芳", ["B-PER", "I-PER"])
    assert third == ("x", ["O"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"a O\n\nb\n\nc O\n", "got 'b' in line 3"),
        (b"a O\n\nb O\n", "3 sentences or more.* got 2"),
        (b"a O\n\na O\n\na O\n", "3 different rows or more, got 1"),
        (b"caf\xe9 O\n", "must be UTF-8, got byte 0xe9 in line 1"),
    ],
)
def test_bad_data_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.conll"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        Tagging().load(str(path), seed=0)
    assert "\n" not in str(caught.value)


def test_strands_belong_to_dna() -> None:
    with pytest.raises(DataError, match="strands must be left out"):
        Tagging(strands="both").load("entities", seed=0)


def test_a_span_counts_only_when_it_is_whole() -> None:
    labels = ("O", "B-X", "I-X")
    true = [np.array([1, 2, 0, 1]), np.array([0, 0])]
    predicted = [np.array([1, 0, 0, 1]), np.array([0, 0])]
    # One of two spans is right, and one of two that are claimed.
    assert scores(true, predicted, labels) == pytest.approx(
        {"accuracy": 5 / 6, "rows right": 0.5, "span F1": 0.5}
    )


@pytest.mark.parametrize("crf", [False, True])
def test_a_rule_is_learnt_exported_verified_and_run(place: Path, crf: bool) -> None:
    """Capital letters are names: the exact answer is known for any text."""
    chance = np.random.default_rng(0)
    rows = ["".join(chance.choice(list("abAB"), size=chance.integers(2, 9))) for _ in range(150)]
    sentences = ["\n".join(f"{c} {'B-N' if c.isupper() else 'O'}" for c in row) for row in rows]
    Path("names.conll").write_text("\n\n".join(sentences))

    def call(*arguments: str) -> str:
        result = CliRunner().invoke(program, arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    options = ["--hidden-size", "8", "--epochs", "6", "--lr", "0.05", "--batch-size", "16"]
    options += ["--dropout", "0", "--plot", *(["--crf"] if crf else [])]
    train = call("train", "tagging", "--data", "names.conll", "-o", "run", *options, "--json")
    assert json.loads(train)["metrics"]["scores"]["model"]["span F1"] == 1
    assert Path("run/confusion.png").is_file()
    call("export", "run", "-o", "bundle")
    call("verify", "bundle")
    document = json.loads(call("run", "bundle", "--text", "aBAb", "--text", "bb", "--json"))
    assert [row["labels"] for row in document["results"]] == [["O", "B-N", "B-N", "O"], ["O", "O"]]
    assert [span["span"] for span in document["results"][0]["spans"]] == ["B", "A"]
    assert document["results"][1]["spans"] == []
