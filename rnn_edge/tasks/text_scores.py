"""What tasks have in common that answer with a text: how near it is to the right one."""

from __future__ import annotations

from collections.abc import Sequence


def edits(text: Sequence[object], other: Sequence[object]) -> int:
    """Levenshtein's distance: insertions, deletions and exchanges that make one the other."""
    row = list(range(len(other) + 1))
    for place, item in enumerate(text, 1):
        diagonal, row[0] = row[0], place
        for column, wanted in enumerate(other, 1):
            diagonal, row[column] = (
                row[column],
                min(row[column] + 1, row[column - 1] + 1, diagonal + (item != wanted)),
            )
    return row[-1]


def text_scores(true: Sequence[str], written: Sequence[str]) -> dict[str, float]:
    """The share of texts that are wholly right, and edits a character of the right texts."""
    pairs = list(zip(true, written, strict=True))
    wrong = sum(edits(text, found) for text, found in pairs)
    return {
        "texts right": sum(text == found for text, found in pairs) / len(pairs),
        "character error rate": wrong / max(1, sum(map(len, true))),
    }
