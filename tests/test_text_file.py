from pathlib import Path

import pytest

from rnn_edge.errors import DataError
from rnn_edge.text_file import parse_table, read_text


def written(folder: Path, content: bytes) -> Path:
    path = folder / "data.csv"
    path.write_bytes(content)
    return path


def fields_of(text: str) -> list[tuple[str, ...]]:
    return [row.fields for row in parse_table(text, "data.csv").rows]


def test_byte_order_mark_and_line_ends_leave_no_trace(tmp_path):
    path = written(tmp_path, b"\xef\xbb\xbfone\r\ntwo\rthree\n")
    assert read_text(path) == "one\ntwo\nthree\n"


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_a_byte_that_is_not_utf8_is_named_with_its_line(tmp_path, start):
    path = written(tmp_path, start + b"ok\nfine\ncaf\xe9 closed\n")
    with pytest.raises(DataError, match=r"byte 0xe9 in line 3\."):
        read_text(path)


def test_an_empty_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="it is empty"):
        read_text(written(tmp_path, b""))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_text(tmp_path / "absent.csv")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="Is a directory"):
        read_text(tmp_path)


def test_quoted_fields_keep_commas_quotes_and_line_ends():
    assert fields_of('label,text\n1,"a, ""b""\nc"\n') == [("1", 'a, "b"\nc')]


def test_blank_lines_are_skipped():
    assert fields_of("label,text\n\n1,a\n\n0,b\n\n") == [("1", "a"), ("0", "b")]


@pytest.mark.parametrize(("row", "count"), [("1", 1), ("1,good, cheap", 3)])
def test_a_ragged_row_is_named_with_its_line(row, count):
    with pytest.raises(DataError, match=rf"must have 2 fields .* got {count} in line 3\."):
        parse_table(f"label,text\n0,bad\n{row}\n0,bad\n", "data.csv")


def test_a_row_after_a_field_of_two_lines_is_named_by_its_line_in_the_file():
    with pytest.raises(DataError, match=r"in line 4\."):
        parse_table('label,text\n0,"two\nlines"\n1\n', "data.csv")


def test_a_quote_that_does_not_close_is_refused():
    with pytest.raises(DataError, match="must be a CSV table, got in line 3"):
        parse_table('label,text\n0,"bad\n1,good\n', "data.csv")


def test_a_header_alone_is_refused():
    with pytest.raises(DataError, match="rows under its header, it has none"):
        parse_table("label,text\n", "data.csv")


def test_a_blank_file_is_refused():
    with pytest.raises(DataError, match="it is blank"):
        parse_table("\n\n", "data.csv")


def test_a_missing_column_error_names_those_that_are_there():
    table = parse_table("score,body\n1,a\n", "data.csv")
    with pytest.raises(DataError, match=r"'text', got score, body\. .* --text-column"):
        table.index("text", "--text-column")
