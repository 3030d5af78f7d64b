"""Where in a person's own code an error comes from."""

from __future__ import annotations

import linecache
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from traceback import walk_tb
from types import FrameType


@dataclass(frozen=True)
class CodeLine:
    """One line of a file; ``frame`` is the call that stood there."""

    path: str
    number: int
    frame: FrameType | None = None

    @property
    def text(self) -> str:
        """The code of the line, without indentation."""
        return linecache.getline(self.path, self.number).strip()

    def __str__(self) -> str:
        return f"{Path(self.path).name}:{self.number}"


def find_code_lines(error: BaseException, belongs: Callable[[str], bool]) -> list[CodeLine]:
    """The lines of ``error``'s traceback, innermost first, in files whose path ``belongs``."""
    lines = [
        CodeLine(frame.f_code.co_filename, number, frame)
        for frame, number in walk_tb(error.__traceback__)
    ]
    return [line for line in reversed(lines) if belongs(line.path)]


@cache
def is_foreign(path: str) -> bool:
    """Whether the file at ``path`` is neither Python's own, nor torch's, nor of this package.

    sympy is torch's, which computes sizes with it.
    """
    if path.startswith("<") or Path(path).is_relative_to(Path(__file__).parent):
        return False
    for name in ("torch", "sympy"):
        library = getattr(sys.modules.get(name), "__file__", None)
        if library and Path(path).is_relative_to(Path(library).parent):
            return False
    in_library = Path(path).is_relative_to(sysconfig.get_path("stdlib"))
    return not in_library or "site-packages" in Path(path).parts


def shorten(text: object, limit: int) -> str:
    """``text`` in one line of at most about ``limit`` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= limit else line[:limit].rstrip() + " ..."
