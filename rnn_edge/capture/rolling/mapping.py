"""A body whose iterations need nothing of each other, run on all of them at once.

Every value has the iterations as its first axis, or is the same in all of them. torch.vmap would
do as much, but fixes symbolic sizes in many operators.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

_ATEN = torch.ops.aten


class _NoFormError(Exception):
    """An operator is not known to work on all iterations at once."""


@dataclass(frozen=True)
class _Every:
    """[count, ...]: a value in every iteration, or a list of such."""

    value: Any


@dataclass(frozen=True)
class _Numbers:
    """[count]: a number taken from a tensor in every iteration."""

    value: Tensor


def run_at_once(
    module: GraphModule, scanned: Sequence[Tensor], invariants: Sequence[Any], count: Any
) -> Tensor | None:
    """[count, ...]: the one result of ``module`` in every iteration.

    ``scanned`` have the iterations as their first axis. None where an operator has no such form.
    """
    given = [*(_Every(tensor) for tensor in scanned), *invariants]
    places = iter(given)
    values: dict[Node, Any] = {}
    for node in module.graph.nodes:
        if node.op == "placeholder":
            values[node] = next(places)
        elif node.op == "call_function":
            args = torch.fx.map_arg(node.args, values.__getitem__)
            kwargs = torch.fx.map_arg(node.kwargs, values.__getitem__)
            try:
                values[node] = _run(node.target, args, kwargs, count)
            except _NoFormError:
                return None
        elif node.op == "output":
            (result,) = torch.fx.map_arg(node.args[0], values.__getitem__)
            return _spread(result, count)
    raise AssertionError("a graph ends with its output")


def _run(target: Any, args: Any, kwargs: Any, count: Any) -> Any:
    flat = [leaf for arg in (*args, *kwargs.values())
            for leaf in (arg if isinstance(arg, (list, tuple)) else (arg,))]  # fmt: skip
    if target is _ATEN.item.default and isinstance(args[0], _Every):
        return _Numbers(args[0].value)
    if any(isinstance(leaf, _Numbers) for leaf in flat):
        if target is not _ATEN.scalar_tensor.default:
            raise _NoFormError
        return _Every(args[0].value.to(kwargs.get("dtype") or torch.get_default_dtype()))
    if not any(isinstance(leaf, _Every) for leaf in flat):
        return target(*args, **kwargs)
    if target is operator.getitem:
        return _Every(args[0].value[args[1]])
    if target in (_ATEN.cat.default, _ATEN.stack.default):
        dim = args[1] if len(args) > 1 else 0
        return _Every(target([_spread(tensor, count) for tensor in args[0]], _shift(dim)))
    if _is_pointwise(target):
        return _Every(target(*_align(args), **kwargs))
    rule = _RULES.get(target)
    if rule is None or sum(isinstance(leaf, _Every) for leaf in flat) > 1 or kwargs:
        raise _NoFormError
    return _Every(rule(target, args, count))


def _spread(value: Any, count: Any) -> Tensor:
    if isinstance(value, _Every):
        tensor: Tensor = value.value
        return tensor
    same: Tensor = value
    return same.unsqueeze(0).expand(count, *same.shape)


def _shift(dim: int) -> int:
    return dim + 1 if dim >= 0 else dim


def _is_pointwise(target: Any) -> bool:
    if isinstance(target, torch._ops.OpOverloadPacket):
        target = getattr(target, target.overloads()[0])
    return torch.Tag.pointwise in getattr(target, "tags", ())


def _align(args: Sequence[Any]) -> list[Any]:
    """Arguments of an element-wise operator, with axes of size 1 behind the iterations."""
    ranks = [arg.value.dim() - 1 if isinstance(arg, _Every) else arg.dim()
             for arg in args if isinstance(arg, (_Every, Tensor))]  # fmt: skip
    tensors = [arg.value if isinstance(arg, _Every) else arg for arg in args
               if isinstance(arg, (_Every, Tensor))]  # fmt: skip
    rank = max(ranks)
    ruling = tensors[ranks.index(rank)].dtype
    aligned = []
    for arg in args:
        if not isinstance(arg, _Every):
            aligned.append(arg)
            continue
        tensor, own = arg.value, arg.value.dim() - 1
        if own == 0 and rank > 0 and tensor.dtype not in (ruling, torch.bool):
            # A tensor without axes follows the dtype of the others, with axes it would not.
            if ruling == torch.bool or (
                tensor.is_floating_point() and not ruling.is_floating_point
            ):
                raise _NoFormError
            tensor = tensor.to(ruling)
        aligned.append(tensor.reshape(tensor.shape[0], *(1,) * (rank - own), *tensor.shape[1:]))
    return aligned


_Rule = Callable[[Any, Sequence[Any], Any], Any]


def _run_on_first(target: Any, args: Sequence[Any], count: Any) -> Any:
    """An operator that works on the last axes of its first argument alone."""
    if not isinstance(args[0], _Every):
        raise _NoFormError
    return target(args[0].value, *args[1:])


def _multiply(target: Any, args: Sequence[Any], count: Any) -> Any:
    """A product with one matrix for all iterations."""
    if not isinstance(args[0], _Every) or args[1].dim() > 2:
        raise _NoFormError
    return target(args[0].value, args[1])


def _run_along(target: Any, args: Sequence[Any], count: Any) -> Any:
    """An operator on its first argument whose second one is a dim, or several."""
    if not isinstance(args[0], _Every) or len(args) < 2 or args[1] is None:
        raise _NoFormError
    dims = [_shift(d) for d in args[1]] if isinstance(args[1], (list, tuple)) else _shift(args[1])
    return target(args[0].value, dims, *args[2:])


def _run_along_two(target: Any, args: Sequence[Any], count: Any) -> Any:
    if not isinstance(args[0], _Every) or len(args) < 3:
        raise _NoFormError
    return target(args[0].value, _shift(args[1]), _shift(args[2]), *args[3:])


def _look_up(target: Any, args: Sequence[Any], count: Any) -> Any:
    if not isinstance(args[1], _Every):
        raise _NoFormError
    return target(args[0], args[1].value, *args[2:])


def _select_windows(target: Any, args: Sequence[Any], count: Any) -> Any:
    x, dim, places = args
    if not isinstance(places, _Every):
        raise _NoFormError
    chosen = x.index_select(dim, places.value.flatten())
    dim = dim % x.dim()
    return chosen.unflatten(dim, (count, places.value.shape[1])).movedim(dim, 0)


def _reshape(target: Any, args: Sequence[Any], count: Any) -> Any:
    return args[0].value.reshape(count, *args[1])


_RULES: dict[Any, _Rule] = {
    **dict.fromkeys(
        (
            _ATEN.linear.default, _ATEN.layer_norm.default, _ATEN.clone.default,
            _ATEN.dropout.default,
        ),
        _run_on_first,
    ),
    **dict.fromkeys(
        (
            _ATEN.unsqueeze.default, _ATEN.squeeze.dim, _ATEN.select.int, _ATEN.slice.Tensor,
            _ATEN.softmax.int, _ATEN.log_softmax.int, _ATEN.sum.dim_IntList, _ATEN.mean.dim,
        ),
        _run_along,
    ),
    **dict.fromkeys((_ATEN.transpose.int, _ATEN.flatten.using_ints), _run_along_two),
    **dict.fromkeys(
        (_ATEN.view.default, _ATEN._unsafe_view.default, _ATEN.reshape.default), _reshape
    ),
    _ATEN.matmul.default: _multiply,
    _ATEN.embedding.default: _look_up,
    _ATEN.index_select.default: _select_windows,
}  # fmt: skip
