"""What a module holds before and after a call: its attributes, compared leaf by leaf."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from rnn_edge.capture.arguments import Arguments, resize
from rnn_edge.capture.attributes import own_attributes
from rnn_edge.capture.kept_state import HeldAttribute, StateSlot


@dataclass(frozen=True)
class HeldValue:
    """The value of one attribute: leaves as they are, copies of those that are tensors."""

    leaves: tuple[Any, ...]
    copies: tuple[Any, ...]
    versions: tuple[int, ...]
    structure: pytree.TreeSpec


Snapshot = dict[tuple[str, str], HeldValue]


def call_copy(
    module: nn.Module, arguments: Arguments, sizes: Mapping[str, int] | None = None
) -> None:
    tensors = [
        (argument.example if sizes is None else resize(argument, sizes)).clone()
        for argument in arguments.tensors
    ]
    with torch.random.fork_rng(devices=[]):
        arguments.call(module, tensors)


def take_snapshot(module: nn.Module, weights: Collection[tuple[str, str]] = ()) -> Snapshot:
    """Attributes, buffers, and parameters that are not among ``weights``, as of name_weights()."""
    snapshot = {}
    for path, part in module.named_modules():
        registered = {
            name: value for name, value in _parameters(part) if (path, name) not in weights
        }
        for name, value in (own_attributes(part) | registered).items():
            snapshot[path, name] = hold_value(value)
    return snapshot


def name_weights(module: nn.Module) -> set[tuple[str, str]]:
    """(part, name) of every parameter of ``module``."""
    return {(path, name) for path, part in module.named_modules() for name, _ in _parameters(part)}


def _parameters(part: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from part.named_parameters(recurse=False, remove_duplicate=False)


def hold_value(value: Any) -> HeldValue:
    leaves, structure = pytree.tree_flatten(value)
    copies = [x.detach().clone() if isinstance(x, Tensor) else x for x in leaves]
    versions = [x._version if isinstance(x, Tensor) else 0 for x in leaves]
    return HeldValue(tuple(leaves), tuple(copies), tuple(versions), structure)


def changed(before: HeldValue | None, after: HeldValue, later: HeldValue) -> bool:
    return (
        before is None
        or before.structure != after.structure
        or after.structure != later.structure
        or any(changed_leaves(before, after))
        or any(changed_leaves(after, later))
    )


def changed_leaves(one: HeldValue, other: HeldValue) -> list[bool]:
    """Whether each leaf is another one, or has been written into."""
    changed = []
    for place, (leaf, now) in enumerate(zip(one.leaves, other.leaves, strict=True)):
        if isinstance(leaf, Tensor) and isinstance(now, Tensor):
            written = one.versions[place] != other.versions[place]
            changed.append(leaf is not now or written)
        elif isinstance(leaf, _PLAIN) and isinstance(now, _PLAIN):
            changed.append(type(leaf) is not type(now) or leaf != now)
        else:
            changed.append(leaf is not now)
    return changed


_PLAIN = (bool, int, float, str, bytes, type(None))


def examples_of(snapshot: Snapshot, attributes: Sequence[HeldAttribute]) -> dict[StateSlot, Tensor]:
    return {
        leaf: tensor
        for attribute in attributes
        if attribute.slots()
        for leaf, tensor in zip(attribute.leaves(), snapshot[attribute.key].copies, strict=True)
        if isinstance(leaf, StateSlot)
    }
