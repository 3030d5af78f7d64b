"""Code that calls stand-ins of Python's own functions: what compares or converts values.

A function that is traced gets a copy of its code for the time being, in which ``int(n)`` calls a
stand-in by another name. The names of the person's module stay as they are, and so does what is no
call: ``type(n) is int``, ``dtype=int``. Another thread that calls the function meanwhile runs the
copy, too; there the stand-ins are Python's own functions again.
"""

from __future__ import annotations

import dis
import gc
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from types import CodeType, FrameType, FunctionType
from typing import Any

from rnn_edge.code_line import is_foreign

REPLACED = ("int", "float", "max", "min", "sum", "sorted")
# What a stand-in is called by: a name that no code has by itself.
PREFIX = "_rnn_edge_"
# They take functions and types, and call them or ask for them.
_TAKING_FUNCTIONS = ("isinstance", "map", "sorted", "filter")
# The first bit of LOAD_GLOBAL says that what is loaded is to be called.
_IS_CALLED = 1
_LARGEST_ARGUMENT = 255


class StandInsNeededError(Exception):
    """A trace met a function of Python on values in ``functions``."""

    def __init__(self, frame: FrameType) -> None:
        super().__init__("Python's own functions must be replaced")
        self.functions = _find_functions(frame)


def needs_stand_ins(frame: FrameType) -> bool:
    """Whether a person's code, at ``frame``, calls functions that have no stand-in there yet."""
    return is_foreign(frame.f_code.co_filename) and any(_loads(frame.f_code, frame.f_globals))


@contextmanager
def running_copies(functions: Mapping[FunctionType, CodeType]) -> Iterator[None]:
    """Let each of ``functions`` run other code."""
    before = {function: function.__code__ for function in functions}
    try:
        for function, code in functions.items():
            function.__code__ = code
        yield
    finally:
        for function, code in before.items():
            function.__code__ = code


def with_stand_ins(code: CodeType, own: Container[str]) -> CodeType:
    """``code`` with calls of stand-ins, what is defined in it as well; ``own`` names are others."""
    constants = tuple(
        with_stand_ins(constant, own) if isinstance(constant, CodeType) else constant
        for constant in code.co_consts
    )
    names, raw = list(code.co_names), bytearray(code.co_code)
    for instruction in _loads(code, own):
        name = PREFIX + instruction.argval
        if name not in names:
            names.append(name)
        argument = names.index(name) << 1 | (instruction.arg or 0) & _IS_CALLED
        # Beyond that it takes two instructions.
        if argument <= _LARGEST_ARGUMENT:
            raw[instruction.offset + 1] = argument
    if raw == code.co_code and constants == code.co_consts:
        return code
    return code.replace(co_consts=constants, co_code=bytes(raw), co_names=tuple(names))


def _loads(code: CodeType, own: Container[str]) -> Iterator[dis.Instruction]:
    """Where ``code`` loads one of the functions to call it, or to give it to one that does."""
    taking: Any = None
    for instruction in dis.get_instructions(code):
        if instruction.opname != "LOAD_GLOBAL" or instruction.argval in own:
            continue
        line = instruction.positions.lineno if instruction.positions else None
        is_called = bool((instruction.arg or 0) & _IS_CALLED)
        is_short = (instruction.arg or 0) <= _LARGEST_ARGUMENT
        if instruction.argval in REPLACED and is_short and (is_called or taking == line):
            yield instruction
        if instruction.argval in _TAKING_FUNCTIONS and is_called:
            taking = line


def _find_functions(frame: FrameType | None) -> tuple[FunctionType, ...]:
    """Those whose code runs at ``frame``, or holds that of what runs there."""
    assert frame is not None
    code = frame.f_code
    found: dict[FunctionType, None] = {}
    while frame is not None:
        if _holds(frame.f_code, code):
            for function in gc.get_referrers(frame.f_code):
                if isinstance(function, FunctionType) and function.__code__ is frame.f_code:
                    found[function] = None
        frame = frame.f_back
    return tuple(found)


def _holds(code: CodeType, other: CodeType) -> bool:
    return code is other or any(
        isinstance(constant, CodeType) and _holds(constant, other) for constant in code.co_consts
    )
