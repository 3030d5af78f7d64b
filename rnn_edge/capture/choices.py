"""Ways that forward() takes by a size, as in ``if steps % 2: pad``: found, and taken both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sympy  # type: ignore[import-untyped]
from torch.export import ExportedProgram
from torch.utils._sympy.functions import Mod, PythonMod

from rnn_edge.capture.relations import find_environment, is_always_true
from rnn_edge.code_line import is_foreign
from rnn_edge.errors import ExportError

# Above usual kernels and slices, and enough to meet every remainder of usual periods.
_TRIED_SIZES = range(8, 72)
_MOST_TRACES = 6


@dataclass(frozen=True)
class Choice:
    """A relation that holds in a trace, ``size`` modulo ``period`` being or not being ``rest``."""

    axis: str
    symbol: sympy.Symbol
    relation: sympy.Basic
    line: str

    @property
    def _modulo(self) -> sympy.Basic:
        return next(iter(self.relation.atoms(Mod, PythonMod)))

    @property
    def size(self) -> sympy.Basic:
        return self._modulo.args[0]

    @property
    def period(self) -> int:
        return int(self._modulo.args[1])

    @property
    def rest(self) -> int:
        return int(self.relation.rhs)

    @property
    def is_equality(self) -> bool:
        return bool(self.relation.rel_op == "==")

    def holds_at(self, size: int) -> bool:
        return bool(self.relation.subs(self.symbol, size))

    def as_number(self, size: Any) -> Any:
        """1 where the relation holds for ``size``, symbolic perhaps, and 0 where it does not."""
        rest = (size - self.rest) % self.period
        differs = rest if self.period == 2 else (rest + self.period - 1) // self.period
        return 1 - differs if self.is_equality else differs


@dataclass(frozen=True)
class Sides:
    """A trace, and for each of its choices one in which that one alone went the other way."""

    exported: ExportedProgram
    choices: tuple[Choice, ...]
    others: tuple[ExportedProgram, ...]


def find_choices(exported: ExportedProgram, symbols: Mapping[str, str]) -> list[Choice]:
    """The choices by whether a number divides a size, in the order in which they were made."""
    environment = find_environment(exported)
    found: dict[Choice, None] = {}
    for guard in environment.guards if environment is not None else ():
        assert environment is not None
        relation = environment.replace(guard.expr)
        place: Any = guard.sloc.framework_loc
        if not is_foreign(getattr(place, "filename", "<")) or not _is_by_remainder(relation):
            continue
        (symbol,) = relation.free_symbols
        axis = symbols.get(str(symbol))
        if axis is not None and not is_always_true(relation):
            line = f"{place.filename}:{place.lineno}"
            found[Choice(axis, symbol, relation, line)] = None
    return list(found)


def _is_by_remainder(relation: sympy.Basic) -> bool:
    return (
        getattr(relation, "rel_op", "") in ("==", "!=")
        and isinstance(relation.lhs, (Mod, PythonMod))
        and relation.rhs.is_Integer
        and relation.lhs.args[1].is_Integer
        and len(relation.free_symbols) == 1
    )


def trace_sides(
    trace_at: Callable[[Mapping[str, int]], ExportedProgram],
    find: Callable[[ExportedProgram], list[Choice]],
    sizes: Mapping[str, int],
) -> Sides | None:
    """Trace both sides of every choice; None where there is none, or one side cannot be traced.

    The trace to start from is that which does most: what it does more can be left undone.
    """
    base = trace_at(sizes)
    choices = find(base)
    for _ in range(len(choices) + 1):
        others = []
        for place in range(len(choices)):
            other = _trace_other(trace_at, find, sizes, choices, place)
            if other is None:
                return None
            if _count(other) > _count(base):
                base, choices = other, find(other)
                break
            others.append(other)
        else:
            return Sides(base, tuple(choices), tuple(others)) if choices else None
    return None


def _trace_other(
    trace_at: Callable[[Mapping[str, int]], ExportedProgram],
    find: Callable[[ExportedProgram], list[Choice]],
    sizes: Mapping[str, int],
    choices: list[Choice],
    place: int,
) -> ExportedProgram | None:
    """A trace in which choice ``place`` goes the other way, and all others the same."""
    for size in _sizes_before(sizes, choices, place):
        try:
            other = trace_at({**sizes, choices[place].axis: size})
        except ExportError:
            return None
        found = find(other)
        if len(found) == len(choices) and all(
            one.line == another.line and (one.is_equality == another.is_equality) == (n != place)
            for n, (one, another) in enumerate(zip(choices, found, strict=True))
        ):
            return other
    return None


def _sizes_before(sizes: Mapping[str, int], choices: list[Choice], place: int) -> Iterator[int]:
    """Sizes at which the choices before ``place`` go the same way, and that one does not."""
    axis, count = choices[place].axis, 0
    for size in _TRIED_SIZES:
        before = [choice for choice in choices[:place] if choice.axis == axis]
        if size in sizes.values() or choices[place].holds_at(size):
            continue
        if all(choice.holds_at(size) for choice in before) and count < _MOST_TRACES:
            count += 1
            yield size


def _count(exported: ExportedProgram) -> int:
    return len(exported.graph.nodes)
