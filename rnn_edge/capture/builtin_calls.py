"""Python's own functions on values of tensors: int(length), max(lengths), sum(...), sorted(...).

They give numbers of Python or compare items one by one, which tracing cannot follow. Where a trace
meets one of them it begins anew, with functions of the same names among the globals of that code,
which do the same and keep what is symbolic. They are taken out when the trace is over.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from rnn_edge.capture.values import ValueList


class StandIns:
    """The globals of code that gets stand-ins while it is traced."""

    def __init__(self) -> None:
        # No list on the module: torch.export copies those, and what is in them.
        self._namespaces: list[dict[str, Any]] = []

    def add(self, namespace: dict[str, Any]) -> None:
        self._namespaces.append(namespace)

    @contextmanager
    def standing(self) -> Iterator[None]:
        put = [
            (names, name) for names in self._namespaces for name in STAND_INS if name not in names
        ]
        for names, name in put:
            names[name] = STAND_INS[name]
        try:
            yield
        finally:
            for names, name in put:
                names.pop(name, None)


# --- The stand-ins ----------------------------------------------------------------------------


class _NumberType(type):
    """isinstance() with a stand-in means the type of Python, or a symbolic number of that kind."""

    _kinds: tuple[type, ...]

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, cls._kinds)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, cls._kinds)

    def __getattr__(cls, name: str) -> Any:
        return getattr(cls._kinds[0], name)


class Whole(metaclass=_NumberType):
    _kinds = (int, torch.SymInt)

    def __new__(cls, value: Any = 0, *base: Any) -> Any:
        value = _as_symbolic(value)
        if isinstance(value, (torch.SymInt, torch.SymFloat)):
            return torch.sym_int(value)
        return int(value, *base)


class Real(metaclass=_NumberType):
    _kinds = (float, torch.SymFloat)

    def __new__(cls, value: Any = 0.0) -> Any:
        value = _as_symbolic(value)
        if isinstance(value, (torch.SymInt, torch.SymFloat)):
            return torch.sym_float(value)
        return float(value)


# So many items are named one by one; more of them come from a loop.
_FEW = 4


def largest(*args: Any, **kwargs: Any) -> Any:
    return _find_extreme(builtins.max, torch.max, torch.sym_max, args, kwargs)


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


def total(items: Any, start: Any = 0) -> Any:
    if isinstance(items, ValueList):
        return items.tensor.sum().item() + start
    items = list(items)
    if any(isinstance(item, Tensor) for item in items) or not any(map(_is_symbolic, items)):
        return builtins.sum(items, start)
    return _stack(items).sum().item() + start


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


# By the names in namespaces.REPLACED.
STAND_INS: dict[str, Any] = {
    "int": Whole,
    "float": Real,
    "max": largest,
    "min": smallest,
    "sum": total,
    "sorted": in_order,
}
