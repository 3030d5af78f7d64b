"""A traced graph with nothing written in place, its steps as they were.

torch can do that as well, by tracing the graph again: for a loop that writes each result into a
tensor that takes several times as long as the first trace did.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Graph, Node
from torch.fx.node import map_arg

from rnn_edge.capture.rolling.keeping import KEEP

_ATEN = torch.ops.aten
# What gives the values that an operator writes, of the dtype of what it writes into.
_SET: dict[Any, Callable[..., Any]] = {
    _ATEN.copy_.default: _ATEN.copy.default,
    _ATEN.fill_.Scalar: _ATEN.full_like.default,
    _ATEN.fill_.Tensor: _ATEN.fill.Tensor,
    _ATEN.zero_.default: _ATEN.zeros_like.default,
    _ATEN.masked_fill_.Scalar: _ATEN.masked_fill.Scalar,
    _ATEN.masked_fill_.Tensor: _ATEN.masked_fill.Tensor,
    _ATEN.scatter_.src: _ATEN.scatter.src,
    _ATEN.scatter_.value: _ATEN.scatter.value,
    _ATEN.scatter_add_.default: _ATEN.scatter_add.default,
    _ATEN.relu_.default: _ATEN.relu.default,
    _ATEN.sigmoid_.default: _ATEN.sigmoid.default,
    _ATEN.tanh_.default: _ATEN.tanh.default,
}
# The same, where all that is computed with is of that dtype.
_COMPUTED: dict[Any, Callable[..., Any]] = {
    _ATEN.add_.Tensor: _ATEN.add.Tensor,
    _ATEN.sub_.Tensor: _ATEN.sub.Tensor,
    _ATEN.mul_.Tensor: _ATEN.mul.Tensor,
    _ATEN.div_.Tensor: _ATEN.div.Tensor,
}
# How a tensor is changed through a part of it.
_WRITTEN_THROUGH = {
    _ATEN.select.int: _ATEN.select_scatter.default,
    _ATEN.slice.Tensor: _ATEN.slice_scatter.default,
}
# torch.tensor() makes its result of a copy that it writes nothing into.
_UNCHANGED = _ATEN.detach_.default
# The same elements in the same order.
_SAME = (_ATEN.alias.default, _ATEN.detach.default)
# Views of one tensor whatever its layout is.
_VIEWS = (
    *_WRITTEN_THROUGH, *_SAME, operator.getitem, _ATEN.unbind.int, _ATEN.split.Tensor,
    _ATEN.split_with_sizes.default, _ATEN.chunk.default, _ATEN.unsqueeze.default,
    _ATEN.squeeze.dim, _ATEN.transpose.int, _ATEN.permute.default, _ATEN.t.default,
    _ATEN.expand.default, _ATEN.movedim.int,
)  # fmt: skip


def writes(node: Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def decompose_writes(exported: ExportedProgram) -> ExportedProgram:
    """``exported`` traced anew with nothing written in place; itself where nothing is."""
    if not any(writes(node) for node in exported.graph.nodes):
        return exported
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return exported.run_decompositions({})


def make_functional(exported: ExportedProgram) -> Graph | None:
    """The graph of ``exported`` without writes; None where it holds one that is not known here."""
    graph = Graph()
    result = graph.graph_copy(exported.graph, {})
    graph.output(result)
    try:
        _Rewriting(graph).run()
    except _UnknownWriteError:
        return None
    return graph


class _UnknownWriteError(Exception):
    """Something is written in a way that torch is to work out."""


class _Rewriting:
    """Goes through the graph; tensors that share memory are one family, named by their storage."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._written = {
            _storage(node.args[0])
            for node in graph.nodes
            if writes(node) and node.target is not _UNCHANGED
        }
        # Nodes that hold all of a family, before and after it was changed; the newest of each.
        self._wholes: set[Node] = set()
        self._current: dict[int, Node] = {}
        # How often a family has been changed, and how often it was when a part was taken.
        self._version: dict[int, int] = {}
        self._made: dict[Node, int] = {}
        self._renewed: dict[tuple[Node, int], Node] = {}
        # What an operator that writes gives back is what it wrote into.
        self._same: dict[Node, Node] = {}

    def run(self) -> None:
        if None in self._written:
            raise _UnknownWriteError
        for node in list(self._graph.nodes):
            if node.target is KEEP or node.op not in ("call_function", "output"):
                self._note(node)
                continue
            with self._graph.inserting_before(node):
                node.args = map_arg(node.args, self._resolve)
                node.kwargs = map_arg(node.kwargs, self._resolve)
                if node.target is _UNCHANGED:
                    self._same[node] = node.args[0]
                elif writes(node):
                    self._write(node)
                else:
                    self._note(node)
        for node in reversed(list(self._same)):
            node.replace_all_uses_with(self._same[node])  # KEEP has some
            self._graph.erase_node(node)

    def _family(self, node: Node) -> int | None:
        value = node.meta.get("val")
        parts = value if isinstance(value, (list, tuple)) else (value,)
        tensors = [part for part in parts if isinstance(part, torch.Tensor)]
        storages = {tensor.untyped_storage()._cdata for tensor in tensors} & self._written
        if len(storages) > 1:
            raise _UnknownWriteError
        return storages.pop() if storages else None

    def _note(self, node: Node) -> None:
        family = None if node.op == "output" else self._family(node)
        if family is None:
            return
        if family not in self._current:
            if node.op != "call_function" or isinstance(node.meta["val"], (list, tuple)):
                # An input, or one of several tensors.
                raise _UnknownWriteError
            self._wholes.add(node)
            self._current[family] = node
            self._version[family] = 0
        self._made[node] = self._version[family]

    def _resolve(self, node: Node) -> Node:
        """The node that has what ``node`` would hold now."""
        node = self._same.get(node, node)
        family = self._family(node)
        if family is None:
            return node
        if node in self._wholes:
            return self._current[family]
        version = self._version[family]
        if self._made[node] == version:
            return node
        if (node, version) not in self._renewed:
            if node.target not in _VIEWS:
                # It may be a view, or a copy of what was there then.
                raise _UnknownWriteError
            parent, *rest = node.args
            assert isinstance(parent, Node)
            new = self._call(node.target, node, self._resolve(parent), *rest)
            self._renewed[node, version] = new
            self._made[new] = version
        return self._renewed[node, version]

    def _call(self, target: Any, like: Node, *args: Any, **kwargs: Any) -> Node:
        node = self._graph.call_function(target, args, kwargs)
        node.meta = dict(like.meta)
        return node

    def _write(self, node: Node) -> None:
        view, *args = node.args
        assert isinstance(view, Node)
        target = _SET.get(node.target)
        if target is None and all(_fits(arg, view) for arg in args):
            target = _COMPUTED.get(node.target)
        family = self._family(view)
        if target is None or family is None or _overlaps(view):
            raise _UnknownWriteError
        value = self._call(target, view, view, *args, **node.kwargs)
        whole = self._write_through(view, value, node.meta.get("stack_trace"))
        self._wholes.add(whole)
        self._current[family] = whole
        self._version[family] += 1
        self._made[whole] = self._version[family]
        self._same[node] = view

    def _write_through(self, view: Node, value: Node, line: str | None) -> Node:
        """All of the tensor, with ``value`` in the place of ``view``."""
        value.meta["stack_trace"] = line
        while view not in self._wholes:
            parent, *rest = view.args
            assert isinstance(parent, Node)
            if view.target in _WRITTEN_THROUGH:
                value = self._call(_WRITTEN_THROUGH[view.target], parent, parent, value, *rest)
            elif view.target is _ATEN.transpose.int:
                value = self._call(view.target, parent, value, *rest)
            elif view.target not in _SAME:
                raise _UnknownWriteError
            value.meta["stack_trace"] = line
            view = parent
        return value


def _storage(value: Any) -> int | None:
    tensor = value.meta.get("val") if isinstance(value, Node) else None
    return tensor.untyped_storage()._cdata if isinstance(tensor, torch.Tensor) else None


def _overlaps(view: Node) -> bool:
    """Whether one element of memory may be several of the tensor, as after expand()."""
    strides = view.meta["val"].stride()
    return any(isinstance(stride, int) and stride == 0 for stride in strides)


def _fits(arg: Any, view: Node) -> bool:
    """Whether an operator on ``view`` and ``arg`` gives the dtype of ``view``."""
    other = arg.meta.get("val") if isinstance(arg, Node) else None
    return not isinstance(other, torch.Tensor) or other.dtype == view.meta["val"].dtype
