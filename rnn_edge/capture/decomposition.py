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

from rnn_edge.capture.composites import replace_composites

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

    Composites that stand in many programs are replaced by what they are made of.
    """
    for part in _parts(exported):
        renamed = replace_composites(part)
        if part is exported.graph_module:
            for spec in exported.graph_signature.output_specs:
                spec.arg.name = renamed.get(spec.arg.name, spec.arg.name)
    return all(
        _is_translatable(node, known)
        for part in _parts(exported)
        for node in part.graph.nodes
        if node.op == "call_function"
    )


def _parts(exported: ExportedProgram) -> Iterator[GraphModule]:
    yield from (part for part in exported.graph_module.modules() if isinstance(part, GraphModule))


def _is_translatable(node: Node, known: Collection[Any]) -> bool:
    target = node.target
    if target in _CHECKS or target is operator.getitem:
        return True
    if isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable:
        return False
    return target in known
