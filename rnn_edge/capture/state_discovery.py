"""Which attributes forward() reads from the call before: found by calling a copy of the module.

A copy is called twice, and what it holds is compared. What changes is a candidate; a traced call
then tells whether an answer depends on it, and calls at other sizes tell which axes it has.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node
from torch.utils import _pytree as pytree

from rnn_edge.capture.arguments import Arguments, TensorArgument
from rnn_edge.capture.kept_state import (
    ABSENT,
    HeldAttribute,
    KeptState,
    Settled,
    StateSlot,
    Unread,
)
from rnn_edge.capture.preparation import copy_module
from rnn_edge.capture.program import trace_at_example
from rnn_edge.capture.settled_numbers import settle_numbers
from rnn_edge.capture.snapshots import (
    HeldValue,
    Snapshot,
    call_copy,
    changed,
    changed_leaves,
    examples_of,
    hold_value,
    name_weights,
    take_snapshot,
)
from rnn_edge.capture.state_axes import with_axes
from rnn_edge.errors import ExportError


def find_kept_state(module: nn.Module, arguments: Arguments) -> Arguments:
    """``arguments`` with the state that ``module``, in eval mode, keeps on itself, as further ones.

    Raises ExportError when the state cannot be given by hand.
    """
    called = copy_module(module)
    weights = name_weights(called)
    before = take_snapshot(called, weights)
    try:
        call_copy(called, arguments)
        after = take_snapshot(called, weights)
        call_copy(called, arguments)
    except Exception:  # noqa: BLE001 (forward() is the user's; tracing says what is wrong)
        return arguments
    later = take_snapshot(called, weights)
    attributes = [
        _hold(key, before.get(key), after[key], later[key])
        for key in after
        if key in later and changed(before.get(key), after[key], later[key])
    ]
    if not attributes:
        return arguments
    attributes = settle_numbers(module, arguments, attributes)
    candidates = _with_state(arguments, attributes, examples_of(after, attributes))
    needed = _find_needed(module, candidates)
    attributes = [_keep_needed(each, needed, before, after) for each in attributes]
    _check_sizes(examples_of(after, attributes), examples_of(later, attributes))
    first = _first_values(module, arguments, attributes)
    attributes = [_with_initial(each, before, first) for each in attributes]
    return with_axes(module, _with_state(arguments, attributes, examples_of(after, attributes)))


def _hold(
    key: tuple[str, str], before: HeldValue | None, after: HeldValue, later: HeldValue
) -> HeldAttribute:
    """The attribute with a slot for each tensor that changes.

    A flag that changes in the first call alone is held as it is afterwards; what changes otherwise
    is held by something that refuses to be read.
    """
    path = ".".join(filter(None, key))
    if after.structure != later.structure:
        return HeldAttribute(*key, Unread(path))
    steady = changed_leaves(after, later)
    since_first = (
        changed_leaves(before, after)
        if before is not None and before.structure == after.structure
        else [True] * len(after.leaves)
    )
    value = pytree.tree_unflatten(list(after.leaves), after.structure)
    places = [_place(keys) for keys, _ in pytree.tree_flatten_with_path(value)[0]]
    leaves: list[Any] = []
    for place, leaf, moves, moved in zip(places, after.leaves, steady, since_first, strict=True):
        name = "_".join([path, *place])
        if isinstance(leaf, Tensor) and (moves or moved):
            leaves.append(StateSlot(name, 0.0))
        elif moves:
            leaves.append(Unread(name))
        elif moved and isinstance(leaf, (int, float)) and not isinstance(leaf, bool):
            leaves.append(Settled(name, leaf))
        else:
            leaves.append(leaf)
    return HeldAttribute(*key, pytree.tree_unflatten(leaves, after.structure))


def _place(keys: Sequence[Any]) -> list[str]:
    return [str(getattr(k, "idx", getattr(k, "key", getattr(k, "name", None)))) for k in keys]


def _unsteady(path: str, what: str) -> ExportError:
    return ExportError(
        f"state on the module must be tensors of one size to be exported, self.{path} is {what} "
        "after each call. Take the state as an argument and return the new one."
    )


def _with_state(
    arguments: Arguments,
    attributes: Sequence[HeldAttribute],
    examples: Mapping[StateSlot, Tensor],
) -> Arguments:
    kept = KeptState(tuple(attributes))
    states = tuple(
        TensorArgument(slot.name, examples[slot], (None,) * examples[slot].dim())
        for slot in kept.slots
    )
    return replace(arguments, tensors=(*arguments.tensors, *states), kept=kept)


# --- Does an answer depend on it? -------------------------------------------------------------


def _find_needed(module: nn.Module, arguments: Arguments) -> set[str]:
    """The names of the slots that an answer depends on, in this call or in a later one."""
    slots = [slot.name for slot in arguments.kept.slots]
    if not slots:
        return set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        # Weights in a list, as TorchScript has those of a recurrent layer, are constants here.
        warnings.simplefilter("ignore", UserWarning)
        exported = trace_at_example(module, arguments).run_decompositions({})
    inputs, outputs = _interface(exported)
    states = dict(zip(slots, zip(inputs[-len(slots) :], outputs[-len(slots) :], strict=True),
                      strict=True))  # fmt: skip
    needed: set[str] = set()
    reached: set[Node] = set()
    pending = outputs[: -len(slots)]
    while pending:
        _reach(pending.pop(), reached)
        for name, (given, new) in states.items():
            if name not in needed and given in reached:
                needed.add(name)
                pending.append(new)
    return needed


def _interface(exported: ExportedProgram) -> tuple[list[Node], list[Node]]:
    nodes = {node.name: node for node in exported.graph.nodes}
    signature = exported.graph_signature
    return (
        [nodes[str(name)] for name in signature.user_inputs],
        [nodes[str(name)] for name in signature.user_outputs],
    )


def _reach(start: Node, reached: set[Node]) -> None:
    """Add ``start`` and all that it is computed from."""
    pending = [start]
    while pending:
        node = pending.pop()
        if node not in reached:
            reached.add(node)
            pending += node.all_input_nodes


def _keep_needed(
    attribute: HeldAttribute, needed: set[str], before: Snapshot, after: Snapshot
) -> HeldAttribute:
    """The attribute without the slots that no answer depends on."""
    slots = attribute.slots()
    if not slots:
        return attribute
    if not any(slot.name in needed for slot in slots):
        held = before.get(attribute.key)
        value = pytree.tree_unflatten(list(held.copies), held.structure) if held else ABSENT
        return replace(attribute, value=value)
    held = after[attribute.key]
    leaves = [
        value if isinstance(leaf, StateSlot) and leaf.name not in needed else leaf
        for leaf, value in zip(attribute.leaves(), held.copies, strict=True)
    ]
    return replace(attribute, value=pytree.tree_unflatten(leaves, held.structure))


# --- What a sequence starts with --------------------------------------------------------------


def _first_values(
    module: nn.Module, arguments: Arguments, attributes: Sequence[HeldAttribute]
) -> Snapshot:
    """What the first call puts, before anything else, where the module holds nothing yet."""
    called = copy_module(module)
    found: Snapshot = {}
    for path in {attribute.path for attribute in attributes}:
        part = called.get_submodule(path)
        kind: Any = type(part)

        def record(
            self: nn.Module, name: str, value: Any, kind: Any = kind, path: str = path
        ) -> None:
            found.setdefault((path, name), hold_value(value))
            kind.__setattr__(self, name, value)

        # A class of this copy alone, called as its author called it.
        part.__class__ = type(kind.__name__, (kind,), {"__setattr__": record})
    call_copy(called, arguments)
    return found


def _with_initial(attribute: HeldAttribute, before: Snapshot, first: Snapshot) -> HeldAttribute:
    """Starts are what the module holds, or what its first call makes if that is one number."""
    structure = pytree.tree_structure(attribute.value)
    held, made = before.get(attribute.key), first.get(attribute.key)
    if held is None or held.structure != structure or not _holds_tensors(held):
        held = (
            made if made is not None and made.structure == structure and _is_uniform(made) else None
        )
    if held is None:
        return attribute
    leaves = [
        replace(leaf, initial=_only_value(leaf.name, start))
        if isinstance(leaf, StateSlot) and isinstance(start, Tensor)
        else leaf
        for leaf, start in zip(attribute.leaves(), held.copies, strict=True)
    ]
    return replace(attribute, value=pytree.tree_unflatten(leaves, held.structure))


def _holds_tensors(held: HeldValue) -> bool:
    return any(isinstance(value, Tensor) for value in held.copies)


def _is_uniform(held: HeldValue) -> bool:
    tensors = [value for value in held.copies if isinstance(value, Tensor)]
    return all(bool((t == t.reshape(-1)[:1]).all()) for t in tensors)


def _only_value(name: str, start: Tensor) -> float:
    values = start.double().reshape(-1)
    if values.numel() and bool((values != values[0]).any()):
        raise ExportError(
            f"self.{name} must hold one number everywhere for a sequence to start with, got values "
            f"from {values.min():.3g} to {values.max():.3g}. Reset it before exporting."
        )
    return float(values[0]) if values.numel() else 0.0


def _check_sizes(after: Mapping[StateSlot, Tensor], later: Mapping[StateSlot, Tensor]) -> None:
    for slot, tensor in after.items():
        sizes = list(tensor.shape), list(later[slot].shape)
        if _grows(*sizes):
            raise ExportError(
                "state on the module must be tensors of one size to be exported, "
                f"self.{slot.name} grows with every call, from {sizes[0]} to {sizes[1]}. Keep the "
                f"last n steps alone, self.{slot.name} = past[:, -n:], beginning with n of zeros; "
                "or take it as an argument whose axis has a name of its own and return the new one."
            )
        if tensor.shape != later[slot].shape or tensor.dtype != later[slot].dtype:
            raise _unsteady(slot.name, f"{list(tensor.shape)} and then {list(later[slot].shape)}")


def _grows(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether one axis is longer in ``other``, and all others are alike."""
    if len(one) != len(other):
        return False
    longer = [b - a for a, b in zip(one, other, strict=True) if a != b]
    return len(longer) == 1 and longer[0] > 0
