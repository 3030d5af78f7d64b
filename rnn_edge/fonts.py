"""Pictures whose letters the usual font lacks: another that is installed, or a word about it."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from rnn_edge.extras import import_extra

# A font that has even this has boxes for everything (matplotlib brings such a last resort).
_NO_CHARACTER = 0x10FFFF
_MISSING = re.compile(r"Glyph (\d+) .* missing from")


def save_figure(figure: Any, path: Path) -> None:
    """Write ``figure`` to ``path``, letters that its font lacks (Chinese, say) from another one.

    Where no installed font has them all they are boxes, which is said once on standard error.
    """
    missing = _save(figure, path)
    if not missing:
        return
    family = font_with(frozenset(missing))
    if family is None:
        _tell()
        return
    for text in figure.findobj(import_extra("matplotlib.text").Text):
        text.set_fontfamily([*text.get_fontfamily(), family])
    if _save(figure, path):
        _tell()


@cache
def font_with(letters: frozenset[int]) -> str | None:
    """The family of an installed font that has all ``letters``, code points; None without one."""
    open_font = import_extra("matplotlib.ft2font").FT2Font
    for entry in import_extra("matplotlib.font_manager").fontManager.ttflist:
        try:
            font = open_font(entry.fname)
        except (OSError, RuntimeError):
            continue  # listed once, and gone or damaged since
        if font.get_char_index(_NO_CHARACTER):
            continue
        if all(font.get_char_index(letter) for letter in letters):
            return str(entry.name)
    return None


def _save(figure: Any, path: Path) -> set[int]:
    """Write the picture; the code points that were drawn as boxes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure.savefig(path)
    return set(_told(caught))


def _told(caught: Iterable[warnings.WarningMessage]) -> Iterable[int]:
    for warning in caught:
        found = _MISSING.match(str(warning.message))
        if found:
            yield int(found.group(1))
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )


@cache
def _tell() -> None:
    print(
        "Note: no installed font has all letters of this picture; those missing are boxes. "
        "Install one that has them (for Chinese, Noto Sans CJK).",
        file=sys.stderr,
    )
