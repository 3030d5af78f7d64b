"""The shapes of what a rolled program computes, found by running one iteration on fake tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from rnn_edge.capture.rolling.program import (
    Collected,
    Loop,
    LoopValue,
    Number,
    OwnValue,
    PlainValue,
    RolledProgram,
    RolledStep,
    rebuild,
)
from rnn_edge.capture.rolling.trace import Source


class _UnknownError(Exception):
    """An argument has no known shape."""


@dataclass
class Shapes:
    """Fake results of plain steps and of the first iteration of loops; what failed is not there."""

    sources: dict[str, Any]
    plain: dict[int, Any] = field(default_factory=dict)
    steps: dict[tuple[int, int], Any] = field(default_factory=dict)

    def of(self, loop: int, value: Any) -> Tensor | None:
        """The fake tensor of an argument of a step in ``loop``."""
        try:
            found = self._find(loop, value)
        except _UnknownError:
            return None
        return found if isinstance(found, Tensor) else None

    def _find(self, loop: int, value: Any) -> Any:
        match value:
            case Source():
                return self.sources[value.name]
            case PlainValue():
                return _take(self.plain, value.index, value.item)
            case OwnValue() if value.delay:
                return self._find(loop, value.initial[0])
            case OwnValue():
                return _take(self.steps, (loop, value.step), value.item)
            case LoopValue():
                return _take(self.steps, (value.loop, value.step), value.item)
        return value


def infer_shapes(
    program: RolledProgram,
    inputs: Sequence[Tensor],
    read: Callable[[str], Tensor],
    sizes: Sequence[int],
) -> Shapes:
    """``read`` gives a parameter or a constant by the name of its source."""
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        sources = {
            name: mode.from_tensor(inputs[what] if isinstance(what, int) else read(name))
            for name, what in program.sources.items()
        }
        shapes = Shapes(sources)
        plain = 0
        for item in program.items:
            if isinstance(item, RolledStep):
                _run(item, shapes, -1, sizes, shapes.plain, plain)
                plain += 1
                continue
            for number, step in enumerate(item.body):
                _run(step, shapes, item.number, sizes, shapes.steps, (item.number, number))
    return shapes


def find_loop(program: RolledProgram, number: int) -> Loop:
    return next(i for i in program.items if isinstance(i, Loop) and i.number == number)


def _run(
    step: RolledStep, shapes: Shapes, loop: int, sizes: Sequence[int], results: dict[Any, Any],
    key: Any,
) -> None:  # fmt: skip
    def value(leaf: Any) -> Any:
        if isinstance(leaf, Number):
            return leaf.value.at(sizes)
        if isinstance(leaf, Collected):
            one = _take(shapes.steps, (leaf.loop, leaf.step), leaf.item)
            return _Several(one, int(leaf.count.at(sizes)))
        return shapes._find(loop, leaf)

    try:
        args, kwargs = rebuild((step.args, step.kwargs), value)
        results[key] = step.target(*(_spread(arg) for arg in args), **kwargs)
    except Exception:  # noqa: BLE001  what cannot be run on its own is merely not known
        return


@dataclass(frozen=True)
class _Several:
    """``count`` tensors like ``one`` inside a list."""

    one: Any
    count: int


def _spread(arg: Any) -> Any:
    if not isinstance(arg, list):
        return arg
    spread: list[Any] = []
    for item in arg:
        spread += [item.one] * item.count if isinstance(item, _Several) else [item]
    return spread


def _take(results: dict[Any, Any], key: Any, item: int | None) -> Any:
    if key not in results:
        raise _UnknownError
    found = results[key]
    return found if item is None else found[item]


def is_float(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.dtype == torch.float32
