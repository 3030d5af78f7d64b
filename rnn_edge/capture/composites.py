"""Composite operators, each as the operators that it is made of, which torch.onnx can translate.

Of one that is another by a different name the node is changed. The others are traced by
themselves, with the tensors that stand for theirs, and what comes out stands in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

_ATEN = torch.ops.aten
_Call: TypeAlias = tuple[Any, Sequence[Any], Mapping[str, Any]]


def replace_composites(module: GraphModule) -> dict[str, str]:
    """Replace those that are known; the names that their results had, with those that they have."""
    renamed: dict[str, str] = {}
    for node in list(module.graph.nodes):
        if node.op != "call_function":
            continue
        call = _CALLS[node.target](node) if node.target in _CALLS else None
        form = _form_of(node)
        if call is not None:
            node.target, node.args, node.kwargs = call
        elif form is not None:
            renamed |= _replace(node, form, module)
    return renamed


def _replace(node: Node, form: Callable[..., Any], module: GraphModule) -> dict[str, str]:
    """Put what ``form`` computes of the arguments of ``node`` in its place."""
    leaves, structure = pytree.tree_flatten((node.args, node.kwargs))
    given = list(dict.fromkeys(leaf for leaf in leaves if isinstance(leaf, Node)))

    def compute(*values: Any) -> Any:
        known = dict(zip(given, values, strict=True))
        filled = [known[leaf] if isinstance(leaf, Node) else leaf for leaf in leaves]
        args, kwargs = pytree.tree_unflatten(filled, structure)
        return form(*args, **kwargs)

    values = [source.meta["val"] for source in given]
    with torch.no_grad():
        body = make_fx(compute, tracing_mode="fake", pre_dispatch=True)(*values)
    copies = dict(zip(body.graph.find_nodes(op="placeholder"), given, strict=True))
    with module.graph.inserting_before(node):
        for step in body.graph.nodes:
            if step.op == "call_function":
                copies[step] = module.graph.node_copy(step, copies.__getitem__)
                copies[step].meta |= {key: node.meta[key] for key in _PLACE if key in node.meta}
    (results,) = body.graph.output_node().args
    found = pytree.tree_map_only(Node, copies.__getitem__, results)
    renamed = {}
    parts = [(node, found)] if isinstance(found, Node) else [
        (item, found[item.args[1]]) for item in list(node.users)
    ]  # fmt: skip
    for old, new in parts:
        old.replace_all_uses_with(new)
        renamed[old.name] = new.name
        if old is not node:
            module.graph.erase_node(old)
    module.graph.erase_node(node)
    return renamed


# Of which part of the model and of which line a node is.
_PLACE = ("nn_module_stack", "stack_trace")


# --- Operators that are others -----------------------------------------------------------------


def _rank(node: Any) -> int:
    return len(node.meta["val"].shape)


def _move_axis(node: Node) -> _Call:
    x, source, destination = node.args
    rank = _rank(x)
    order = [dim for dim in range(rank) if dim != source % rank]  # type: ignore[operator]
    order.insert(destination % rank, source % rank)  # type: ignore[operator, arg-type]
    return _ATEN.permute.default, (x, order), {}


def _convert(node: Node) -> _Call:
    return _ATEN._to_copy.default, node.args[:1], {"dtype": node.meta["val"].dtype}


def _cut(node: Node) -> _Call | None:
    x, dim, start, length = node.args
    if start != 0 and not (isinstance(start, int) and isinstance(length, int) and start > 0):
        return None
    end = start + length if start else length  # type: ignore[operator]
    return _ATEN.slice.Tensor, (x, dim, start, end), {}


def _read_number(node: Node) -> _Call:
    return _ATEN._local_scalar_dense.default, node.args, {}


def _subtract_from(node: Node) -> _Call:
    x, number, *rest = node.args
    assert isinstance(x, Node)
    alpha = rest[0] if rest else node.kwargs.get("alpha", 1)
    dtype = node.meta["val"].dtype
    if x.meta["val"].dtype != dtype:
        # torch.onnx would convert both, and knows tensors only.
        with node.graph.inserting_before(node):
            converted = node.graph.call_function(_ATEN._to_copy.default, (x,), {"dtype": dtype})
        converted.meta = {**node.meta, "val": x.meta["val"].to(dtype)}
        x = converted
    return _ATEN.sub.Tensor, (number, x), {} if alpha == 1 else {"alpha": alpha}


def _convolve_up(node: Node) -> _Call | None:
    x, weight, *rest = node.args
    rank = _rank(weight) - 2
    if _rank(x) != rank + 2:
        return None  # one without a batch
    given = dict(zip(_TRANSPOSED, rest, strict=False)) | node.kwargs
    stride, padding, output_padding, dilation = (
        _of_each_axis(given.get(name, usual), rank)
        for name, usual in (("stride", 1), ("padding", 0), ("output_padding", 0), ("dilation", 1))
    )
    args = (x, weight, given.get("bias"), stride, padding, dilation, True, output_padding,
            given.get("groups", 1))  # fmt: skip
    return _ATEN.convolution.default, args, {}


_TRANSPOSED = ("bias", "stride", "padding", "output_padding", "groups", "dilation")


def _of_each_axis(given: Any, rank: int) -> list[Any]:
    values = list(given) if isinstance(given, (list, tuple)) else [given]
    return values * rank if len(values) == 1 else values


def _renamed(target: Any) -> Callable[[Node], _Call]:
    return lambda node: (target, node.args, node.kwargs)


_CALLS: dict[Any, Callable[[Node], _Call | None]] = {
    _ATEN.movedim.int: _move_axis,
    _ATEN.narrow.default: _cut,
    _ATEN.to.dtype: _convert,
    _ATEN.to.dtype_layout: _convert,
    _ATEN.to.device: _convert,
    _ATEN.to.other: _convert,
    _ATEN.item.default: _read_number,
    _ATEN.rsub.Scalar: _subtract_from,
    _ATEN.conv_transpose1d.default: _convolve_up,
    _ATEN.conv_transpose2d.input: _convolve_up,
    _ATEN.__and__.Tensor: _renamed(_ATEN.bitwise_and.Tensor),
    _ATEN.__and__.Scalar: _renamed(_ATEN.bitwise_and.Scalar),
    _ATEN.__or__.Scalar: _renamed(_ATEN.bitwise_or.Scalar),
    _ATEN.__xor__.Scalar: _renamed(_ATEN.bitwise_xor.Scalar),
    _ATEN.__or__.Tensor: _renamed(_ATEN.bitwise_or.Tensor),
    _ATEN.__xor__.Tensor: _renamed(_ATEN.bitwise_xor.Tensor),
}


# --- Operators of several steps ----------------------------------------------------------------


def _lstm_cell(
    x: Tensor, state: Sequence[Tensor], w_x: Tensor, w_h: Tensor,
    b_x: Tensor | None = None, b_h: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    h, c = state
    gates = _ATEN.linear(h, w_h, b_h) + _ATEN.linear(x, w_x, b_x)
    i, f, g, o = _ATEN.unsafe_split(gates, h.shape[1], 1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    c = f * c + i * g
    return o * c.tanh(), c


def _gru_cell(
    x: Tensor, h: Tensor, w_x: Tensor, w_h: Tensor,
    b_x: Tensor | None = None, b_h: Tensor | None = None,
) -> Tensor:  # fmt: skip
    of_x, of_h = (
        _ATEN.unsafe_split(_ATEN.linear(*given), h.shape[1], 1)
        for given in ((x, w_x, b_x), (h, w_h, b_h))
    )
    r, z = ((of_h[gate] + of_x[gate]).sigmoid() for gate in (0, 1))
    n = (of_x[2] + of_h[2] * r).tanh()
    return (h - n) * z + n


def _rnn_cell(activation: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    def run(
        x: Tensor, h: Tensor, w_x: Tensor, w_h: Tensor,
        b_x: Tensor | None = None, b_h: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        return activation(_ATEN.linear(h, w_h, b_h) + _ATEN.linear(x, w_x, b_x))

    return run


def _batch_norm(x: Tensor, *given: Any) -> Any:
    weight, bias, mean, variance, _, momentum, eps, _ = given
    return _ATEN._native_batch_norm_legit_no_training(
        x, weight, bias, mean, variance, momentum, eps
    )[0]


def _form_of(node: Node) -> Callable[..., Any] | None:
    if node.target is _ATEN.batch_norm.default:
        by_its_own_numbers = node.args[5]
        return None if by_its_own_numbers else _batch_norm
    return _FORMS.get(node.target)


_FORMS: dict[Any, Callable[..., Any]] = {
    _ATEN.lstm_cell.default: _lstm_cell,
    _ATEN.gru_cell.default: _gru_cell,
    _ATEN.rnn_tanh_cell.default: _rnn_cell(torch.tanh),
    _ATEN.rnn_relu_cell.default: _rnn_cell(torch.relu),
}
