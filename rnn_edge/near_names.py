"""The names that come close to one that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def suggest(given: str, known: Iterable[str]) -> str:
    """`` Did you mean NAME?``; empty where none of ``known`` comes close to ``given``."""
    close = get_close_matches(given, list(known))
    return f" Did you mean {' or '.join(close)}?" if close else ""
