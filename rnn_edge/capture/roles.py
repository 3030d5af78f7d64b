"""What integer inputs mean, read from what the program does with them.

An input that gives a recurrent layer its lengths holds lengths along that layer's time axis, and so
does one that is compared with the places along an axis, to mask, or ends a slice of it, or one less
of which picks a place there: the last valid step. It may do so as a number, in a loop over rows.
What is computed from lengths, as a strided layer in front asks for, tells as much. One that selects
rows of an embedding holds ids below its size. Nobody has to declare any of it.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

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
    _ATEN.narrow.default,
    _ATEN.movedim.int,
)
# Operators whose result is a length where their first argument is one, and the others are numbers.
_ARITHMETIC = (
    _ATEN.mul.Tensor,
    _ATEN.div.Tensor,
    _ATEN.div.Tensor_mode,
    _ATEN.floor_divide.default,
    _ATEN.clamp.default,
    _ATEN.clamp_min.default,
    _ATEN.clamp_max.default,
    _ATEN.round.default,
    _ATEN.ceil.default,
    _ATEN.floor.default,
    _ATEN.trunc.default,
    operator.mul,
    operator.floordiv,
)
_SHIFTS = {_ATEN.add.Tensor: 1, _ATEN.sub.Tensor: -1, operator.add: 1, operator.sub: -1}
# From a tensor to a number, and back.
_NUMBERS = (_ATEN.item.default, _ATEN._local_scalar_dense.default, _ATEN.scalar_tensor.default)
_SCAN = torch.ops.higher_order.scan
_SORTING = (_ATEN.sort.default, _ATEN.sort.stable)
_RECURRENT = (operators.rnn, operators.gru, operators.lstm)
# place < length, and the same the other way round.
_BELOW = (_ATEN.lt.Tensor, _ATEN.ge.Tensor)
_ABOVE = (_ATEN.gt.Tensor, _ATEN.le.Tensor)


@dataclass(frozen=True)
class _Value:
    """What an input has become; ``shift`` is what was added, None after other arithmetic."""

    node: Node
    shift: int | None = 0


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
    axis = None
    for value, user in _uses(placeholder):
        if user.target is _ATEN.embedding.default and user.args[1] is value.node:
            if value.shift == 0:
                return Role(minimum=0, maximum=int(_shape(user.args[0])[0]) - 1)
        elif axis is None:
            size = _size_of_lengths(value, user)
            axis = _name_axis(size, program) if size is not None else None
    return Role(minimum=1, lengths_of=axis) if axis is not None else None


def _size_of_lengths(value: _Value, user: Node) -> Any:
    """The size along which ``user`` takes ``value`` for lengths; None when it does not."""
    args = user.args
    if user.target in _RECURRENT:
        return _shape(args[0])[0] if args[1] is value.node else None
    if user.target in (*_BELOW, *_ABOVE):
        is_second = args[1] is value.node
        if value.shift == 0 and (user.target in _BELOW) != is_second:
            return None  # a place, which is one less than a length
        return _size_of_places(args[0] if is_second else args[1])
    if _ends_slice(value, user):
        return _shape(args[0])[_as_int(args[1])]
    if value.shift == 0:
        return None
    if user.target is _ATEN.select.int and args[2] is value.node:
        return _shape(args[0])[_as_int(args[1])]
    if user.target is _ATEN.gather.default and args[2] is value.node:
        return _shape(args[0])[_as_int(args[1])]
    if user.target is _ATEN.index_select.default and args[2] is value.node:
        return _shape(args[0])[_as_int(args[1])]
    if user.target is _ATEN.index.Tensor and isinstance(args[1], Sequence):
        indices = list(args[1])
        return _shape(args[0])[indices.index(value.node)] if value.node in indices else None
    return None


def _ends_slice(value: _Value, user: Node) -> bool:
    """Whether ``user`` takes what is in front of a length, or behind it."""
    if user.target not in (_ATEN.slice.Tensor, _ATEN.narrow.default):
        return False
    return value.shift == 0 and value.node in user.args[2:4]


def _size_of_places(node: Any) -> Any:
    """The size of the axis whose places ``node`` holds, one after the other."""
    while isinstance(node, Node) and node.target in (*_SAME_VALUES, _ATEN.expand.default):
        node = node.args[0]
    if not isinstance(node, Node) or node.target is not _ATEN.arange.default:
        return None
    return _shape(node)[0]


def _name_axis(size: Any, program: Program) -> str | None:
    """The axis that ``size`` follows, or is bounded by where it is known at run time only."""
    if not isinstance(size, torch.SymInt):
        return None
    expressions = [size.node.expr]
    for symbol in free_unbacked_symbols(size):
        bounds = size.node.shape_env.deferred_runtime_asserts.get(symbol, ())
        expressions += [bound.expr for bound in bounds]
    names = {
        program.symbols[str(symbol)]
        for expression in expressions
        for symbol in expression.free_symbols
        if str(symbol) in program.symbols
    }
    return names.pop() if len(names) == 1 else None


def _uses(start: Node) -> Iterator[tuple[_Value, Node]]:
    """(value, user) for every use of ``start`` and of what is computed from it as from a length."""
    pending = [_Value(start)]
    while pending:
        value = pending.pop()
        for user in value.node.users:
            yield value, user
            if user.target is _SCAN:
                pending += [_Value(inside, value.shift) for inside in _inside(user, value.node)]
            if value.node not in (user.args[:2] if user.target is operator.mul else user.args[:1]):
                continue
            if user.target in (*_SAME_VALUES, *_NUMBERS, _ATEN.expand.default):
                pending.append(_Value(user, value.shift))
            elif user.target in _SORTING:
                pending += [_Value(item, value.shift) for item in user.users if item.args[1] == 0]
            elif user.target in _SHIFTS and isinstance(user.args[1], int):
                added = _SHIFTS[user.target] * user.args[1]
                pending.append(_Value(user, None if value.shift is None else value.shift + added))
            elif user.target in _ARITHMETIC and not any(map(_is_tensor, user.args[1:])):
                pending.append(_Value(user, None))


def _inside(scan: Node, given: Node) -> Iterator[Node]:
    """What stands for ``given`` in the body of ``scan``: an iteration's part, or all of it."""
    body, states, *others = scan.args
    assert isinstance(body, Node)
    module = getattr(body.graph.owning_module, str(body.target))
    assert isinstance(module, GraphModule)
    inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
    outside = [node for group in (states, *others) for node in group]  # type: ignore[union-attr]
    for inside, node in zip(inputs, outside, strict=False):
        if node is given and node not in states:  # type: ignore[operator]
            yield inside


def _shape(node: Any) -> Any:
    return node.meta["val"].shape


def _is_tensor(node: Any) -> bool:
    return isinstance(node, Node) and isinstance(node.meta.get("val"), torch.Tensor)


def _as_int(value: Any) -> int:
    assert isinstance(value, int)
    return value
