import math

import numpy as np
import pytest

from rnn_edge.contract import LabelDecoder, NextCharacterDecoder, TagDecoder, ValueDecoder
from rnn_edge.errors import ContractError
from rnn_edge.runtime.decoders import LabelAnswer, ValueAnswer, decode, softmax

LABELS = LabelDecoder(("no", "yes"))


def test_softmax_of_large_logits_is_exact():
    np.testing.assert_allclose(
        softmax(np.array([1000.0, 1000.0 + math.log(3)])), [0.25, 0.75], rtol=1e-12
    )


def test_logits_become_probabilities_of_the_labels():
    answer = decode(LABELS, np.log(np.array([1, 3], np.float32)))
    assert isinstance(answer, LabelAnswer)
    (row,) = answer.rows()
    assert row == ("yes", pytest.approx(0.75, abs=1e-6))
    assert answer.to_dict()["probabilities"]["no"] == pytest.approx(0.25, abs=1e-6)


def test_logits_of_every_step_give_a_label_for_every_step():
    answer = decode(LABELS, np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]], np.float32))
    assert [label for label, _ in answer.rows()] == ["no", "yes", "yes"]
    assert [step["label"] for step in answer.to_dict()["steps"]] == ["no", "yes", "yes"]


def test_values_are_named():
    answer = decode(ValueDecoder(("a", "b")), np.array([1.5, 2.5], np.float32))
    assert answer.to_dict() == {"values": {"a": 1.5, "b": 2.5}}


def test_values_of_every_step_are_steps():
    answer = decode(ValueDecoder(("a",)), np.array([[1.0], [2.0]], np.float32))
    assert answer.to_dict() == {"steps": [{"a": 1.0}, {"a": 2.0}]}


@pytest.mark.parametrize("output", [np.float32(3), np.array([3.0], np.float32)])
def test_a_single_value_may_come_with_or_without_an_axis(output):
    assert decode(ValueDecoder(("a",)), np.asarray(output)).to_dict() == {"values": {"a": 3.0}}


def test_without_a_decoder_the_numbers_are_named_after_the_output():
    answer = decode(None, np.array([1.0, 2.0]), "y")
    assert isinstance(answer, ValueAnswer)
    assert answer.to_dict() == {"values": {"y[0]": 1.0, "y[1]": 2.0}}


def test_what_json_cannot_hold_becomes_none():
    values = decode(ValueDecoder(("a", "b")), np.array([np.nan, np.inf]))
    assert values.to_dict() == {"values": {"a": None, "b": None}}


@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 2, 2), ()])
def test_an_output_that_does_not_fit_the_labels_is_refused(shape):
    with pytest.raises(ContractError, match="must have 2 numbers a sample"):
        decode(LABELS, np.zeros(shape, np.float32))


def test_a_next_character_model_is_no_single_answer():
    with pytest.raises(ContractError, match="must be sampled from"):
        decode(NextCharacterDecoder(), np.zeros(3))


def test_tags_without_spans_stand_under_their_text() -> None:
    answer = decode(TagDecoder(("-", "1", "2")), np.array([0, 1, 2]), "tags", "CAT")
    assert answer.rows() == [("CAT",), ("-12",)]


@pytest.mark.parametrize("tags", [np.array([0, 3]), np.array([0]), np.array([-1, 0])])
def test_tags_that_do_not_fit_text_or_labels_are_refused(tags: np.ndarray) -> None:
    with pytest.raises(ContractError, match="one place among 3 labels for each of 2 characters"):
        decode(TagDecoder(("-", "1", "2")), tags, "tags", "CA")
