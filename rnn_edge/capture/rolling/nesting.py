"""Nested arguments of one step, merged from its copies leaf by leaf."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rnn_edge.capture.rolling.alignment import differs, merge_constants
from rnn_edge.capture.rolling.layouts import Sizes
from rnn_edge.capture.rolling.program import Argument
from rnn_edge.capture.rolling.trace import Place, Source


def merge_nested(
    versions: Sequence[Any],
    points: Sequence[tuple[Sizes, int]],
    line: str,
    merge_places: Callable[[Sequence[Any]], Argument],
    merge_list: Callable[[Sequence[tuple[Any, ...]]], Argument | None] | None = None,
) -> Argument:
    """Nested arguments merged leaf by leaf."""
    head = versions[-1]

    def inner(parts: Sequence[Any]) -> Argument:
        return merge_nested(parts, points, line, merge_places, merge_list)

    if isinstance(head, tuple):
        if merge_list and any(isinstance(item, Place) for item in head):
            collected = merge_list(versions)
            if collected is not None:
                return collected
        if len({len(version) for version in versions}) > 1:
            raise differs(line)
        return tuple(inner(parts) for parts in zip(*versions, strict=True))
    if isinstance(head, dict):
        return {key: inner([version[key] for version in versions]) for key in head}
    if any(isinstance(version, (Place, Source)) for version in versions):
        return merge_places(versions)
    return merge_constants(versions, points, line)
