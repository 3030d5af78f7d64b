"""Answers of forward() that chance decides: nothing tells which of them are right."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from rnn_edge.capture.arguments import Arguments
from rnn_edge.code_line import CodeLine, is_foreign, shorten
from rnn_edge.errors import ExportError

# Threads add up in another order at times: relative to the largest number of an answer.
_ROUNDING = 1e-5


def refuse_chance(module: nn.Module, arguments: Arguments) -> None:
    """Raise ExportError where ``module`` gives other answers when it is called with its examples
    again: what is compared with it afterwards could be anything."""
    try:
        with _generators_kept():
            first, second = (_call(module, arguments) for _ in range(2))
    except Exception:  # noqa: BLE001 (forward() is the user's; what it raises is told elsewhere)
        return
    if all(map(_are_alike, first, second)):
        return
    raise tell_chance(module, arguments) or ExportError(
        f"{type(module).__name__}.forward must give the same answers in every call to be exported, "
        "it gives others for the same inputs. Take out what changes from call to call."
    )


def tell_chance(module: nn.Module, arguments: Arguments) -> ExportError | None:
    """The error of a ``module`` whose forward() draws numbers; None where it draws none.

    It is run at its examples; the generators go on as if it had not been.
    """
    line = _find_draw(module, arguments)
    if line is None:
        return None
    return ExportError(
        f"{type(module).__name__}.forward must do the same in every call to be exported, got a "
        f"number that is drawn in `{shorten(line.text, 80)}` at {line}. Let an argument decide it "
        "(noise as an input, a teacher_forcing_ratio above 1), or dropout be off: "
        "training=self.training."
    )


def _call(module: nn.Module, arguments: Arguments) -> list[Tensor]:
    with torch.no_grad():
        found = arguments.call(module, [each.example for each in arguments.tensors])
    return [value.detach().clone() for value in found.values()]


def _are_alike(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    if not (one.is_floating_point() or one.is_complex()):
        return torch.equal(one, other)
    largest = float(one.abs().nan_to_num(0, 0, 0).max()) if one.numel() else 0.0
    return torch.allclose(one, other, rtol=0, atol=_ROUNDING * largest, equal_nan=True)


@contextmanager
def _generators_kept() -> Iterator[None]:
    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def _find_draw(module: nn.Module, arguments: Arguments) -> CodeLine | None:
    """The first line of the user's that draws from the generator of torch, Python or numpy."""
    found: list[CodeLine] = []
    before = sys.gettrace()
    with _generators_kept(), _Draws(found):
        sys.settrace(_Watch(found).enter)
        try:
            _call(module, arguments)
        except Exception:  # noqa: BLE001 (forward() is the user's: it may raise anything)
            return found[0] if found else None
        finally:
            sys.settrace(before)
    return found[0] if found else None


class _Watch:
    """Notes the lines after which the generators of Python and numpy stand elsewhere."""

    def __init__(self, found: list[CodeLine]) -> None:
        self._found, self._place = found, _place_of_generators()

    def enter(self, frame: FrameType, event: str, given: Any) -> Any:
        path = frame.f_code.co_filename
        if not is_foreign(path):
            return None
        line = frame.f_lineno

        def follow(frame: FrameType, event: str, given: Any) -> Any:
            nonlocal line
            place = _place_of_generators()
            if place != self._place:
                self._found.append(CodeLine(path, line))
            self._place, line = place, frame.f_lineno
            return follow

        return follow


def _place_of_generators() -> tuple[object, ...]:
    _, keys, place, *_ = np.random.get_state()
    return random.getstate()[1], place, int(np.asarray(keys)[0])


class _Draws(TorchDispatchMode):
    """Notes the lines that draw from torch's generator."""

    def __init__(self, found: list[CodeLine]) -> None:
        super().__init__()
        self._found = found

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            frame: FrameType | None = sys._getframe()
            while frame is not None and not is_foreign(frame.f_code.co_filename):
                frame = frame.f_back
            if frame is not None:
                self._found.append(CodeLine(frame.f_code.co_filename, frame.f_lineno))
        return func(*args, **(kwargs or {}))
