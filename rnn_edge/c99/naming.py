"""Names of tensors and bundles as C identifiers."""

from __future__ import annotations

import re

_KEYWORDS = {
    "auto", "bool", "break", "case", "char", "const", "continue", "default", "do", "double",
    "else", "enum", "extern", "false", "float", "for", "goto", "if", "inline", "int", "long",
    "main", "register", "restrict", "return", "short", "signed", "sizeof", "static", "struct",
    "switch", "true", "typedef", "union", "unsigned", "void", "volatile", "while", "start",
    "at", "sum", "best", "exp", "log", "sin", "cos", "tan", "tanh", "sqrt", "pow", "erf",
    "floor", "ceil", "fabs", "abs", "round", "index", "time", "signal",
}  # fmt: skip
# Counters of the loops of a step, and its state.
_COUNTERS = re.compile(r"[b-wz][0-9]*|a")


def prefix_of(name: str) -> str:
    """What the names of a model start with."""
    word = _word(name).lower()
    return f"{word}_model" if word in _KEYWORDS or _COUNTERS.fullmatch(word) else word


def c_name(name: str, taken: set[str]) -> str:
    """An identifier for a tensor, none of ``taken``."""
    word = _word(name)
    if word in _KEYWORDS or _COUNTERS.fullmatch(word):
        word += "_"
    found, number = word, 2
    while found in taken:
        found, number = f"{word}_{number}", number + 1
    return found


def _word(name: str) -> str:
    word = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_") or "model"
    return f"_{word}".replace("_", "n", 1) if word[0].isdigit() else word
