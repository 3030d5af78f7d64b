"""Loops that a value ends early, ``if done.all(): break``: all of their steps, and how many count.

A loop that takes at most n steps is traced with all of them, and with few: what stands behind it is
given the first results of a list, or that of the last step, as many as were done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node

from rnn_edge.capture.decisions import DECIDED
from rnn_edge.capture.joining import JoinedForward
from rnn_edge.capture.rolling.keeping import KEEP

_ATEN = torch.ops.aten
_JOINING = (_ATEN.stack.default, _ATEN.cat.default)


@dataclass(frozen=True)
class _Call:
    """What is computed behind the loop."""

    target: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True)
class _Last:
    """The value of the last step, by how many steps were done."""

    values: tuple[Node, ...]


@dataclass(frozen=True)
class _First:
    """The first ``constant + by_count * count`` items."""

    items: tuple[Node, ...]
    constant: int
    by_count: int


@dataclass(frozen=True)
class _Number:
    constant: int
    by_count: int


class _DiffersError(Exception):
    """The traces do not show one loop that ends early."""


def stop_early(
    base: ExportedProgram, stopped: Mapping[int, ExportedProgram], traced: nn.Module
) -> StoppedForward | None:
    """``base`` does all steps, each of ``stopped`` as many as its key says; nothing is written."""
    try:
        comparison = _Comparison(base, stopped)
        returned = comparison.unite()
    except _DiffersError:
        return None
    return StoppedForward(base, returned, (min(stopped), comparison.most), traced)


class _Comparison:
    """Values by how many steps were done before the loop ended.

    ``most`` are those of ``base``, or one less where that does the same as the longest of the other
    traces: the last step is done whether the loop ends after it or by itself.
    """

    def __init__(self, base: ExportedProgram, stopped: Mapping[int, ExportedProgram]) -> None:
        self._nodes = list(base.graph.nodes)
        self._places = {node: place for place, node in enumerate(self._nodes)}
        known = {_describe(node, {}): node for node in reversed(self._nodes)}
        self._counts = list(stopped)
        # By trace, which node of ``base`` each of its nodes is.
        self._same: list[dict[Node, Node]] = []
        for program in stopped.values():
            same: dict[Node, Node] = {}
            for node in program.graph.nodes:
                found = known.get(_describe(node, same))
                if found is not None:
                    same[node] = found
            self._same.append(same)
        self._outputs = [program.graph.output_node() for program in stopped.values()]
        self.most = max(stopped)
        ended = [self._same[-1].get(node) for node in self._outputs[-1].all_input_nodes]
        if ended != base.graph.output_node().all_input_nodes:
            self.most = sum(node.target is DECIDED for node in self._nodes)
            self._counts.append(self.most)
            self._same.append({node: node for node in self._nodes})
            self._outputs.append(base.graph.output_node())
        self._united: dict[tuple[Any, ...], Any] = {}

    def unite(self) -> Any:
        return self._unite([node.args[0] for node in self._outputs])

    def _unite(self, values: Sequence[Any]) -> Any:
        head = values[0]
        if isinstance(head, Node):
            return self._unite_nodes(values)
        if isinstance(head, (list, tuple)):
            if len({len(value) for value in values}) == 1:
                return tuple(self._unite(parts) for parts in zip(*values, strict=True))
            return self._unite_lists(values)
        if isinstance(head, dict):
            return {key: self._unite([value[key] for value in values]) for key in head}
        if all(type(value) is type(head) and value == head for value in values):
            return head
        if all(type(value) is int for value in values):
            return _Number(*self._fit(values))
        raise _DiffersError

    def _unite_nodes(self, values: Sequence[Any]) -> Any:
        if not all(isinstance(value, Node) for value in values):
            raise _DiffersError
        key = tuple(values)
        if key not in self._united:
            found = [same.get(value) for same, value in zip(self._same, values, strict=True)]
            if found[0] is not None and all(node is found[0] for node in found):
                self._united[key] = found[0]
            elif None not in found:
                self._united[key] = self._unite_known([node for node in found if node], values)
            else:
                self._united[key] = self._unite_calls(values)
        return self._united[key]

    def _unite_known(self, found: Sequence[Node], values: Sequence[Node]) -> Any:
        """What ``base`` has for every count: a value of a step, or computed behind all of them."""
        try:
            return self._find_last(found)
        except _DiffersError:
            return self._unite_calls(values)

    def _unite_calls(self, nodes: Sequence[Node]) -> _Call:
        if len({(node.op, node.target) for node in nodes}) > 1 or nodes[0].op != "call_function":
            raise _DiffersError
        args = self._unite([tuple(node.args) for node in nodes])
        if any(isinstance(arg, _First) for arg in args) and nodes[0].target not in _JOINING:
            raise _DiffersError
        return _Call(nodes[0].target, args, self._unite([dict(node.kwargs) for node in nodes]))

    def _find_last(self, nodes: Sequence[Node]) -> _Last:
        """The value for every count of steps, where those of the traces are as far apart."""
        places = dict(zip(self._counts, (self._places[node] for node in nodes), strict=True))
        smallest = min(places)
        inner = sorted(count for count in places if 0 < count <= max(self._counts[:-1]))
        if len(inner) < 2:
            raise _DiffersError
        first, second, last = inner[0], inner[1], inner[-1]
        step, rest = divmod(places[second] - places[first], second - first)
        if rest or places[last] != places[first] + step * (last - first):
            raise _DiffersError
        values = [
            self._nodes[places.get(count, places[first] + step * (count - first))]
            for count in range(smallest, self.most + 1)
        ]
        shapes = {_shape(node) for node in values}
        if len(shapes) > 1 or None in shapes or len({values[n].target for n in range(1, last)}) > 1:
            raise _DiffersError
        return _Last(tuple(values))

    def _unite_lists(self, lists: Sequence[Sequence[Any]]) -> _First:
        whole = [self._same[-1].get(item) for item in lists[-1]]
        if None in whole:
            raise _DiffersError
        for same, items in zip(self._same, lists, strict=True):
            if [same.get(item) for item in items] != whole[: len(items)]:
                raise _DiffersError
        if len({_shape(node) for node in whole}) > 1:
            raise _DiffersError
        items = tuple(node for node in whole if node is not None)
        return _First(items, *self._fit([len(items) for items in lists]))

    def _fit(self, values: Sequence[int]) -> tuple[int, int]:
        """(constant, by count) of the straight line through ``values``."""
        (one, first), (other, second) = list(zip(self._counts, values, strict=True))[-2:]
        by_count, rest = divmod(second - first, other - one)
        constant = first - by_count * one
        line = [constant + by_count * count for count in self._counts]
        if rest or line != list(values):
            raise _DiffersError
        return constant, by_count


def _describe(node: Node, same: Mapping[Node, Node]) -> Any:
    """The same for two nodes that give the same; ``same`` tells of those in another graph."""

    def describe(value: Any) -> Any:
        if isinstance(value, Node):
            return same.get(value, value)
        if isinstance(value, (list, tuple)):
            return tuple(map(describe, value))
        if isinstance(value, slice):
            return ("slice", describe(value.start), describe(value.stop), describe(value.step))
        if isinstance(value, dict):
            return tuple((key, describe(item)) for key, item in value.items())
        return (type(value), value)

    if node.op in ("placeholder", "output") or node.target in (DECIDED, KEEP):
        return (node.op, node.name)
    return (node.op, node.target, describe(node.args), describe(node.kwargs))


def _shape(node: Any) -> tuple[str, ...] | None:
    value = node.meta.get("val") if isinstance(node, Node) else None
    return (str(value.dtype), *map(str, value.shape)) if isinstance(value, Tensor) else None


class StoppedForward(nn.Module):
    """Does all steps of ``base``, and returns what is ``returned`` after as many as are to be done.

    ``bounds`` are the fewest and the most of them.
    """

    def __init__(
        self, base: ExportedProgram, returned: Any, bounds: tuple[int, int], traced: nn.Module
    ) -> None:
        super().__init__()
        self.module = traced.get_submodule("module")
        # In a tuple: its parameters are not to be found there as well.
        self._base = (JoinedForward(base, {}, traced),)
        self._markers = [node for node in base.graph.nodes if node.target is DECIDED]
        self._returned = returned
        self._bounds = bounds

    def forward(self, *tensors: Tensor) -> list[Tensor]:
        known = self._base[0].run_all(tensors)
        goes_on = [
            torch.scalar_tensor(known[node] if isinstance(node, Node) else node, dtype=torch.int64)
            for node in (marker.args[0] for marker in self._markers)
        ]
        fewest, most = self._bounds
        count: Any = torch.cumprod(torch.stack(goes_on), 0).sum().clamp(fewest, most).item()
        torch._check(count >= fewest)
        torch._check(count <= most)
        values = _Values(known, count, fewest)
        return [values.compute(value) for value in self._returned]


class _Values:
    def __init__(self, known: Mapping[Node, Any], count: Any, fewest: int) -> None:
        self._known = known
        self._count = count
        self._fewest = fewest
        self._computed: dict[int, Any] = {}

    def compute(self, value: Any) -> Any:
        match value:
            case Node():
                return self._known[value]
            case _Number():
                return value.constant + value.by_count * self._count
            case _Last():
                every = torch.stack([self._known[node] for node in value.values])
                place = torch.scalar_tensor(self._count - self._fewest, dtype=torch.int64)
                return every.index_select(0, place.unsqueeze(0)).squeeze(0)
            case _Call():
                if id(value) not in self._computed:
                    self._computed[id(value)] = self._call(value)
                return self._computed[id(value)]
            case tuple():
                return [self.compute(item) for item in value]
        return value

    def _call(self, call: _Call) -> Any:
        kwargs = {key: self.compute(item) for key, item in call.kwargs.items()}
        listed = call.args[0] if call.args else None
        args = [self.compute(item) for item in call.args if not isinstance(item, _First)]
        if not isinstance(listed, _First):
            return call.target(*args, **kwargs)
        parts = [self._known[node] for node in listed.items]
        dim = args[0] if args else 0
        size = 1 if call.target is _ATEN.stack.default else parts[0].shape[dim]
        length = (listed.constant + listed.by_count * self._count) * size
        return call.target(parts, dim).narrow(dim, 0, length)
