"""The translation task: its dates by another reading, its files, and that it learns and runs."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from rnn_edge.cli.main import program
from rnn_edge.contract import TextDecoder
from rnn_edge.errors import ContractError, DataError
from rnn_edge.runtime.decoders import decode
from rnn_edge.tasks.translation import FORMS, Translation, form_date, pairs, written_date
from rnn_edge.tasks.writing import scores

MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
DAYS = [datetime.date(1999, 12, 31), datetime.date(2004, 2, 29), datetime.date(2021, 10, 3)]
DAYS += [datetime.date(1930, 11, day) for day in range(1, 31)]


def number(text: str) -> int:
    """A number in digits or in Chinese, digit by digit or with tens."""
    if text.isdecimal():
        return int(text)
    if "十" in text:
        tens, ones = text.split("十")
        return 10 * (number(tens) if tens else 1) + (number(ones) if ones else 0)
    return int("".join(str("零一二三四五六七八九".index(digit)) for digit in text))


def read_date(text: str) -> datetime.date:
    """The day that a text says, by numbers and names of months alone."""
    if "年" in text:
        year, month, day = re.match(r"(?:公元)?(.+)年(.+)月(.+?)[日号]", text).groups()  # type: ignore[union-attr]
        return datetime.date(number(year), number(month), number(day))
    numbers = [int(found) for found in re.findall(r"\d+", text)]
    year = max(numbers)
    numbers.remove(year)
    names = [place for place, name in enumerate(MONTHS, 1) if name in text.lower()]
    return datetime.date(year, *(numbers if not names else [names[0], numbers[0]]))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_its_day(form: str) -> None:
    for day in DAYS:
        assert read_date(form_date(day, form)) == day


def test_forms_are_written_as_people_do() -> None:
    day = datetime.date(2021, 12, 22)
    assert form_date(day, "{weekday}, the {th} of {month}") == "Wednesday, the 22nd of December"
    assert form_date(day, "{cy}年{cm}月{cd}日，星期{cw}") == "二零二一年十二月二十二日，星期三"


def test_random_dates_go_with_their_iso_form() -> None:
    chance = np.random.default_rng(0)
    for _ in range(300):
        text, iso = written_date(chance)
        assert read_date(text).isoformat() == iso


def test_pairs_are_read_from_lines() -> None:
    assert pairs("a b\tc\n\n 好 \t d\n", "x", 9) == [("a b", "c"), ("好", "d")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "it is empty"),
        ("a\tb\nc\n", r"a tab and its translation in every line, got 'c' in line 2"),
        ("a\tb\tc\n", r"got 'a\\tb\\tc' in line 1"),
        ("a\t\n", "in line 1"),
        ("a\tb\nc\td\n", "3 different rows or more, got 2"),
        ("a\tb\nc\t" + "d" * 201, "bad.tsv, line 2, must have 200 characters or fewer, got 201"),
    ],
)
def test_bad_data_is_refused_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "bad.tsv"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        Translation().load(str(path), seed=0)
    assert "\n" not in str(caught.value)


def test_scores_of_what_is_right_and_of_what_is_not() -> None:
    right = scores(["2021-03-05", "1999-12-31"], ["2021-03-05", "1999-12-31"])
    assert right == {
        "texts right": 1,
        "character error rate": 0,
        "BLEU": pytest.approx(100),
        "chrF": pytest.approx(100),
    }
    wrong = scores(["abcdefgh"], ["stuvwxyz"])
    assert wrong["chrF"] == 0
    assert wrong["BLEU"] < 10


def test_a_text_ends_before_its_first_end() -> None:
    decoder = TextDecoder(("<pad>", "<unk>", "a", "好", "<end>"), end=4)
    assert decode(decoder, np.array([2, 3, 4, 2])).to_dict() == {"text": "a好"}
    assert decode(decoder, np.array([3, 3])).rows() == [("好好",)]
    assert decode(decoder, np.array([4])).rows() == [("",)]
    chances = np.log(np.array([0.5, 0.25, 0.5, 0.1], np.float32))
    written = decode(decoder, np.array([2, 3, 4, 2]), chances=chances)
    assert written.to_dict() == {
        "text": "a好",
        "log_probability": pytest.approx(np.log(0.0625)),
        "others": [],
    }
    unended = decode(decoder, np.array([3, 3]), chances=chances[:2])
    assert unended.rows() == [("好好", pytest.approx(np.log(0.125)))]
    for wrong in (np.array([5]), np.array([-1]), np.zeros((2, 2), int)):
        with pytest.raises(ContractError, match="must hold places among 5 characters"):
            decode(decoder, wrong, "written")


def test_a_code_is_learnt_exported_verified_and_run(place: Path) -> None:
    """Letters become others, in the same order: the exact answer is known."""
    code = str.maketrans("abcd", "wxyz")
    chance = np.random.default_rng(0)
    texts = {"".join(chance.choice(list("abcd"), size=chance.integers(1, 5))) for _ in range(600)}
    Path("code.tsv").write_text("\n".join(f"{t}\t{t.translate(code)}" for t in sorted(texts)))

    def call(*arguments: str) -> str:
        result = CliRunner().invoke(program, arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    options = ["--hidden-size", "24", "--embedding-size", "8", "--epochs", "15", "--lr", "0.015"]
    options += ["--batch-size", "4", "--plot", "--json"]
    document = json.loads(call("train", "translation", "--data", "code.tsv", "-o", "run", *options))
    assert document["metrics"]["scores"]["model"]["texts right"] > 0.9
    assert document["metrics"]["scores"]["the text as it is"]["texts right"] == 0
    assert Path("run/attention.png").is_file()
    call("export", "run", "-o", "bundle")
    call("verify", "bundle")
    asked = ["--text", "dab", "--text", "c"]
    answers = json.loads(call("run", "bundle", *asked, "--json", "--plot", "answers.png"))
    assert [answer["text"] for answer in answers["results"]] == ["zwx", "y"]
    # Learnt well: all that the writer says of itself is of these texts.
    assert all(-0.7 < answer["log_probability"] <= 0 for answer in answers["results"])
    assert Path("answers.png").is_file()
