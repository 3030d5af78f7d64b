import io

import numpy as np
import pytest
from PIL import Image

from rnn_edge.contract import CharacterFrontEnd, ImageFrontEnd, SeriesFrontEnd
from rnn_edge.errors import InputError
from rnn_edge.runtime import front_ends

TEXT = CharacterFrontEnd(("<pad>", "<unk>", "a", "好", " "), unknown=1, padding=0)
PAIR = SeriesFrontEnd(("speed", "load"), (0.0, 0.0), (1.0, 1.0))
ONE = SeriesFrontEnd(("value",), (0.0,), (1.0,))
PICTURE = ImageFrontEnd(2, 3, 16.0)


def png(pixels: object, mode: str | None = None) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.array(pixels, np.uint8), mode).save(stream, "PNG")
    return stream.getvalue()


def test_characters_become_their_places_in_the_vocabulary():
    ids = front_ends.characters(TEXT, "a 好", "x")
    assert ids.dtype == np.int64
    assert ids.tolist() == [2, 4, 3]


def test_an_unseen_character_becomes_unknown_and_so_does_the_name_of_a_special_entry():
    assert front_ends.characters(TEXT, "az", "x").tolist() == [2, 1]
    assert front_ends.characters(TEXT, "<pad>", "x").tolist() == [1, 1, 2, 1, 1]


def test_a_text_without_characters_is_refused():
    with pytest.raises(InputError, match="note must hold at least one character"):
        front_ends.characters(TEXT, "", "note")


@pytest.mark.parametrize("text", ["1 2 3.5", "1,2,3.5", "1, 2,\t3.5", "1;2;3.5"])
def test_a_line_of_numbers_is_a_series_of_one_column(text):
    sequence = front_ends.numbers(ONE, text, "x")
    assert sequence.dtype == np.float32
    assert sequence.tolist() == [[1.0], [2.0], [3.5]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x must hold numbers, got none"),
        ("1 b 3", "x must be a number, got 'b'"),
        ("1 nan", "x must be a finite number of at most 3.4e.38, got nan"),
        ("1 -inf", "x must be a finite number of at most 3.4e.38, got -inf"),
        ("1e39", r"x must be a finite number of at most 3.4e\+38, got 1e39"),
    ],
)
def test_a_line_with_something_else_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        front_ends.numbers(ONE, text, "x")


def test_a_line_of_numbers_is_no_series_of_two_columns():
    with pytest.raises(InputError, match="must be a CSV file with the columns speed, load"):
        front_ends.numbers(PAIR, "1 2", "x")


@pytest.mark.parametrize(
    "text",
    [
        "1,2\n3,4\n",
        "speed,load\n1,2\n3,4\n",
        "load,date,speed\n2,2016-07-01,1\n4,2016-07-02,3\n",
        "load;date;speed\n2;2016-07-01;1\n4;2016-07-02;3\n",
        "speed\tload\n1\t2\n3\t4\n",
        '"speed", "load"\n1, 2\n\n3, 4',
    ],
)
def test_a_table_gives_the_front_end_s_columns_in_its_order(text):
    sequence = front_ends.table(PAIR, text, "x")
    assert sequence.dtype == np.float32
    assert sequence.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_a_single_column_may_have_another_name():
    assert front_ends.table(ONE, "price\n1\n2\n", "x").tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2\n3\n", "rows of x must have 2 fields like the first, got 1 in line 2"),
        ("speed,load\n1,2,3\n", "must have 2 fields like the first, got 3 in line 2"),
        ("1,2\n3,nan\n", "x, line 2, field 2, must be a finite number .*, got nan"),
        ("1,2\n3,\n", "x, line 2, field 2, must be a number, got nothing"),
        ("1,2\n3,x\n", "x, line 2, field 2, must be a number, got 'x'"),
        ("speed,weight\n1,2\n", "must include speed, load, got speed, weight"),
        ("1,2,3\n", r"must have 2 columns \(speed, load\), got 3"),
        ("speed,load\n", "must hold rows under its header"),
        ("\n\n", "must hold numbers, it is blank"),
        ('"1,2\n3,4\n', "must be a CSV table, got in line 2"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        front_ends.table(PAIR, text, "x")


def test_grey_values_are_scaled_to_the_front_end_s_maximum():
    rows = front_ends.image(PICTURE, png([[0, 51, 255], [102, 0, 0]]), "x")
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, [[0, 3.2, 16], [6.4, 0, 0]], atol=1e-6)


def test_colour_becomes_brightness():
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[0] = np.eye(3) * 255
    rows = front_ends.image(PICTURE, png(pixels), "x")
    np.testing.assert_allclose(rows[0], [16 * 0.299, 16 * 0.587, 16 * 0.114], rtol=1e-6)


def test_transparent_parts_are_black():
    pixels = np.full((2, 3, 4), 255, np.uint8)
    pixels[1, :, 3] = 0
    rows = front_ends.image(PICTURE, png(pixels), "x")
    np.testing.assert_allclose(rows, [[16, 16, 16], [0, 0, 0]], rtol=1e-6)


def test_dark_on_light_is_turned_around_only_when_asked():
    content = png([[255, 0, 255], [255, 255, 255]])
    np.testing.assert_allclose(front_ends.image(PICTURE, content, "x")[0], [16, 0, 16], rtol=1e-6)
    inverted = front_ends.image(PICTURE, content, "x", invert=True)
    np.testing.assert_allclose(inverted, [[0, 16, 0], [0, 0, 0]], atol=1e-6)


def test_an_image_of_another_size_is_refused():
    with pytest.raises(InputError, match="x must be 3 x 2 pixels, got 4 x 5"):
        front_ends.image(PICTURE, png(np.zeros((5, 4))), "x")
