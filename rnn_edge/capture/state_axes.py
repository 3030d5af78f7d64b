"""The axes of state that a module keeps on itself, found by calling copies at other sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice, product

import torch
from torch import nn

from rnn_edge.capture.arguments import Arguments, TensorArgument, resize
from rnn_edge.capture.kept_state import KeptState
from rnn_edge.capture.preparation import copy_module
from rnn_edge.capture.snapshots import call_copy, examples_of, name_weights, take_snapshot
from rnn_edge.errors import ExportError

# Ways to resize the states that are tried before an axis is taken for one they do not have.
_MOST_TRIALS = 64


def with_axes(module: nn.Module, arguments: Arguments) -> Arguments:
    """``arguments`` with the axes of its states named."""
    states = arguments.tensors[len(arguments.tensors) - len(arguments.kept.slots) :]
    if not states:
        return arguments
    given = arguments.tensors[: -len(states)]
    sizes = {
        axis: argument.example.shape[dim]
        for argument in given
        for dim, axis in enumerate(argument.axes)
        if axis is not None
    }
    names: list[list[str | None]] = [[None] * state.example.dim() for state in states]
    for axis in sizes:
        for number, dim in _following(module, arguments, states, sizes, axis):
            if names[number][dim] is not None:
                raise ExportError(
                    f"state on the module must have one size an axis to be exported, that of "
                    f"self.{states[number].name} follows {names[number][dim]} and {axis}. "
                    "Take the state as an argument and return the new one."
                )
            names[number][dim] = axis
    named = tuple(replace(s, axes=tuple(n)) for s, n in zip(states, names, strict=True))
    return replace(arguments, tensors=(*given, *named))


def _following(
    module: nn.Module,
    arguments: Arguments,
    states: Sequence[TensorArgument],
    sizes: Mapping[str, int],
    axis: str,
) -> list[tuple[int, int]]:
    """(state, dim) of what follows ``axis``: seen where the module makes its states by itself, and
    tried out where it holds some of a size."""
    varied = {**sizes, axis: sizes[axis] + 3}
    fresh = _shapes_by_itself(module, arguments, len(states), varied)
    if fresh is not None:
        return [(n, d) for n, shape in enumerate(fresh) for d, found in enumerate(shape)
                if found != states[n].example.shape[d]]  # fmt: skip
    places = [
        (number, dim)
        for number, state in enumerate(states)
        for dim, found in enumerate(state.example.shape)
        if found == sizes[axis]
    ]
    for chosen in islice(_choices(places), _MOST_TRIALS):
        resized = tuple(_follow(state, number, chosen, axis) for number, state in enumerate(states))
        given = arguments.tensors[: -len(states)]
        trial = replace(arguments, tensors=(*given, *resized))
        if _shapes_when_held(module, trial, varied) == [resize(s, varied).shape for s in resized]:
            return list(chosen)
    return []


def _choices(places: Sequence[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], ...]]:
    """At most one dim of each state, more states before fewer."""
    by_state: dict[int, list[tuple[int, int] | None]] = {}
    for place in places:
        by_state.setdefault(place[0], []).append(place)
    for options in by_state.values():
        options.append(None)
    for chosen in product(*by_state.values()):
        yield tuple(place for place in chosen if place is not None)


def _follow(
    state: TensorArgument, number: int, chosen: Sequence[tuple[int, int]], axis: str
) -> TensorArgument:
    dims = range(state.example.dim())
    return replace(state, axes=tuple(axis if (number, dim) in chosen else None for dim in dims))


def _shapes_by_itself(
    module: nn.Module, arguments: Arguments, states: int, sizes: Mapping[str, int]
) -> list[torch.Size] | None:
    """The shapes of the states that a first call leaves; None when it refuses the sizes."""
    called, kept = copy_module(module), arguments.kept
    weights = name_weights(called)
    alone = replace(arguments, tensors=arguments.tensors[:-states], kept=KeptState())
    try:
        call_copy(called, alone, sizes)
        found = examples_of(take_snapshot(called, weights), kept.attributes)
    except Exception:  # noqa: BLE001 (forward() is the user's: it may raise anything)
        return None
    return [found[slot].shape for slot in kept.slots]


def _shapes_when_held(
    module: nn.Module, arguments: Arguments, sizes: Mapping[str, int]
) -> list[torch.Size] | None:
    """The shapes of the states after a call that they are given to; None when it refuses them."""
    tensors = [resize(argument, sizes).clone() for argument in arguments.tensors]
    try:
        with torch.random.fork_rng(devices=[]):
            outputs = arguments.call(copy_module(module), tensors)
    except Exception:  # noqa: BLE001 (forward() is the user's: it may raise anything)
        return None
    return [outputs[slot.output].shape for slot in arguments.kept.slots]
