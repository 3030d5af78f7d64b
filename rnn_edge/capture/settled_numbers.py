"""Numbers that the first call leaves on a module and later ones leave alone: sizes, options.

A module that starts anew when the batch changes keeps the size of the batch. In a graph the state
that is given has the batch of the call, so the number is that size. Copies of the module, called at
other sizes and with other values, tell what a number is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from rnn_edge.capture.arguments import Arguments, resize
from rnn_edge.capture.kept_state import HeldAttribute, Settled, SizeOfAxis, find_attribute
from rnn_edge.capture.preparation import copy_module

# How much longer an axis is made to see what follows it: another amount for each.
_LONGER = (3, 5, 7, 11, 13, 17, 19, 23)


def settle_numbers(
    module: nn.Module, arguments: Arguments, attributes: Sequence[HeldAttribute]
) -> list[HeldAttribute]:
    """``attributes`` with sizes and constants in the place of the Settled that are such."""
    if not any(isinstance(leaf, Settled) for each in attributes for leaf in each.leaves()):
        return list(attributes)
    calls = list(_call_copies(module, arguments, attributes))
    if not calls:
        return list(attributes)
    return [_settle(attribute, calls) for attribute in attributes]


# The shapes that one call was given, and what it left, by (attribute, place among its leaves).
_Call = tuple[list[torch.Size], Mapping[tuple[tuple[str, str], int], object]]


def _settle(attribute: HeldAttribute, calls: Sequence[_Call]) -> HeldAttribute:
    leaves, structure = pytree.tree_flatten(attribute.value)
    for place, leaf in enumerate(leaves):
        if not isinstance(leaf, Settled):
            continue
        found = [left.get((attribute.key, place)) for _, left in calls]
        shapes = [shape for shape, _ in calls]
        if all(type(number) is type(leaf.number) and number == leaf.number for number in found):
            leaves[place] = leaf.number
        elif (axis := _find_axis(found, shapes)) is not None:
            leaves[place] = axis
    return replace(attribute, value=pytree.tree_unflatten(leaves, structure))


def _find_axis(
    found: Sequence[object], shapes: Sequence[Sequence[torch.Size]]
) -> SizeOfAxis | None:
    """The axis whose size each of the numbers ``found`` is, at the shapes that it was seen at."""
    for argument, first in enumerate(shapes[0]):
        for dim in range(len(first)):
            if all(
                isinstance(number, int) and number == shape[argument][dim]
                for number, shape in zip(found, shapes, strict=True)
            ):
                return SizeOfAxis(argument, dim)
    return None


def _call_copies(
    module: nn.Module, arguments: Arguments, attributes: Sequence[HeldAttribute]
) -> Iterator[_Call]:
    sizes = {
        axis: argument.example.shape[dim]
        for argument in arguments.tensors
        for dim, axis in enumerate(argument.axes)
        if axis is not None
    }
    longer = {axis: size + more for (axis, size), more in zip(sizes.items(), _LONGER, strict=False)}
    for changed in ({}, *({axis: size} for axis, size in longer.items()), longer):
        given = [_vary(resize(a, {**sizes, **changed})) for a in arguments.tensors]
        called = copy_module(module)
        try:
            with torch.random.fork_rng(devices=[]):
                arguments.call(called, given)
        except Exception:  # noqa: BLE001 (forward() is the user's: it may refuse these sizes)
            continue
        yield [tensor.shape for tensor in given], dict(_read(called, attributes))


def _vary(tensor: Tensor) -> Tensor:
    """Other values than those of the example, of which the least and largest stay allowed."""
    turned = tensor.flip(tuple(range(tensor.dim())))
    return turned * -1.25 if tensor.is_floating_point() else turned.clone()


def _read(
    module: nn.Module, attributes: Sequence[HeldAttribute]
) -> Iterator[tuple[tuple[tuple[str, str], int], object]]:
    for attribute in attributes:
        _, value = find_attribute(module.get_submodule(attribute.path), attribute.name)
        for place, leaf in enumerate(pytree.tree_leaves(value)):
            yield (attribute.key, place), leaf
