"""Code that asks for stand-ins of Python's own functions: those that compare or convert values."""

from __future__ import annotations

from types import FrameType
from typing import Any

from rnn_edge.code_line import is_foreign

REPLACED = ("int", "float", "max", "min", "sum", "sorted")


class StandInsNeededError(Exception):
    """A trace met a function of Python on values in code whose globals are ``names``."""

    def __init__(self, names: dict[str, Any]) -> None:
        super().__init__("Python's own functions must be replaced")
        self.names = names


def needs_stand_ins(frame: FrameType) -> bool:
    """Whether a person's code, at ``frame``, calls functions that have no stand-in there yet."""
    called = (name for name in REPLACED if name in frame.f_code.co_names)
    return is_foreign(frame.f_code.co_filename) and any(
        name not in frame.f_globals for name in called
    )
