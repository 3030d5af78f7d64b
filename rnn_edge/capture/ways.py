"""All ways that forward() takes by values as one program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node

from rnn_edge.capture.decisions import DECIDED, Stop
from rnn_edge.capture.joining import JoinedForward, join_programs
from rnn_edge.capture.rolling.functional import decompose_writes
from rnn_edge.capture.stopping import StoppedForward, stop_early
from rnn_edge.code_line import CodeLine
from rnn_edge.errors import ExportError

Ways: TypeAlias = Mapping[CodeLine, bool | Stop]
# So many decisions may go ways of which nothing is done once: programs double with each.
_MOST_CHOSEN = 3
# Fewer steps than this are not taken for a loop.
_FEWEST_STEPS = 4
_NONE: Ways = {}
_Trace: TypeAlias = Callable[[Ways], tuple[ExportedProgram, list[CodeLine]]]


def join_ways(
    exported: ExportedProgram,
    taken: Sequence[CodeLine],
    trace_with: _Trace,
    traced: nn.Module,
    settled: Ways = _NONE,
) -> nn.Module | None:
    """One module for both ways of every decision, ``taken`` in ``exported``; None if there is none.

    Decisions at the lines ``settled`` go that way. What the two ways of another have in common is
    done once where the rest can be left undone, else both are gone and the results chosen.
    """
    return (
        _stop_early(taken, trace_with, traced, settled, is_loop=True)
        or _undo_more(exported, taken, trace_with, traced, settled)
        or _stop_early(taken, trace_with, traced, settled, is_loop=False)
        or _choose_results(taken, trace_with, traced, settled)
    )


def _stop_early(
    taken: Sequence[CodeLine], trace_with: _Trace, traced: nn.Module, settled: Ways, is_loop: bool
) -> StoppedForward | None:
    """A loop that one line ends, that of its own condition where ``is_loop``."""
    lines = [line for line in dict.fromkeys(taken) if line not in settled]
    if len(lines) != 1 or lines[0].text.startswith("while") != is_loop:
        return None
    (line,) = lines
    both = []
    for way in (True, False):
        try:
            both.append((way, *trace_with({**settled, line: way})))
        except ExportError:  # no step at all is not to be done
            continue
    way, exported, also = max(both, key=lambda one: one[2].count(line))
    count = also.count(line)
    if count < _FEWEST_STEPS or set(also) - {line, *settled}:
        return None
    stopped = {}
    for after in sorted({0, 1, 2, 3, count - 1}):
        try:
            program, _ = trace_with({**settled, line: Stop(way, after)})
        except ExportError:
            if after:
                return None
            continue
        stopped[after] = decompose_writes(program)
    return stop_early(decompose_writes(exported), stopped, traced)


def _undo_more(
    exported: ExportedProgram,
    taken: Sequence[CodeLine],
    trace_with: _Trace,
    traced: nn.Module,
    settled: Ways,
) -> JoinedForward | None:
    """The trace to start from is that which does most: what it does more can be left undone."""
    ways = dict(settled)
    lines = [line for line in dict.fromkeys(taken) if line not in settled]
    for _ in range(len(lines) + 1):
        others = {}
        for line in lines:
            other, also = trace_with({**ways, line: not ways.get(line, True)})
            if not set(also) <= {*lines, *settled}:
                return None
            if _count(other) > _count(exported):
                ways, exported, taken = {**ways, line: not ways.get(line, True)}, other, also
                break
            others[line] = other
        else:
            return _join(exported, taken, others, traced)
    return None


def _choose_results(
    taken: Sequence[CodeLine], trace_with: _Trace, traced: nn.Module, settled: Ways
) -> ChosenForward | None:
    """Both ways of the first decision that is not ``settled``, each with all others joined."""
    line = next((line for line in taken if line not in settled), None)
    if line is None or len(settled) >= _MOST_CHOSEN:
        return None
    traces = [trace_with({**settled, line: way}) for way in (True, False)]
    (program, also), (other, _) = traces
    if any(each.count(line) != 1 for _, each in traces) or not _return_alike(program, other):
        return None
    sides = []
    for way, (exported, each) in zip((True, False), traces, strict=True):
        side = join_ways(exported, each, trace_with, traced, {**settled, line: way})
        if side is None:
            return None
        sides.append(side)
    base = decompose_writes(program)
    markers = [node for node in base.graph.nodes if node.target is DECIDED]
    if len(markers) != len(also):
        return None
    decision = JoinedForward(base, {}, traced)
    return ChosenForward(decision, markers[also.index(line)], sides[0], sides[1])


def _return_alike(one: ExportedProgram, other: ExportedProgram) -> bool:
    """Whether both return as many tensors, of the same types and sizes."""
    return list(map(_describe, _returned(one))) == list(map(_describe, _returned(other)))


def _returned(exported: ExportedProgram) -> list[Tensor]:
    (nodes,) = exported.graph.output_node().args
    assert isinstance(nodes, (list, tuple))
    return [node.meta["val"] for node in nodes if isinstance(node, Node)]


def _describe(tensor: Tensor) -> tuple[object, ...]:
    """Its type and sizes: axes differ in what they are traced at, other sizes in what they are."""
    return (tensor.dtype, *map(_evaluate, tensor.shape))


def _evaluate(size: int | torch.SymInt) -> str:
    if isinstance(size, int):
        return str(size)
    return str(size.node.expr.subs(size.node.shape_env.backed_var_to_val))


class ChosenForward(nn.Module):
    """Goes both ways of ``marker``, a decision in ``decision``, and returns what it says."""

    def __init__(
        self, decision: JoinedForward, marker: Node, one: nn.Module, other: nn.Module
    ) -> None:
        super().__init__()
        self.module = decision.module
        # In a tuple: its parameters are not to be found there as well.
        self._parts = (decision, one, other)
        self._holds: Any = marker.args[0]

    def forward(self, *tensors: Tensor) -> list[Tensor]:
        decision, one, other = self._parts
        holds = self._holds
        if isinstance(holds, Node):
            holds = decision.compute(holds, tensors)
        chosen = torch.scalar_tensor(holds, dtype=torch.int64) > 0
        pairs = zip(one(*tensors), other(*tensors), strict=True)
        return [torch.where(chosen, a, b) for a, b in pairs]


def _count(exported: ExportedProgram) -> int:
    return len(exported.graph.nodes)


def _join(
    exported: ExportedProgram,
    taken: Sequence[CodeLine],
    others: Mapping[CodeLine, ExportedProgram],
    traced: nn.Module,
) -> JoinedForward | None:
    base = decompose_writes(exported)
    places = {node: place for place, node in enumerate(base.graph.nodes)}
    markers = [node for node in places if node.target is DECIDED]
    if len(markers) != len(taken):
        return None

    def choose_among(line: CodeLine) -> Callable[[Node, Node], Node | None]:
        own = [node for node, at in zip(markers, taken, strict=True) if at == line]

        def choose(instead: Node, node: Node) -> Node | None:
            # Sizes stand further in front than where they were computed.
            if len(own) == 1 and isinstance(node.meta.get("val"), torch.SymInt):
                return own[0]
            between = [m for m in own if places[instead] < places[m] < places[node]]
            return between[0] if len(between) == 1 else None

        return choose

    pairs = [(decompose_writes(other), choose_among(line)) for line, other in others.items()]
    return join_programs(base, pairs, traced)
