"""Python's own functions on values of tensors: int(length), max(lengths), sum(...), sorted(...).

They give numbers of Python or compare items one by one, which tracing cannot follow. Where a trace
meets one of them it begins anew, with copies of that code which call functions that do the same and
keep what is symbolic.
"""

from __future__ import annotations

import builtins
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce, wraps
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from rnn_edge.capture.stand_in_code import PREFIX, running_copies, with_stand_ins
from rnn_edge.capture.values import ValueList

_THREAD = threading.local()


class StandIns:
    """The functions that call stand-ins while they are traced."""

    def __init__(self) -> None:
        # No plain container on the module: torch.export copies those, and what is in them.
        self._copies: dict[FunctionType, CodeType] = {}

    def add(self, functions: Sequence[FunctionType]) -> bool:
        """Whether any of ``functions`` is new, and calls what has a stand-in."""
        copies = {
            function: with_stand_ins(function.__code__, function.__globals__)
            for function in functions
            if function not in self._copies
        }
        copies = {
            function: copy for function, copy in copies.items() if copy is not function.__code__
        }
        self._copies |= copies
        return bool(copies)

    @contextmanager
    def standing(self) -> Iterator[None]:
        if self._copies:
            # They stay: another thread may still be within a copy when this one is ready.
            vars(builtins).update({PREFIX + name: value for name, value in STAND_INS.items()})
        before, _THREAD.is_tracing = _is_tracing(), True
        try:
            with running_copies(self._copies):
                yield
        finally:
            _THREAD.is_tracing = before


def _is_tracing() -> bool:
    return getattr(_THREAD, "is_tracing", False)


def _where_traced(function: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    """Makes a stand-in ``function`` itself in threads that trace nothing."""

    def make(stand_in: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return (stand_in if _is_tracing() else function)(*args, **kwargs)

        return call

    return make


# --- The stand-ins ----------------------------------------------------------------------------


class _NumberType(type):
    """isinstance() with a stand-in means the type of Python, or a symbolic number of that kind."""

    _kinds: tuple[type, ...]

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, cls._kinds if _is_tracing() else cls._kinds[0])

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, cls._kinds if _is_tracing() else cls._kinds[0])

    def __getattr__(cls, name: str) -> Any:
        return getattr(cls._kinds[0], name)


class Whole(metaclass=_NumberType):
    _kinds = (int, torch.SymInt)

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        value = _as_symbolic(*args) if len(args) == 1 and not kwargs and _is_tracing() else None
        if isinstance(value, (torch.SymInt, torch.SymFloat)):
            return torch.sym_int(value)
        return int(*args, **kwargs) if value is None else int(value)


class Real(metaclass=_NumberType):
    _kinds = (float, torch.SymFloat)

    def __new__(cls, *args: Any) -> Any:
        value = _as_symbolic(*args) if len(args) == 1 and _is_tracing() else None
        if isinstance(value, (torch.SymInt, torch.SymFloat)):
            return torch.sym_float(value)
        return float(*args) if value is None else float(value)


# So many items are named one by one; more of them come from a loop.
_FEW = 4


@_where_traced(builtins.max)
def largest(*args: Any, **kwargs: Any) -> Any:
    return _find_extreme(builtins.max, torch.max, torch.sym_max, args, kwargs)


@_where_traced(builtins.min)
def smallest(*args: Any, **kwargs: Any) -> Any:
    return _find_extreme(builtins.min, torch.min, torch.sym_min, args, kwargs)


def _find_extreme(
    plain: Callable[..., Any],
    reduction: Callable[[Tensor], Tensor],
    of_two: Callable[[Any, Any], Any],
    args: Sequence[Any],
    kwargs: dict[str, Any],
) -> Any:
    items: Any = args[0] if len(args) == 1 else args
    if isinstance(items, ValueList) and not kwargs:
        return reduction(items.tensor).item()
    if _is_traced_row(items) and not kwargs:
        return reduction(items)
    items = list(items)
    if kwargs or not any(map(_is_symbolic, items)):
        return plain(items, **kwargs)
    if len(items) <= _FEW and not any(isinstance(item, Tensor) for item in items):
        return reduce(of_two, items)
    found = reduction(_stack(items))
    return found if all(isinstance(item, Tensor) for item in items) else found.item()


@_where_traced(builtins.sum)
def total(items: Any, start: Any = 0) -> Any:
    if isinstance(items, ValueList):
        return items.tensor.sum().item() + start
    items = list(items)
    if any(isinstance(item, Tensor) for item in items) or not any(map(_is_symbolic, items)):
        return builtins.sum(items, start)
    return _stack(items).sum().item() + start


@_where_traced(builtins.sorted)
def in_order(items: Any, *, key: Callable[[Any], Any] | None = None, reverse: bool = False) -> Any:
    """sorted(): a list of numbers that the graph sorts, equal ones in the order they had."""
    if isinstance(items, ValueList) and key is None:
        return ValueList(torch.sort(items.tensor, descending=reverse, stable=True)[0])
    items = list(items)
    keys = [item if key is None else key(item) for item in items]
    if not any(map(_is_symbolic, keys)):
        return builtins.sorted(items, key=key, reverse=reverse)
    order = torch.sort(_stack(keys), descending=reverse, stable=True)[1]
    if not all(isinstance(item, (int, torch.SymInt)) or _is_symbolic(item) for item in items):
        return [items[0], *items[1:]] if len(items) < 2 else _refuse_sorting()
    return ValueList(_stack(items)[order])


def _refuse_sorting() -> Any:
    raise torch.fx.experimental.symbolic_shapes.GuardOnDataDependentSymNode(
        None, "sorted() of what is no number by values"
    )


def _as_symbolic(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) and _is_traced(value) else value


def _is_traced(tensor: Tensor) -> bool:
    return isinstance(tensor, FakeTensor) or torch.compiler.is_exporting()


def _is_traced_row(items: Any) -> bool:
    return isinstance(items, Tensor) and items.dim() == 1 and _is_traced(items)


def _is_symbolic(item: Any) -> bool:
    if isinstance(item, Tensor):
        return item.dim() == 0 and _is_traced(item)
    return isinstance(item, (torch.SymInt, torch.SymFloat))


def _stack(items: Sequence[Any]) -> Tensor:
    return torch.stack(
        [
            item if isinstance(item, Tensor) else torch.scalar_tensor(item, dtype=torch.int64)
            for item in items
        ]
    )


# By the names in stand_in_code.REPLACED.
STAND_INS: dict[str, Any] = {
    "int": Whole,
    "float": Real,
    "max": largest,
    "min": smallest,
    "sum": total,
    "sorted": in_order,
}
