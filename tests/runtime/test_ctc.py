"""Decoding against the probabilities of all paths there are."""

from __future__ import annotations

from collections import defaultdict
from itertools import groupby, product

import numpy as np
import pytest

from rnn_edge.contract import CtcDecoder
from rnn_edge.errors import ContractError
from rnn_edge.runtime.ctc import beam_search, greedy, likeliest_frames
from rnn_edge.runtime.decoders import TextAnswer, decode

FRAMES, LABELS = 5, 3


def made(seed: int, sharp: float = 1.0) -> np.ndarray:
    logits = sharp * np.random.default_rng(seed).normal(size=(FRAMES, LABELS))
    return np.log(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))


def all_texts(said: np.ndarray, blank: int) -> dict[tuple[int, ...], float]:
    """Every text and its probability, the sum over all paths that give it."""
    found: dict[tuple[int, ...], float] = defaultdict(float)
    for path in product(range(LABELS), repeat=FRAMES):
        text = tuple(label for label, _ in groupby(path) if label != blank)
        found[text] += np.exp(sum(said[frame, label] for frame, label in enumerate(path)))
    return found


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("seed", range(5))
def test_a_wide_beam_finds_every_text_with_its_probability(seed: int, blank: int) -> None:
    said = made(seed)
    expected = all_texts(said, blank)
    found = beam_search(said, blank, 10_000)
    assert {each.labels for each in found} == set(expected)
    for each in found:
        assert np.exp(each.log_probability) == pytest.approx(expected[each.labels])
    assert found[0].labels == max(expected, key=lambda text: expected[text])


def test_a_beam_finds_what_no_single_path_shows() -> None:
    """Blank is the likeliest path, but most of the paths say something."""
    said = np.log([[0.4, 0.35, 0.25], [0.4, 0.35, 0.25]])
    assert greedy(said, 0).labels == ()
    assert greedy(said, 0).log_probability == pytest.approx(2 * np.log(0.4))
    assert beam_search(said, 0, 2)[0].labels == (1,)
    assert len(beam_search(said, 0, 2)) == 2


def test_repeats_are_one_label_unless_a_blank_is_between() -> None:
    path = np.array([0, 1, 1, 0, 1, 2, 2, 0])
    said = np.log(np.eye(3)[path] * 0.9 + 0.03)
    assert likeliest_frames(said, 0) == [(1, 1), (1, 4), (2, 5)]
    assert greedy(said, 0).labels == beam_search(said, 0, 4)[0].labels == (1, 1, 2)


def test_labels_become_a_text_with_places_in_steps_of_the_input() -> None:
    said = np.log(np.eye(3)[[0, 1, 0, 2]] * 0.9 + 0.03)
    decoder = CtcDecoder(("", "a", "b"), stride=160)
    answer = decode(decoder, said)
    assert isinstance(answer, TextAnswer)
    assert (answer.text, answer.places) == ("ab", (160, 480))
    others = decode(decoder, said, beam=3).to_dict()
    assert others["text"] == "ab"
    assert len(others["others"]) == 2


def test_another_number_of_labels_is_refused() -> None:
    with pytest.raises(ContractError, match=r"must hold 3 numbers a frame.* got shape \[4, 2\]"):
        decode(CtcDecoder(("", "a", "b")), np.zeros((4, 2), np.float32), "log_probabilities")
