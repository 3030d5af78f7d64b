"""Both sides of a choice by a size as one program, which does what a side does more by a number.

What one side does and the other does not is padding, cutting, appending, or something that changes
no shape. Padding by p * n, where p is 1 on the one side and 0 on the other, is right on both.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Interpreter, Node

from rnn_edge.capture.choices import Choice, Sides

_ATEN = torch.ops.aten
_CUTTING = (_ATEN.slice.Tensor,)  # of neighbouring elements
_PADDING = (_ATEN.pad.default, _ATEN.constant_pad_nd.default)
_IDLE = (_ATEN.contiguous.default, _ATEN.clone.default, _ATEN.alias.default)
_TO_THE_END = 2**63 - 1


@dataclass(frozen=True)
class _Guard:
    """``node`` counts where ``choice`` holds; elsewhere it is ``instead``."""

    choice: int
    instead: Node


class _Comparison:
    """Nodes of ``base`` beside those of ``other``, which lacks some of them."""

    def __init__(self, base: ExportedProgram, other: ExportedProgram, choice: int) -> None:
        self._choice = choice
        self._pairs: dict[Node, Node] = {}
        self._more: set[Node] = set()
        self.guards: dict[Node, _Guard] = {}
        self.is_complete = self._compare(list(_steps(base)), list(_steps(other)))

    def _compare(self, base: list[Node], other: list[Node]) -> bool:
        place = 0
        for node in base:
            if place < len(other) and self._is_same(node, other[place]):
                self._pairs[other[place]] = node
                place += 1
            else:
                self._more.add(node)
        return place == len(other)

    def _is_same(self, node: Node, other: Node) -> bool:
        if node.op == "placeholder":
            return other.op == "placeholder" and node.name == other.name
        if (node.op, node.target) != (other.op, other.target):
            return False
        guards: dict[Node, _Guard] = {}
        if not self._match((node.args, node.kwargs), (other.args, other.kwargs), guards):
            return False
        self.guards.update(guards)
        return True

    def _match(self, one: Any, other: Any, guards: dict[Node, _Guard]) -> bool:
        if isinstance(one, Node) and isinstance(other, Node):
            return self._stands_for(one, self._pairs.get(other), guards)
        if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
            return len(one) == len(other) and all(
                self._match(a, b, guards) for a, b in zip(one, other, strict=True)
            )
        if isinstance(one, dict) and isinstance(other, dict):
            return one.keys() == other.keys() and all(
                self._match(value, other[key], guards) for key, value in one.items()
            )
        return type(one) is type(other) and bool(one == other)

    def _stands_for(self, node: Node, instead: Node | None, guards: dict[Node, _Guard]) -> bool:
        """Whether ``node`` can be made to be ``instead`` on the other side; adds how."""
        if node is instead:
            return True
        if instead is None or node not in self._more:
            return False
        known = self.guards.get(node) or guards.get(node)
        if known is not None:
            return self._stands_for(known.instead, instead, guards)
        if _is_idle(node):
            return self._stands_for(_first(node), instead, guards)
        if isinstance(node.meta.get("val"), torch.SymInt) or _have_one_shape(node, instead):
            guards[node] = _Guard(self._choice, instead)
            return True
        for changed in _changed(node):
            if self._stands_for(changed, instead, guards):
                guards[node] = _Guard(self._choice, changed)
                return True
        return False


def _steps(exported: ExportedProgram) -> Iterator[Node]:
    for node in exported.graph.nodes:
        if "_assert" not in str(node.target) and "sym_constrain" not in str(node.target):
            yield node


def _changed(node: Node) -> list[Node]:
    """What ``node`` cuts, fills up or appends to, or changes the values of."""
    if node.target in _PADDING or (node.target in _CUTTING and len(node.args) < 5):
        return [_first(node)]
    if node.target is _ATEN.cat.default:
        parts = node.args[0]
        assert isinstance(parts, (list, tuple))
        return [part for part in parts if isinstance(part, Node)]
    return [given for given in node.all_input_nodes if _have_one_shape(node, given)]


def _is_idle(node: Node) -> bool:
    if node.target is _ATEN.slice.Tensor:
        given: list[Any] = [*node.args[2:], *(0, _TO_THE_END, 1)[len(node.args) - 2 :]]
        return given[0] in (0, None) and given[1] in (None, _TO_THE_END) and given[2] == 1
    return node.target in _IDLE


def _first(node: Node) -> Node:
    first = node.args[0]
    assert isinstance(first, Node)
    return first


def _have_one_shape(node: Node, other: Node) -> bool:
    one, another = node.meta.get("val"), other.meta.get("val")
    if not isinstance(one, Tensor) or not isinstance(another, Tensor):
        return False
    same = list(map(str, one.shape)) == list(map(str, another.shape))
    return same and bool(one.dtype == another.dtype)


class JoinedForward(nn.Module):
    """Runs one side's program, doing what the others lack only where their choice holds.

    ``traced`` is the module that was traced: it holds the parameters under their names.
    """

    def __init__(self, sides: Sides, guards: dict[Node, _Guard], traced: nn.Module) -> None:
        super().__init__()
        self.module = traced.module
        self._sides = sides
        self._guards = guards

    def forward(self, *tensors: Tensor) -> list[Tensor]:
        signature = self._sides.exported.graph_signature
        given = dict(zip(signature.user_inputs, tensors, strict=True))
        sources = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        constants = signature.inputs_to_lifted_tensor_constants
        values = [
            self._sides.exported.constants[constants[node.name]] if node.name in constants
            else operator.attrgetter(sources[node.name])(self) if node.name in sources
            else given[node.name]
            for node in self._sides.exported.graph.nodes if node.op == "placeholder"
        ]  # fmt: skip
        run = _Run(self._sides, self._guards)
        returned: list[Tensor] = list(run.run(*values, enable_io_processing=False))
        return returned


def join(sides: Sides, traced: nn.Module) -> JoinedForward | None:
    """One module for all ways; None where they differ by more than can be left undone."""
    guards: dict[Node, _Guard] = {}
    for number, other in enumerate(sides.others):
        comparison = _Comparison(sides.exported, other, number)
        if not comparison.is_complete or guards.keys() & comparison.guards.keys():
            return None
        guards |= comparison.guards
    sized = [_find_size(sides.exported, choice) for choice in sides.choices]
    return None if None in sized else JoinedForward(sides, guards, traced)


def _find_size(exported: ExportedProgram, choice: Choice) -> tuple[Node, int | None] | None:
    """The first node that is the size of ``choice``, or has it as that of one of its axes."""
    for node in exported.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, torch.SymInt) and value.node.expr == choice.size:
            return node, None
        for dim, size in enumerate(value.shape if isinstance(value, Tensor) else ()):
            if isinstance(size, torch.SymInt) and size.node.expr == choice.size:
                return node, dim
    return None


class _Run(Interpreter):
    """Every value is kept: a guard asks for sizes of before."""

    def __init__(self, sides: Sides, guards: dict[Node, _Guard]) -> None:
        super().__init__(sides.exported.graph_module, garbage_collect_values=False)
        self._sides = sides
        self._guards = guards

    def run_node(self, n: Node) -> Any:
        if "_assert" in str(n.target) or "sym_constrain" in str(n.target):
            return None
        guard = self._guards.get(n)
        return super().run_node(n) if guard is None else self._run_guarded(n, guard)

    def _holds(self, choice: int) -> Any:
        """1 or 0, symbolic."""
        found = _find_size(self._sides.exported, self._sides.choices[choice])
        assert found is not None
        node, dim = found
        value = self.env[node]
        return self._sides.choices[choice].as_number(value if dim is None else value.shape[dim])

    def _run_guarded(self, node: Node, guard: _Guard) -> Any:
        holds, instead = self._holds(guard.choice), self.env[guard.instead]
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        target: Callable[..., Any] = node.target  # type: ignore[assignment]
        if node.target in _PADDING:
            return target(args[0], [holds * amount for amount in args[1]], *args[2:], **kwargs)
        if node.target in _CUTTING:
            return _cut(holds, *args, **kwargs)
        if node.target is _ATEN.cat.default and guard.instead in _changed(node):
            return _append(holds, args[0], instead, *args[1:], **kwargs)
        value = target(*args, **kwargs)
        if not isinstance(value, Tensor):
            return instead + holds * (value - instead)
        return torch.where(torch.scalar_tensor(holds, dtype=torch.int64) > 0, value, instead)


def _cut(holds: Any, x: Tensor, dim: int = 0, start: Any = None, end: Any = None) -> Tensor:
    size = x.shape[dim]
    start = 0 if start is None else start
    start = size + start if isinstance(start, int) and start < 0 else start
    end = size if end in (None, _TO_THE_END) else end
    end = size + end if isinstance(end, int) and end < 0 else end
    first = holds * start
    return x.narrow(dim, first, size - holds * (size - end) - first)


def _append(holds: Any, parts: list[Tensor], kept: Tensor, dim: int = 0) -> Tensor:
    joined = torch.cat(parts, dim)
    place = next(number for number, part in enumerate(parts) if part is kept)
    before = sum(part.shape[dim] for part in parts[:place])
    size = kept.shape[dim]
    return joined.narrow(dim, (1 - holds) * before, size + holds * (joined.shape[dim] - size))
