"""Both sides of a choice by a size as one program, which does what a side does more by a number.

What one side does and the other does not is padding, cutting, appending, or something that changes
no shape. Padding by p * n, where p is 1 on the one side and 0 on the other, is right on both.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Interpreter, Node

from rnn_edge.capture.choices import Choice, Sides
from rnn_edge.capture.decisions import DECIDED
from rnn_edge.capture.rolling.keeping import KEEP
from rnn_edge.capture.values import is_known_at_run_time

_ATEN = torch.ops.aten
_CUTTING = (_ATEN.slice.Tensor,)  # of neighbouring elements
_PADDING = (_ATEN.pad.default, _ATEN.constant_pad_nd.default)
_IDLE = (_ATEN.contiguous.default, _ATEN.clone.default, _ATEN.alias.default)
_TO_THE_END = 2**63 - 1
# Which choice is between two nodes, the one that comes first named first.
Choose: TypeAlias = Callable[[Node, Node], "Choice | Node | None"]


@dataclass(frozen=True)
class _Guard:
    """``node`` counts where ``choice`` holds; elsewhere it is ``instead``.

    A choice is one by a size, or the marker of a decision in the same graph.
    """

    choice: Choice | Node
    instead: Node


class _Comparison:
    """Nodes of ``base`` beside those of ``other``, which lacks some of them.

    ``choose`` tells which choice is between two nodes of ``base``, if it is one.
    """

    def __init__(
        self,
        base: ExportedProgram,
        other: ExportedProgram,
        choose: Choose,
    ) -> None:
        self._choose = choose
        self._pairs: dict[Node, Node] = {}
        self._more: set[Node] = set()
        self.guards: dict[Node, _Guard] = {}
        needed = _find_needed(other)
        # What only moves memory differs with what was done before.
        steps = [node for node in _steps(other) if node in needed]
        self.is_complete = self._compare(list(_steps(base)), steps)

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
            return self._stands_for(one, self._pairs.get(_without_idle(other)), guards)
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
        is_size = isinstance(node.meta.get("val"), torch.SymInt)
        choice = self._choose(instead, node)
        if choice is not None and (is_size or _have_one_shape(node, instead)):
            guards[node] = _Guard(choice, instead)
            return True
        for changed in map(_without_idle, _changed(node)):
            choice = self._choose(changed, node)
            if choice is not None and self._stands_for(changed, instead, guards):
                guards[node] = _Guard(choice, changed)
                return True
        return False


def _find_needed(exported: ExportedProgram) -> set[Node]:
    """The nodes without which something else would be returned."""
    pending = [node for node in exported.graph.nodes if node.op in ("output", "placeholder")]
    needed: set[Node] = set()
    while pending:
        node = pending.pop()
        if node not in needed:
            needed.add(node)
            pending += map(_without_idle, node.all_input_nodes)
    return needed


def _steps(exported: ExportedProgram) -> Iterator[Node]:
    for node in exported.graph.nodes:
        if not _is_check(node) and node.target not in (DECIDED, KEEP):
            yield node


def _is_check(node: Node) -> bool:
    return "_assert" in str(node.target) or "sym_constrain" in str(node.target)


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


def _without_idle(node: Node) -> Node:
    while True:
        if _is_idle(node):
            node = _first(node)
        elif _turns_back(node):
            node = _first(_first(node))
        else:
            return node


def _turns_back(node: Node) -> bool:
    """Whether ``node`` undoes a transpose, as writing into a transposed tensor does."""
    if node.target is not _ATEN.transpose.int:
        return False
    turned = _first(node)
    return turned.target is _ATEN.transpose.int and turned.args[1:] == node.args[1:]


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

    def __init__(
        self, exported: ExportedProgram, guards: dict[Node, _Guard], traced: nn.Module
    ) -> None:
        super().__init__()
        self.module = traced.get_submodule("module")
        self._exported = exported
        self._guards = guards

    def forward(self, *tensors: Tensor) -> list[Tensor]:
        run = _Run(self._exported, self._guards)
        given = self._read_given(tensors)
        returned: list[Tensor] = list(run.run(*given.values(), enable_io_processing=False))
        return returned

    def run_all(self, tensors: Sequence[Tensor]) -> Mapping[Node, Any]:
        """The value of every node."""
        run = _Run(self._exported, self._guards)
        run.run(*self._read_given(tensors).values(), enable_io_processing=False)
        return run.env

    def compute(self, node: Node, tensors: Sequence[Tensor]) -> Any:
        """The value of ``node`` alone, a number."""
        run = _Run(self._exported, self._guards)
        run.env.update(self._read_given(tensors))
        return run.compute(node)

    def _read_given(self, tensors: Sequence[Tensor]) -> dict[Node, Any]:
        """What every placeholder stands for."""
        signature = self._exported.graph_signature
        given = dict(zip(signature.user_inputs, tensors, strict=True))
        sources = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        constants = signature.inputs_to_lifted_tensor_constants
        return {
            node: self._exported.constants[constants[node.name]] if node.name in constants
            else operator.attrgetter(sources[node.name])(self) if node.name in sources
            else given[node.name]
            for node in self._exported.graph.nodes if node.op == "placeholder"
        }  # fmt: skip


def join(sides: Sides, traced: nn.Module) -> JoinedForward | None:
    """One module for all ways; None where they differ by more than can be left undone."""
    if any(_find_size(sides.exported, choice) is None for choice in sides.choices):
        return None

    def always(choice: Choice) -> Choose:
        return lambda *_: choice

    pairs = zip(sides.choices, sides.others, strict=True)
    others = [(other, always(choice)) for choice, other in pairs]
    return join_programs(sides.exported, others, traced)


def join_programs(
    base: ExportedProgram,
    others: Sequence[tuple[ExportedProgram, Choose]],
    traced: nn.Module,
) -> JoinedForward | None:
    """``base`` with what each of ``others`` lacks undone by the choice that its function names."""
    guards: dict[Node, _Guard] = {}
    for other, choose in others:
        comparison = _Comparison(base, other, choose)
        if not comparison.is_complete or guards.keys() & comparison.guards.keys():
            return None
        guards |= comparison.guards
    return JoinedForward(base, guards, traced)


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

    def __init__(self, exported: ExportedProgram, guards: dict[Node, _Guard]) -> None:
        super().__init__(exported.graph_module, garbage_collect_values=False)
        self._exported = exported
        self._guards = guards

    def run_node(self, n: Node) -> Any:
        if _is_check(n) or n.target is DECIDED:
            return None
        guard = self._guards.get(n)
        if guard is not None:
            return self._run_guarded(n, guard)
        if n.target is not _ATEN.view.default:
            return super().run_node(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        # Memory may be in another order now, which tracing cannot tell for these sizes.
        moved = any(map(is_known_at_run_time, args[0].shape))
        return _ATEN.reshape.default(*args, **kwargs) if moved else super().run_node(n)

    def _holds(self, choice: Choice | Node) -> Any:
        """1 or 0, symbolic."""
        if isinstance(choice, Node):
            (holds,) = choice.args
            return self.compute(holds) if isinstance(holds, Node) else holds
        found = _find_size(self._exported, choice)
        assert found is not None
        node, dim = found
        value = self.env[node]
        return choice.as_number(value if dim is None else value.shape[dim])

    def compute(self, node: Node) -> Any:
        """The value of ``node``, a number, which may stand behind what asks for it."""
        if node not in self.env:
            for given in node.all_input_nodes:
                self.compute(given)
            self.env[node] = super().run_node(node)
        return self.env[node]

    def _run_guarded(self, node: Node, guard: _Guard) -> Any:
        holds, instead = self._holds(guard.choice), self.env[guard.instead]
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        target: Callable[..., Any] = node.target  # type: ignore[assignment]
        if node.target in _PADDING:
            return target(args[0], [holds * amount for amount in args[1]], *args[2:], **kwargs)
        if node.target in _CUTTING:
            return _cut(holds, *args, **kwargs)
        if node.target is _ATEN.cat.default:
            parts = list(map(_without_idle, _changed(node)))
            if guard.instead in parts:
                return _append(holds, args[0], parts.index(guard.instead), *args[1:], **kwargs)
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


def _append(holds: Any, parts: list[Tensor], kept: int, dim: int = 0) -> Tensor:
    joined = torch.cat(parts, dim)
    before = sum(part.shape[dim] for part in parts[:kept])
    size = parts[kept].shape[dim]
    return joined.narrow(dim, (1 - holds) * before, size + holds * (joined.shape[dim] - size))
