"""A program with its loops rolled: plain steps and loops, numbers as functions of the sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from rnn_edge.capture.rolling.affine import Affine
from rnn_edge.capture.rolling.curves import Curve
from rnn_edge.capture.rolling.trace import Place, Source
from rnn_edge.capture.values import take_slice


@dataclass(frozen=True)
class Number:
    """A number among the arguments; ``whole`` when it is an integer."""

    value: Affine | Curve
    whole: bool

    @property
    def is_given(self) -> bool:
        """Whether it is a tensor to the operator that takes it: no constant, nor a size."""
        moves = bool(self.value.by_iteration)
        return moves or (not self.whole and not self.value.is_constant)


@dataclass(frozen=True)
class PlainValue:
    """The result of the plain step ``index``."""

    index: int
    item: int | None


@dataclass(frozen=True)
class LoopValue:
    """What step ``step`` of loop ``loop`` gave in iteration ``iteration``.

    ``otherwise`` is the value where the loop takes no step and has no last one, if it is known.
    """

    loop: int
    step: int
    item: int | None
    iteration: Affine
    otherwise: PlainValue | Source | Place | None = None


@dataclass(frozen=True)
class OwnValue:
    """Inside a loop: what step ``step`` of the same loop gives ``delay`` iterations before.

    ``initial`` are the values for the iterations before the first, nearest first.
    """

    step: int
    item: int | None
    delay: int
    initial: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Collected:
    """Inside a list: the results of ``count`` iterations, from ``first`` on, up or down."""

    loop: int
    step: int
    item: int | None
    first: Affine
    count: Affine
    direction: int


# One argument: a value, a constant, or a tuple or dict of arguments.
Argument: TypeAlias = Any


@dataclass(frozen=True)
class RolledStep:
    target: Callable[..., Any]
    args: tuple[Argument, ...]
    kwargs: dict[str, Argument]
    line: str


@dataclass(frozen=True)
class Loop:
    """``count`` iterations of ``body``."""

    number: int
    count: Affine
    body: tuple[RolledStep, ...]

    @property
    def carries(self) -> bool:
        """Whether an iteration needs one before it."""
        return any(
            isinstance(value, OwnValue) and value.delay > 0
            for step in self.body
            for value in walk((step.args, step.kwargs))
        )


@dataclass(frozen=True)
class Quotient:
    """A size that follows from another one: (sizes[place] + shift) // divisor."""

    place: int
    shift: int
    divisor: int

    def of(self, sizes: Sequence[Any]) -> Any:
        return (sizes[self.place] + self.shift) // self.divisor


@dataclass(frozen=True)
class RolledProgram:
    """``items`` in order: plain steps, counted from 0, and loops.

    Its sizes are those of the axes that were traced at several, and ``quotients`` behind them.
    """

    items: tuple[RolledStep | Loop, ...]
    returned: Argument
    sources: dict[str, Any]
    quotients: tuple[Quotient, ...] = ()


def walk(argument: Argument) -> list[Any]:
    """The leaves of a nested argument."""
    if isinstance(argument, tuple):
        return [leaf for item in argument for leaf in walk(item)]
    if isinstance(argument, dict):
        return [leaf for item in argument.values() for leaf in walk(item)]
    return [argument]


def rebuild(argument: Argument, change: Callable[[Any], Any]) -> Any:
    """The same nesting, each leaf changed."""
    if isinstance(argument, tuple):
        return [rebuild(item, change) for item in argument]
    if isinstance(argument, dict):
        return {key: rebuild(item, change) for key, item in argument.items()}
    return change(argument)


def replace_leaves(argument: Argument, change: Callable[[Any], Any]) -> Argument:
    """The same argument, each leaf changed: tuples stay tuples."""
    if isinstance(argument, tuple):
        return tuple(replace_leaves(item, change) for item in argument)
    if isinstance(argument, dict):
        return {key: replace_leaves(item, change) for key, item in argument.items()}
    return change(argument)


_ATEN = torch.ops.aten


def one_hot(x: torch.Tensor, classes: Any) -> torch.Tensor:
    """torch's own form takes the number of classes for a constant."""
    return (x.unsqueeze(-1) == torch.arange(classes, device=x.device)).to(torch.int64)


def spread(x: torch.Tensor, value: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    """What is in ``x`` once ``value`` is copied into it; an exporter may take it for ``value``."""
    return value.to(x.dtype).expand(x.shape)


# A copy that made a tensor contiguous is no step, so that a view might meet another layout.
_REPLAYED: dict[Any, Any] = {
    _ATEN.view.default: _ATEN.reshape.default,
    _ATEN._unsafe_view.default: _ATEN.reshape.default,
    _ATEN.one_hot.default: one_hot,
    _ATEN.copy.default: spread,
    # Its checks are no steps.
    _ATEN.slice.Tensor: take_slice,
}


def replay(target: Callable[..., Any], numbers_given: bool = False) -> Callable[..., Any]:
    """The operator that gives what ``target`` gave, for tensors of any layout.

    ``numbers_given`` tells that it gets a tensor in the place of a number.
    """
    if numbers_given:
        # Another overload is meant, where there is one.
        other: Callable[..., Any] = getattr(target, "overloadpacket", target)
        return _FILLING.get(target, other)
    return _REPLAYED.get(target, target)


def fill(size: Sequence[Any], value: torch.Tensor, *, dtype: Any = None, **_: Any) -> torch.Tensor:
    """torch.full() of a number that is a tensor."""
    if dtype is None:
        dtype = torch.get_default_dtype() if value.is_floating_point() else torch.int64
    return value.to(dtype).expand(size)


def fill_like(x: torch.Tensor, value: torch.Tensor, *, dtype: Any = None, **_: Any) -> Any:
    return value.to(dtype or x.dtype).expand(x.shape)


def fill_new(x: torch.Tensor, size: Sequence[Any], value: torch.Tensor, **options: Any) -> Any:
    return fill(size, value, dtype=options.get("dtype") or x.dtype)


def make_scalar(value: torch.Tensor, **options: Any) -> torch.Tensor:
    return fill((), value, dtype=options.get("dtype") or torch.get_default_dtype())


_FILLING: dict[Any, Callable[..., Any]] = {
    _ATEN.full.default: fill,
    _ATEN.full_like.default: fill_like,
    _ATEN.new_full.default: fill_new,
    _ATEN.scalar_tensor.default: make_scalar,
    _ATEN.fill.Scalar: fill_like,
}
