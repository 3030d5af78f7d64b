"""Why torch.export refuses a forward(), in one line: part, line, construct and change."""

from __future__ import annotations

import re
from traceback import walk_tb

from torch import nn

from rnn_edge.code_line import CodeLine, find_code_lines, is_foreign, shorten
from rnn_edge.errors import ExportError

# Constructs in a line of code, what to call them, and the smallest change that removes them.
_OUTSIDE_TORCH = [
    (
        re.compile(r"\.numpy\(|\b(np|numpy)\."),
        "a detour through numpy",
        "Keep it a tensor and use the torch function of that name.",
    ),
    (
        re.compile(r"\.(item|tolist)\("),
        "a tensor turned into Python numbers",
        "Keep it a tensor: leave out .item() or .tolist().",
    ),
]
_LIST_OF_LENGTH = (
    re.compile(r"\[[\w.]*\]\s*\*\s*\(?\w"),
    "a list as long as a value says",
    "Compare positions with lengths: torch.arange(x.size(1)) < lengths[:, None].",
)
_ON_VALUES = [
    (re.compile(r"\bassert\b"), "an assertion about values", "Remove it, or assert sizes only."),
    (
        re.compile(r"\bwhile\b|\bfor\b.*\brange\("),
        "a loop that ends when a value says so",
        "Run a fixed number of steps and mask those that are over with torch.where.",
    ),
    (
        re.compile(r"\b(if|elif)\b"),
        "a branch on a value",
        "Compute both sides and choose with torch.where or a mask.",
    ),
    (
        re.compile(r"\b(int|float|bool)\("),
        "a tensor turned into a Python number",
        "Keep it a tensor: replace int(), float() or bool() by .to(dtype).",
    ),
    (
        re.compile(r"\b(any|all|max|min|sorted|range)\("),
        "a Python function on values",
        "Use the torch function of that name, and sizes in range().",
    ),
    (
        re.compile(r"nonzero|masked_select|unique|\w\[[^\]]*[<>=!]=?[^\]]*\]"),
        "a size that depends on values",
        "Keep the size and mask: torch.where or masked_fill in place of a selection.",
    ),
]
# Errors that are so called.
_LOOKS_AT_VALUES = re.compile("DataDependent|StandInsNeeded")
# What torch says of a call that it cannot trace, what that is, and what to do.
_REFUSED = [
    (
        re.compile(r"\bview\b.*(strides|size)", re.IGNORECASE),
        "a view() of a tensor whose memory is in another order",
        "Use reshape() in its place.",
    ),
    (
        re.compile(r"fake tensor in the exported program"),
        "a tensor that is made where it cannot be traced, as by .data.new()",
        "Use new_zeros() or clone(), and leave out .data.",
    ),
    (
        re.compile(r"must match|mat1 and mat2|broadcast|expand|[Ss]izes? of tensor|shape"),
        "sizes that do not fit together",
        "Give axes that must be equal the same name, and take sizes from the tensors.",
    ),
]


def explain_refusal(module: nn.Module, error: Exception) -> ExportError:
    """The ExportError for what tracing ``module`` raised."""
    lines = find_code_lines(error, is_foreign)
    line = lines[0] if lines else None
    place = f" at {line}" if line else ""
    construct, change = _find_construct(line, error)
    code = f" in `{shorten(line.text, 80)}`" if line and line.text else ""
    return ExportError(
        f"{_name_part(module, lines)} must be traceable with dynamic axes, "
        f"got {construct}{code}{place}. {change}"
    )


def _find_construct(line: CodeLine | None, error: Exception) -> tuple[str, str]:
    """(what stands there, what to do)."""
    on_values = bool(_LOOKS_AT_VALUES.search(type(error).__name__))
    text = line.text if line else ""
    known = (_LIST_OF_LENGTH, *_OUTSIDE_TORCH, *_ON_VALUES) if on_values else _OUTSIDE_TORCH
    for pattern, construct, change in known:
        if pattern.search(text):
            return construct, change
    if on_values:
        return (
            "something that depends on values",
            "Keep what is computed from tensors in tensors, and choose with torch.where.",
        )
    if _is_raised_by_user(error):
        reason = shorten(str(error).partition("\n")[0], 160).rstrip(".")
        return f"{type(error).__name__}: {reason}", _INDEPENDENT
    for pattern, construct, change in _REFUSED:
        if pattern.search(str(error)):
            return construct, change
    return "a call that cannot be traced", _INDEPENDENT


_INDEPENDENT = "Make that line independent of the sizes and values of its example."


def _is_raised_by_user(error: Exception) -> bool:
    """Whether the error is of the person's own code: its words are theirs."""
    frames = [frame.f_code.co_filename for frame, _ in walk_tb(error.__traceback__)]
    return bool(frames) and is_foreign(frames[-1])


def _name_part(module: nn.Module, lines: list[CodeLine]) -> str:
    """``Net.forward``, or ``Net.encoder.cell`` where that part of it ran."""
    # By their dictionaries, which a part has in common with what tracing wraps it in.
    names = {id(vars(part)): name for name, part in module.named_modules()}
    for line in lines:
        part = line.frame.f_locals.get("self") if line.frame else None
        name = names.get(id(vars(part))) if isinstance(part, nn.Module) else None
        if name:
            return f"{type(module).__name__}.{name}"
        if name == "":
            break
    return f"{type(module).__name__}.forward"
