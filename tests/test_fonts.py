"""Letters that the usual font lacks: another font, or one word about boxes."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from rnn_edge import fonts

# The last code point of a plane for private use: no font has it.
NOWHERE = "\U0010fffd"


def figure(title: str) -> Figure:
    drawn = Figure(figsize=(2, 1), dpi=50)
    drawn.add_subplot().set_title(title)
    return drawn


def test_what_no_font_has_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fonts._tell.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            fonts.save_figure(figure(NOWHERE), tmp_path / "a.png")
    assert capsys.readouterr().err.count("no installed font has all letters") == 1
    assert (tmp_path / "a.png").stat().st_size > 0


def test_what_the_font_has_is_not_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fonts._tell.cache_clear()
    fonts.save_figure(figure("plain"), tmp_path / "a.png")
    assert capsys.readouterr().err == ""


def test_letters_come_from_another_font_that_has_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fonts._tell.cache_clear()
    from matplotlib import rcParams

    # Of the fonts that matplotlib brings this one has few letters, DejaVu many.
    monkeypatch.setitem(rcParams, "font.sans-serif", ["cmss10"])
    assert fonts.font_with(frozenset({ord("⇶")})) is not None
    fonts.save_figure(figure("⇶"), tmp_path / "a.png")
    assert capsys.readouterr().err == ""
