import numpy as np
import pytest

from rnn_edge.vocabulary import PADDING_ID, UNKNOWN_ID, Vocabulary


def test_frequent_characters_come_first_and_ties_in_code_point_order():
    assert Vocabulary.build(["banana", "nbz"]).entries == ("<pad>", "<unk>", "a", "n", "b", "z")


def test_characters_below_the_minimum_count_are_left_out():
    assert Vocabulary.build(["aab"], minimum_count=2).entries == ("<pad>", "<unk>", "a")


def test_an_unseen_character_becomes_unknown():
    ids = Vocabulary.build(["ab"]).encode("aéb")
    np.testing.assert_array_equal(ids, [2, UNKNOWN_ID, 3])
    assert ids.dtype == np.int64


def test_one_emoji_is_one_character():
    assert len(Vocabulary.build(["好👍"]).encode("👍好👍")) == 3


@pytest.mark.parametrize("text", ["<pad>", "<unk>"])
def test_the_names_of_special_entries_are_ordinary_characters_in_a_text(text):
    ids = Vocabulary.build([text]).encode(text)
    assert len(ids) == 5
    assert PADDING_ID not in ids
    assert UNKNOWN_ID not in ids


def test_decoding_gives_the_text_back():
    vocabulary = Vocabulary.build(["差评 bad"])
    assert vocabulary.decode(vocabulary.encode("bad 差")) == "bad 差"


def test_decoding_drops_padding_and_marks_unknown():
    assert Vocabulary.build(["ab"]).decode([2, UNKNOWN_ID, PADDING_ID]) == "a\ufffd"


def test_the_front_end_places_each_character_at_its_id():
    vocabulary = Vocabulary.build(["abc"])
    front_end = vocabulary.front_end()
    assert front_end.vocabulary[vocabulary.encode("c")[0]] == "c"
    assert front_end.vocabulary[front_end.padding] == "<pad>"
    assert front_end.vocabulary[front_end.unknown] == "<unk>"
