"""A loop inside of another one, as one operator in the body of the outer one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rnn_edge.capture.rolling.affine import Affine
from rnn_edge.capture.rolling.alignment import NotRollableError
from rnn_edge.capture.rolling.cells import split_off_cells
from rnn_edge.capture.rolling.execution import Execution
from rnn_edge.capture.rolling.program import (
    Collected,
    Loop,
    LoopValue,
    Number,
    PlainValue,
    RolledProgram,
    RolledStep,
    replace_leaves,
    replay,
    walk,
)
from rnn_edge.capture.rolling.trace import Source

_ATEN = torch.ops.aten


@dataclass(frozen=True)
class Lifted:
    """Number ``place`` of those that the loop is given, and ``slope`` more in each iteration."""

    place: int
    slope: float
    whole: bool


@dataclass(frozen=True)
class Result:
    """What step ``step`` of the body gives: in every iteration, stacked, or in the last one."""

    step: int
    item: int | None
    every: bool


@dataclass(frozen=True)
class FoldedLoop:
    """A loop whose numbers are Lifted and whose values are Sources: ``v0``, ``v1`` and so on.

    The same in every iteration of the loop around it, and at every size.
    """

    body: tuple[RolledStep, ...]
    results: tuple[Result, ...]
    # torch.fx calls an operator by its name.
    __name__ = "folded_loop"

    def __hash__(self) -> int:
        return hash((len(self.body), self.results))

    def __call__(self, count: Any, numbers: Sequence[Any], *values: Tensor) -> list[Tensor]:
        """``count`` iterations; a tensor for each of the results."""
        sizes = [one for one in (count, *numbers) if isinstance(one, torch.SymInt)]
        sources = {f"v{place}": value for place, value in enumerate(values)}
        sources |= {f"n{n}": one for n, one in enumerate(numbers) if isinstance(one, Tensor)}

        def as_line(constant: Any, slope: float) -> Affine:
            if isinstance(constant, torch.SymInt):
                place = next(n for n, one in enumerate(sizes) if one is constant)
                return Affine(0, tuple(int(n == place) for n in range(len(sizes))), slope)
            return Affine(constant, (0,) * len(sizes), slope)

        def lower(leaf: Any) -> Any:
            if not isinstance(leaf, Lifted):
                return leaf
            constant = numbers[leaf.place]
            if not isinstance(constant, Tensor):
                return Number(as_line(constant, leaf.slope), leaf.whole)
            if leaf.slope:
                raise NotRollableError(
                    "a number in a loop must not follow the loop around it as well to be "
                    "exported, got one that does. Compute it from a tensor."
                )
            return Source(f"n{leaf.place}")

        body = []
        for step in self.body:
            lowered = replace_leaves((step.args, step.kwargs), lower)
            given = any(isinstance(leaf, Source) and leaf.name[0] == "n" for leaf in walk(lowered))
            target = replay(step.target, True) if given else step.target
            body.append(replace(step, target=target, args=lowered[0], kwargs=lowered[1]))
        program = self._as_program(tuple(body), as_line(count, 0), sources)
        smallest = [_smallest(size) for size in sizes]
        return list(Execution(split_off_cells(program), sizes, smallest, sources).run())

    def _as_program(
        self, body: tuple[RolledStep, ...], count: Affine, sources: dict[str, Any]
    ) -> RolledProgram:
        items: list[RolledStep | Loop] = [Loop(0, count, body)]
        returned: list[Any] = []
        none = (0,) * len(count.by_size)
        for result in self.results:
            if not result.every:
                last = count.minus(Affine(1, none))
                returned.append(LoopValue(0, result.step, result.item, last))
                continue
            collected = Collected(0, result.step, result.item, Affine(0, none), count, 1)
            returned.append(PlainValue(len(items) - 1, None))
            args = ((collected,), Number(Affine(0, none), True))
            items.append(RolledStep(_ATEN.stack.default, args, {}, ""))
        return RolledProgram(tuple(items), tuple(returned), sources)


def _smallest(size: torch.SymInt) -> int:
    """What ``size`` is where all that it follows from are 1, which torch does not think of."""
    expression = size.node.expr
    return int(expression.subs(dict.fromkeys(expression.free_symbols, 1)))


def repeat_for_each(x: Tensor, count: Any) -> Tensor:
    """[count, ...]: ``x`` in every iteration."""
    return x.unsqueeze(0).expand(count, *x.shape)
