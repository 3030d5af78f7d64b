"""What integer inputs mean, read from what the program does with them.

An input that gives a recurrent layer its lengths holds lengths along that layer's time axis; one
that selects rows of an embedding holds ids below its size. Nobody has to declare either.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.fx import Node

from rnn_edge.capture import operators
from rnn_edge.capture.program import Program

_ATEN = torch.ops.aten
# Operators whose result holds the very values of their first argument.
_SAME_VALUES = (
    _ATEN.to.dtype,
    _ATEN.to.device,
    _ATEN.to.dtype_layout,
    _ATEN._to_copy.default,
    _ATEN.clone.default,
    _ATEN.contiguous.default,
    _ATEN.detach.default,
    _ATEN.detach_.default,
    _ATEN.transpose.int,
    _ATEN.permute.default,
    _ATEN.view.default,
    _ATEN.reshape.default,
    _ATEN.unsqueeze.default,
    _ATEN.squeeze.dim,
    _ATEN.flatten.using_ints,
    _ATEN.slice.Tensor,
    _ATEN.select.int,
)
_SORTING = (_ATEN.sort.default, _ATEN.sort.stable)
_RECURRENT = (operators.rnn, operators.gru, operators.lstm)


@dataclass(frozen=True)
class Role:
    """``minimum`` and ``maximum`` bound the values; ``lengths_of`` names an axis."""

    minimum: int | None = None
    maximum: int | None = None
    lengths_of: str | None = None


def find_roles(program: Program) -> dict[str, Role]:
    """The role of each integer input that has one, by the name of the argument."""
    placeholders = {
        node.name: node for node in program.exported.graph.nodes if node.op == "placeholder"
    }
    user_inputs = program.exported.graph_signature.user_inputs
    roles = {}
    for argument, name in zip(program.arguments.tensors, user_inputs, strict=True):
        if argument.example.dtype in (torch.int64, torch.int32):
            role = _role_of(placeholders[str(name)], program)
            if role is not None:
                roles[argument.name] = role
    return roles


def _role_of(placeholder: Node, program: Program) -> Role | None:
    for value, user in _uses(placeholder):
        if user.target is _ATEN.embedding.default and user.args[1] is value:
            weight = user.args[0]
            assert isinstance(weight, Node)
            return Role(minimum=0, maximum=int(weight.meta["val"].shape[0]) - 1)
        if user.target in _RECURRENT and user.args[1] is value:
            x = user.args[0]
            assert isinstance(x, Node)
            axis = program.symbols.get(str(x.meta["val"].shape[0]))
            return Role(minimum=1, lengths_of=axis) if axis else None
    return None


def _uses(start: Node) -> Iterator[tuple[Node, Node]]:
    """(value, user) for every use of ``start``, through operators that keep the values."""
    pending = [start]
    while pending:
        value = pending.pop()
        for user in value.users:
            yield value, user
            if user.target in _SAME_VALUES and user.args[0] is value:
                pending.append(user)
            if user.target in _SORTING and user.args[0] is value:
                pending += [item for item in user.users if item.args[1] == 0]
