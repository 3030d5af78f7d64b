"""Ways that forward() takes by a value, as in ``if length < longest: mask``: taken as one is told.

Tracing cannot tell which way such a branch goes. So it is told, the decision is marked in the
graph with a number that is 1 where it holds, and other traces show the other way.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import sympy  # type: ignore[import-untyped]
import torch
from torch.fx.experimental import symbolic_shapes
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode, ShapeEnv
from torch.utils._sympy.interp import sympy_interp
from torch.utils._sympy.reference import PythonReferenceAnalysis

from rnn_edge.capture.stand_in_code import StandInsNeededError, needs_stand_ins
from rnn_edge.code_line import CodeLine, find_code_lines, is_foreign

_BRANCH = re.compile(r"\b(if|elif|while)\b")
_IF = re.compile(r"\b(if|elif)\b")
_WHILE = re.compile(r"^while\b")
# A loop that has not ended after so many steps has no end of its own.
_MOST_STEPS = 64
_ASSERTION = re.compile(r"^assert\b")
_LIBRARY = torch.library.Library("rnn_edge_decisions", "DEF")
_LIBRARY.define("decided(SymInt holds) -> ()")


@torch.library.register_fake("rnn_edge_decisions::decided", lib=_LIBRARY)
def _decided_shape(holds: int) -> None:
    return None


DECIDED = torch.ops.rnn_edge_decisions.decided.default
# Without this torch.fx would drop the operator, since it gives nothing.
torch.fx.node.has_side_effect(DECIDED)


@dataclass(frozen=True)
class Stop:
    """The first ``after`` decisions at a line go ``way``, the one behind them does not."""

    way: bool
    after: int


@dataclass
class AtOne:
    """Branches by whether a size is 1, at ``lines``: decided as those on values while ``joined``.

    Else it is more than 1, which torch.export takes for granted without a word.
    """

    joined: bool = False
    lines: dict[CodeLine, None] = field(default_factory=dict)


@dataclass
class Decisions:
    """Which way a trace goes, by line of code: ``ways``, and True where it names none.

    ``taken`` are the lines of the decisions in the order in which the trace met them.
    """

    ways: Mapping[CodeLine, bool | Stop]
    at_one: AtOne = field(default_factory=AtOne)
    taken: list[CodeLine] = field(default_factory=list)

    @contextmanager
    def made(self, environment: ShapeEnv | None) -> Iterator[None]:
        """Decide what ``environment``, that of one trace, is asked and cannot know."""
        if environment is None:
            yield
            return
        known: Callable[..., Any] = environment.evaluate_sym_node

        def evaluate(node: Any, *args: Any, **kwargs: Any) -> Any:
            if _is_computed_number(node):
                frame = _find_asking(sys._getframe(1))
                if frame is not None and needs_stand_ins(frame):
                    raise StandInsNeededError(frame)
            elif _asks_for_one(environment, node.expr):
                frame = _find_asking(sys._getframe(1))
                if frame is not None and _IF.search(_line_of(frame).text):
                    self.at_one.lines[_line_of(frame)] = None
                    if self.at_one.joined:
                        relation = _as_value(environment, node.expr)
                        way = self._decide(environment, relation, frame)
                        return sympy.true if way else sympy.false
            try:
                return known(node, *args, **kwargs)
            except GuardOnDataDependentSymNode:
                frame = _find_asking(sys._getframe(1))
                if frame is None:
                    raise
                if needs_stand_ins(frame):
                    raise StandInsNeededError(frame) from None
                way = self._decide(environment, node.expr, frame)
                if way is None:
                    raise
                return sympy.true if way else sympy.false

        # torch tells by the file that it is no place where a person's code decides.
        evaluate.__code__ = evaluate.__code__.replace(co_filename=symbolic_shapes.__file__)
        environment.__dict__["evaluate_sym_node"] = evaluate
        try:
            yield
        finally:
            environment.__dict__.pop("evaluate_sym_node", None)

    def _decide(
        self, environment: ShapeEnv, relation: sympy.Basic, frame: FrameType
    ) -> bool | None:
        line = _line_of(frame)
        if _ASSERTION.search(line.text):
            # A graph raises no errors.
            return True
        if not _BRANCH.search(line.text):
            return None
        holds = _as_number(environment, environment.replace(relation))
        if holds is None:
            return None
        before = self.taken.count(line)
        if before >= _MOST_STEPS and _WHILE.search(line.text):
            return None
        told = self.ways.get(line, True)
        way = (told.way == (before < told.after)) if isinstance(told, Stop) else told
        self.taken.append(line)
        DECIDED(holds if way else 1 - holds)
        return way

    def find_skipped(self) -> CodeLine | None:
        """The line of a loop that did no step, because its condition was told not to hold."""
        lines = dict.fromkeys(self.taken)
        skipped = [line for line in lines if _WHILE.search(line.text) and line not in self.ways]
        return skipped[0] if skipped and self.taken.count(skipped[0]) == 1 else None

    def find_refusing(self, error: Exception) -> CodeLine | None:
        """The line ``if length < 1:`` right above the ``raise`` that ``error`` comes from."""
        lines = find_code_lines(error.__cause__, is_foreign) if error.__cause__ else []
        if not lines or not self.taken or not lines[0].text.startswith("raise "):
            return None
        last, raised = self.taken[-1], lines[0]
        is_below = last.path == raised.path and last.number + 1 == raised.number
        return last if is_below and self.ways.get(last, True) else None


def _is_computed_number(node: Any) -> bool:
    """Whether ``node`` is a number computed from sizes: int(0.7 * x.size(1)) would settle it."""
    return node.pytype is not bool and bool(node.expr.free_symbols) and not node.expr.is_Symbol


def _asks_for_one(environment: ShapeEnv, relation: sympy.Basic) -> bool:
    """Whether ``relation`` is about one size, and another where that is 1 than anywhere else."""
    if not getattr(relation, "is_Relational", False) or len(relation.free_symbols) != 1:
        return False
    (size,) = relation.free_symbols
    return size in environment.backed_var_to_val and _differs_at_one(relation, size)


# A trace asks the same of a size at each of its operators.
@functools.lru_cache(maxsize=4096)
def _differs_at_one(relation: sympy.Basic, size: sympy.Symbol) -> bool:
    beyond = _answer(relation, size, _BEYOND_ONE[0])
    if _answer(relation, size, 1) in (beyond, None):
        return False
    return all(_answer(relation, size, number) is beyond for number in _BEYOND_ONE[1:])


def _answer(relation: sympy.Basic, size: sympy.Symbol, number: int) -> bool | None:
    """Whether ``relation`` holds for ``number``; None where it has no meaning, as modulo 0."""
    try:
        return bool(relation.subs(size, number))
    except ZeroDivisionError:
        return None


_BEYOND_ONE = (2, 3, 4, 5, 7, 60, 997)


def _as_value(environment: ShapeEnv, relation: sympy.Basic) -> sympy.Basic:
    """``relation`` about a number that tracing does not know, which a run takes from the size."""
    (size,) = relation.free_symbols
    value: Any = torch.scalar_tensor(_compute(environment, size), dtype=torch.int64).item()
    return relation.subs(size, value.node.expr)


def _line_of(frame: FrameType) -> CodeLine:
    return CodeLine(frame.f_code.co_filename, frame.f_lineno)


def _find_asking(frame: FrameType | None) -> FrameType | None:
    """A person's own code, where it asks itself: not what asks on behalf of it."""
    while frame is not None and not is_foreign(frame.f_code.co_filename):
        if (
            frame.f_code.co_name != "__torch_function__"
            and frame.f_globals.get("__name__") not in _PASSING_ON
        ):
            return None
        frame = frame.f_back
    return frame


# Where a symbolic number becomes one of Python's, besides modes that see all calls.
_PASSING_ON = ("torch", "torch.fx.experimental.sym_node")


def _as_number(environment: ShapeEnv, relation: sympy.Basic) -> Any:
    """1 where ``relation`` between numbers holds, and 0 elsewhere; None for what is none."""
    if isinstance(relation, (sympy.And, sympy.Or)):
        parts = [_as_number(environment, part) for part in relation.args]
        join = torch.sym_min if isinstance(relation, sympy.And) else torch.sym_max
        return None if None in parts else functools.reduce(join, parts)
    if isinstance(relation, sympy.Not):
        holds = _as_number(environment, relation.args[0])
        return None if holds is None else 1 - holds
    if not getattr(relation, "is_Relational", False):
        return None
    if not (relation.lhs.is_integer and relation.rhs.is_integer):
        return _compare_fractions(environment, relation)
    if relation.rel_op in ("==", "!="):
        apart = _compute(environment, relation.lhs - relation.rhs)
        differs = torch.sym_min(1, torch.sym_max(apart, -apart))
        return 1 - differs if relation.rel_op == "==" else differs
    excess = relation.gts - relation.lts + (0 if relation.rel_op in ("<", ">") else 1)
    return torch.sym_max(0, torch.sym_min(1, _compute(environment, excess)))


_COMPARED: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "<": torch.lt, "<=": torch.le, ">": torch.gt, ">=": torch.ge, "==": torch.eq, "!=": torch.ne,
}  # fmt: skip


def _compare_fractions(environment: ShapeEnv, relation: sympy.Basic) -> Any:
    """In double precision, which is that of a number of Python."""
    one, other = (
        torch.scalar_tensor(_compute(environment, side), dtype=torch.float64)
        for side in (relation.lhs, relation.rhs)
    )
    return _COMPARED[relation.rel_op](one, other).to(torch.int64).item()


class _Arithmetic(PythonReferenceAnalysis):
    """Numbers of Python, symbolic perhaps, with what torch's own leaves to sympy."""

    @staticmethod
    def trunc_to_int(x: Any, _: torch.dtype) -> Any:
        return torch.sym_int(x)


def _compute(environment: ShapeEnv, expression: sympy.Expr) -> Any:
    """``expression`` step by step, each of which stands in the graph."""
    sizes = environment.backed_var_to_val
    values = {
        symbol: environment.create_symintnode(
            symbol, hint=int(sizes[symbol]) if symbol in sizes else None
        )
        if symbol.is_integer
        else environment.create_symfloatnode(symbol, hint=None)
        for symbol in expression.free_symbols
    }
    return sympy_interp(_Arithmetic, values, expression)
