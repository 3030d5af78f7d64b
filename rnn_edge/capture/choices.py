"""Ways that forward() takes by a size, as in ``if steps % 2: pad``: found, and taken both."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sympy  # type: ignore[import-untyped]
import torch
from torch.export import ExportedProgram
from torch.utils._sympy.functions import Mod, PythonMod

from rnn_edge.capture.relations import find_environment, is_always_true
from rnn_edge.code_line import CodeLine, is_foreign
from rnn_edge.errors import ExportError

# Above usual kernels and slices first, and enough to meet every remainder of usual periods.
_TRIED_SIZES = (*range(8, 72), *range(7, 1, -1))
_MOST_TRACES = 6
_REMAINDERS = (Mod, PythonMod)
_BRANCH = re.compile(r"\b(if|elif)\b")


@dataclass(frozen=True)
class Choice:
    """A relation that holds in a trace: between ``size``, or its remainder, and a number."""

    axis: str
    symbol: sympy.Symbol
    relation: sympy.Basic
    line: CodeLine

    @property
    def is_by_remainder(self) -> bool:
        return isinstance(self.relation.lhs, _REMAINDERS)

    @property
    def size(self) -> sympy.Basic:
        varying = self.relation.rhs if self.relation.lhs.is_Integer else self.relation.lhs
        return varying.args[0] if isinstance(varying, _REMAINDERS) else varying

    def holds_at(self, size: int) -> bool:
        return bool(self.relation.subs(self.symbol, size))

    def as_number(self, size: Any) -> Any:
        """1 where the relation holds for ``size``, symbolic perhaps, and 0 where it does not."""
        if self.is_by_remainder:
            return self._compare_remainder(size)
        sides = [self.relation.lts, self.relation.gts]
        less, greater = (int(side) if side.is_Integer else size for side in sides)
        excess = greater - less + (0 if self.relation.rel_op in ("<", ">") else 1)
        return torch.sym_max(0, torch.sym_min(1, excess))

    def _compare_remainder(self, size: Any) -> Any:
        period, wanted = int(self.relation.lhs.args[1]), int(self.relation.rhs)
        rest = (size - wanted) % period
        differs = rest if period == 2 else (rest + period - 1) // period
        return 1 - differs if self.relation.rel_op == "==" else differs


@dataclass(frozen=True)
class Sides:
    """A trace, and for each of its choices one in which that one alone went the other way."""

    exported: ExportedProgram
    choices: tuple[Choice, ...]
    others: tuple[ExportedProgram, ...]


def find_choices(exported: ExportedProgram, symbols: Mapping[str, str]) -> list[Choice]:
    """The choices that a person's own code made by one size, in the order in which it did.

    That is whether a number divides it, and in an ``if`` whether it is more or less than a number.
    """
    environment = find_environment(exported)
    found: dict[Choice, None] = {}
    for guard in environment.guards if environment is not None else ():
        assert environment is not None
        relation = environment.replace(guard.expr)
        place: Any = guard.sloc.framework_loc
        if not is_foreign(getattr(place, "filename", "<")) or len(relation.free_symbols) != 1:
            continue
        line = CodeLine(place.filename, place.lineno)
        if not _is_by_remainder(relation) and not _is_by_number(relation, line):
            continue
        (symbol,) = relation.free_symbols
        axis = symbols.get(str(symbol))
        if axis is not None and not is_always_true(relation):
            found[Choice(axis, symbol, relation, line)] = None
    return [choice for choice in found if any(not choice.holds_at(size) for size in _TRIED_SIZES)]


def _is_by_remainder(relation: sympy.Basic) -> bool:
    return (
        getattr(relation, "rel_op", "") in ("==", "!=")
        and isinstance(relation.lhs, _REMAINDERS)
        and relation.rhs.is_Integer
        and relation.lhs.args[1].is_Integer
    )


def _is_by_number(relation: sympy.Basic, line: CodeLine) -> bool:
    if getattr(relation, "rel_op", "") not in ("<", "<=", ">", ">="):
        return False
    sides = (relation.lhs, relation.rhs)
    return any(side.is_Integer for side in sides) and bool(_BRANCH.search(line.text))


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
            if other is None and not choices[place].is_by_remainder:
                # An assertion perhaps: the other side is none.
                return _without(choices[place], trace_at, find, sizes)
            if other is None:
                return None
            if _count(other) > _count(base):
                base, choices = other, find(other)
                break
            others.append(other)
        else:
            return Sides(base, tuple(choices), tuple(others)) if choices else None
    return None


def _without(
    choice: Choice,
    trace_at: Callable[[Mapping[str, int]], ExportedProgram],
    find: Callable[[ExportedProgram], list[Choice]],
    sizes: Mapping[str, int],
) -> Sides | None:
    """As trace_sides(), where ``choice`` is no choice."""

    def find_others(exported: ExportedProgram) -> list[Choice]:
        return [each for each in find(exported) if each.line != choice.line]

    return trace_sides(trace_at, find_others, sizes)


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
            one.line == another.line
            and (one.relation.rel_op == another.relation.rel_op) == (n != place)
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
