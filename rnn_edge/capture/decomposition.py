"""Telling a program that torch.onnx can translate as it is from one that must be taken apart first.

Taking operators apart traces the whole program twice over, with every size symbolic: most of what
an export costs. Where each operator has a translation, nothing is there to be taken apart.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

_ATEN = torch.ops.aten
# Checks, which torch.onnx removes before it translates.
_CHECKS = (
    _ATEN.sym_constrain_range_for_size.default,
    _ATEN._assert_async.default,
    _ATEN._assert_async.msg,
    _ATEN._assert_scalar.default,
    _ATEN._assert_tensor_metadata.default,
)


def is_translatable(exported: ExportedProgram, known: Collection[Any]) -> bool:
    """Whether every operator of ``exported`` is among ``known`` and writes into nothing.

    Two composites that stand in most programs are replaced by what they are made of.
    """
    for node in _calls(exported):
        _simplify(node)
    return all(_is_translatable(node, known) for node in _calls(exported))


def _calls(exported: ExportedProgram) -> Iterator[Node]:
    for part in exported.graph_module.modules():
        if isinstance(part, GraphModule):
            yield from (node for node in part.graph.nodes if node.op == "call_function")


def _simplify(node: Node) -> None:
    if node.target is _ATEN.movedim.int:
        x, source, destination = node.args
        rank = _rank(x)
        order = [dim for dim in range(rank) if dim != source % rank]  # type: ignore[operator]
        order.insert(destination % rank, source % rank)  # type: ignore[operator, arg-type]
        node.target, node.args = _ATEN.permute.default, (x, order)
    elif node.target is _ATEN.to.dtype and len(node.args) == 2 and not node.kwargs:
        x, dtype = node.args
        node.target, node.args, node.kwargs = _ATEN._to_copy.default, (x,), {"dtype": dtype}


def _rank(node: Any) -> int:
    return len(node.meta["val"].shape)


def _is_translatable(node: Node, known: Collection[Any]) -> bool:
    target = node.target
    if target in _CHECKS or target is operator.getitem:
        return True
    if isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable:
        return False
    return target in known
