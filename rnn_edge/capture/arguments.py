"""forward()'s arguments, nested as users nest them, as a flat list of named tensors with axes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from rnn_edge.capture.kept_state import KeptState
from rnn_edge.capture.outputs import flatten_outputs
from rnn_edge.errors import ExportError

# One name per axis, None where the size is fixed.
AxisNames: TypeAlias = tuple[str | None, ...]


@dataclass(frozen=True)
class TensorArgument:
    """One tensor among forward()'s arguments; ``name`` tells its place: ``x``, ``hx_0``."""

    name: str
    example: Tensor
    axes: AxisNames


@dataclass(frozen=True)
class Arguments:
    """All arguments of one call, flattened; what is no tensor is a constant of the graph.

    The last of ``tensors`` are the state that the module keeps on itself, ``kept``.
    """

    tensors: tuple[TensorArgument, ...]
    _leaves: tuple[Any, ...]
    _places: tuple[int, ...]
    _structure: pytree.TreeSpec
    kept: KeptState = field(default_factory=KeptState)

    @property
    def given(self) -> tuple[TensorArgument, ...]:
        """Those of ``tensors`` that forward() takes."""
        return self.tensors[: len(self._places)]

    def call(self, module: nn.Module, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
        """What ``module`` gives for ``tensors``, flattened, by name; new states last."""
        given = tensors[: len(self._places)]
        args, kwargs = self.rebuild(given)
        with self.kept.held(module, tensors[len(self._places) :], given) as read:
            return {**flatten_outputs(module(*args, **kwargs)), **read()}

    def rebuild(self, tensors: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """(args, kwargs) for forward(), with ``tensors`` in the places of the examples."""
        leaves = list(self._leaves)
        for place, tensor in zip(self._places, tensors, strict=True):
            leaves[place] = tensor
        args, kwargs = pytree.tree_unflatten(leaves, self._structure)
        return args, kwargs


def read_arguments(
    module: nn.Module, args: Any, kwargs: Mapping[str, Any] | None, axes: Any
) -> Arguments:
    """Match example arguments and axis names with the parameters of ``module.forward``.

    ``axes`` has one entry per argument in ``args`` and then per one in ``kwargs`` (or is a mapping
    by parameter name); an entry has the nesting of its argument. Raises ExportError.
    """
    if isinstance(args, Tensor):
        args = (args,)
    bound = _bind(module, tuple(args), dict(kwargs or {}))
    parameters = _by_parameter(bound)
    given = _axes_by_parameter(axes, list(parameters))
    tensors, places = [], []
    leaves, structure = pytree.tree_flatten((bound.args, bound.kwargs))
    named = [leaf for name, value in parameters.items() for leaf in _walk(name, value, given[name])]
    for place, (leaf, (name, value, names)) in enumerate(zip(leaves, named, strict=True)):
        if leaf is not value:
            raise AssertionError(f"argument {name} was flattened out of order")
        if isinstance(value, Tensor):
            tensors.append(TensorArgument(name, value, _check_axes(name, value, names)))
            places.append(place)
        elif _is_axis_tuple(names) and any(names):
            raise ExportError(
                f"argument {name!r} must be a tensor to have axes, got {type(value).__name__}. "
                "Give a tensor, or None as its axes."
            )
    if not tensors:
        raise ExportError(
            "forward() must take a tensor to be exported, got none. Add an example to args."
        )
    return Arguments(tuple(tensors), tuple(leaves), tuple(places), structure)


def _bind(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> inspect.BoundArguments:
    signature = inspect.signature(module.forward)
    try:
        return signature.bind(*args, **kwargs)
    except TypeError as error:
        raise ExportError(
            f"args must fit {type(module).__name__}.forward{signature}, got: {error}. "
            "Correct args or kwargs."
        ) from None


def _by_parameter(bound: inspect.BoundArguments) -> dict[str, Any]:
    """Every given argument by name, in the order of the signature; ``*xs`` become xs_0, xs_1."""
    values: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            values.update({f"{name}_{index}": item for index, item in enumerate(value)})
        elif kind is inspect.Parameter.VAR_KEYWORD:
            values.update(value)
        else:
            values[name] = value
    return values


def _axes_by_parameter(axes: Any, parameters: list[str]) -> dict[str, Any]:
    if isinstance(axes, Mapping):
        unknown = sorted(set(axes) - set(parameters))
        if unknown:
            raise ExportError(
                f"axes must name given arguments ({', '.join(parameters)}), "
                f"got {', '.join(map(repr, unknown))}. Correct the names."
            )
        return {name: axes.get(name) for name in parameters}
    entries = list(axes)
    if len(entries) > len(parameters):
        raise ExportError(
            f"axes must have one entry per argument ({', '.join(parameters)}), "
            f"got {len(entries)} entries. Remove the others."
        )
    entries += [None] * (len(parameters) - len(entries))
    return dict(zip(parameters, entries, strict=True))


def _walk(name: str, value: Any, axes: Any) -> list[tuple[str, Any, Any]]:
    """(name, leaf, axes of the leaf) of one argument, in the order that torch flattens it."""
    children, _ = pytree.tree_flatten_with_path(value)
    if len(children) == 1 and children[0][0] == ():
        return [(name, value, axes)]
    found = []
    for path, leaf in children:
        place, names = name, axes
        for key in path:
            index = getattr(key, "idx", getattr(key, "key", getattr(key, "name", None)))
            place = f"{place}_{index}"
            names = _child_axes(names, index)
        found.append((place, leaf, names))
    return found


def _child_axes(axes: Any, index: Any) -> Any:
    if axes is None:
        return None
    if isinstance(axes, Mapping):
        return axes.get(index)
    try:
        return (
            getattr(axes, index) if isinstance(index, str) and hasattr(axes, index) else axes[index]
        )
    except (IndexError, KeyError, TypeError):
        return None


def _is_axis_tuple(names: Any) -> bool:
    return isinstance(names, (tuple, list)) and all(
        name is None or isinstance(name, str) for name in names
    )


def _check_axes(name: str, tensor: Tensor, names: Any) -> AxisNames:
    if names is None:
        return (None,) * tensor.dim()
    if not _is_axis_tuple(names) or len(names) != tensor.dim():
        raise ExportError(
            f"axes of {name!r} must be {tensor.dim()} names or None, one per axis of shape "
            f"{tuple(tensor.shape)}, got {names!r}. Correct axes."
        )
    for axis in names:
        if axis is not None and not axis.isidentifier():
            raise ExportError(
                f"axis names must be identifiers such as 'sequence', got {axis!r} for {name!r}. "
                "Choose another name."
            )
    return tuple(names)


def resize(argument: TensorArgument, sizes: Mapping[str, int]) -> Tensor:
    """The example with its dynamic axes at ``sizes``: repeated where longer, cut where shorter."""
    tensor = argument.example
    for dim, axis in enumerate(argument.axes):
        if axis is not None and tensor.shape[dim] != sizes[axis]:
            index = torch.arange(sizes[axis]) % max(tensor.shape[dim], 1)
            tensor = tensor.index_select(dim, index)
    return tensor
