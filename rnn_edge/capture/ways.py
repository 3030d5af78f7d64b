"""All ways that forward() takes by values as one program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.fx import Node

from rnn_edge.capture.decisions import DECIDED
from rnn_edge.capture.joining import JoinedForward, join_programs
from rnn_edge.capture.rolling.functional import decompose_writes
from rnn_edge.code_line import CodeLine

_Ways: TypeAlias = Mapping[CodeLine, bool]
_Trace: TypeAlias = Callable[[_Ways], tuple[ExportedProgram, list[CodeLine]]]


def join_ways(
    exported: ExportedProgram, taken: Sequence[CodeLine], trace_with: _Trace, traced: nn.Module
) -> JoinedForward | None:
    """One module for both ways of every decision, ``taken`` in ``exported``; None if there is none.

    The trace to start from is that which does most: what it does more can be left undone.
    """
    ways: dict[CodeLine, bool] = {}
    lines = list(dict.fromkeys(taken))
    for _ in range(len(lines) + 1):
        others = {}
        for line in lines:
            other, also = trace_with({**ways, line: not ways.get(line, True)})
            if not set(also) <= set(lines):
                return None
            if _count(other) > _count(exported):
                ways, exported, taken = {**ways, line: not ways.get(line, True)}, other, also
                break
            others[line] = other
        else:
            return _join(exported, taken, others, traced)
    return None


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
