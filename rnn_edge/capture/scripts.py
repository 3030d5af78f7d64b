"""Parts of TorchScript in the place of which Python runs while a module is traced.

A scripted or traced module, and one that was loaded from a file, runs outside of Python, where
nothing is symbolic. What it does stands in its graph, whose nodes are run here one by one.
"""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from rnn_edge.capture.kept_state import Unread
from rnn_edge.errors import ExportError

# torch.Tensor methods and operators do not reach the interception, functions of torch do.
_KERNELS = torch._C._VariableFunctions
_KEPT_WHOLE = (
    "lstm", "gru", "rnn_tanh", "rnn_relu", "_pack_padded_sequence", "_pad_packed_sequence",
    "max_pool1d", "avg_pool1d", "max_pool2d", "median", "cdist",
)  # fmt: skip


class ScriptedPart(nn.Module):
    """Stands for ``script``: with its weights, under their names, and its forward()."""

    _script: Any

    def __init__(self, script: torch.jit.ScriptModule) -> None:
        super().__init__()
        # Not as a part: its weights would be there twice.
        self.__dict__["_script"] = script
        for name, weight in script._parameters.items():
            self.register_parameter(name, _as_parameter(weight))
        for name, tensor in script._buffers.items():
            self.register_buffer(name, tensor)
        for name, part in script._modules.items():
            self.add_module(name, stand_in_for(part))
        for name in _find_set_attributes(script) - self._buffers.keys():
            self.__dict__[name] = getattr(script, name)
        self.training = script.training

    def read(self, name: str) -> Any:
        """An attribute as the script has it: a part, a weight, a number."""
        found: Any = self.__dict__.get(name)
        if found is None:
            homes: tuple[dict[str, Any], ...] = (self._parameters, self._buffers, self._modules)
            found = next((home[name] for home in homes if name in home), None)
        return getattr(self._script, name) if found is None else found

    def train(self, mode: bool = True) -> ScriptedPart:
        super().train(mode)
        self._script.train(mode)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Module:
        copied = stand_in_for(self._script.__deepcopy__(memo))
        for (part, name), (own, _) in zip(copied._find_state(), self._find_state(), strict=True):
            part.write(name, deepcopy(own.read(name), memo))
        return copied

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> ScriptedPart:
        super()._apply(fn, recurse)
        self._script._apply(fn)
        return self

    def run(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.compiler.is_exporting():
            with self._sharing_state():
                return self._script(*args, **kwargs)
        graph: Any = self._script.inlined_graph
        bound = inspect.signature(self.forward).bind(*args, **kwargs)
        bound.apply_defaults()
        return _Run().run_graph(graph, [self, *bound.arguments.values()])

    @contextmanager
    def _sharing_state(self) -> Iterator[None]:
        """The script starts from what its stand-ins hold, and gives them what it leaves."""
        kept = [(part, name, getattr(part._script, name)) for part, name in self._find_state()]
        for part, name, _ in kept:
            setattr(part._script, name, part.read(name))
        try:
            yield
        finally:
            for part, name, own in kept:
                part.write(name, getattr(part._script, name))
                setattr(part._script, name, own)

    def _find_state(self) -> Iterator[tuple[ScriptedPart, str]]:
        for part in self.modules():
            if isinstance(part, ScriptedPart):
                for name in sorted(_find_set_attributes(part._script) | part._buffers.keys()):
                    yield part, name

    def write(self, name: str, value: Any) -> None:
        home = self._buffers if name in self._buffers else self.__dict__
        home[name] = value


def _find_set_attributes(script: Any) -> set[str]:
    """The names of the attributes of ``script`` itself that one of its methods sets."""
    found: set[str] = set()
    for name in script._c._method_names():
        graph = script._c._get_method(name).graph
        for node in graph.findAllNodes("prim::SetAttr", recurse=True):
            holder = next(iter(node.inputs()))
            if holder.debugName() == next(iter(graph.inputs())).debugName():
                found.add(node.s("name"))
    return found


def stand_in_for(script: Any) -> ScriptedPart:
    """A module in Python that is called as ``script`` is."""

    def forward(self: ScriptedPart, *args: Any, **kwargs: Any) -> Any:
        return self.run(*args, **kwargs)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    arguments = script.forward.schema.arguments if script._c._has_method("forward") else ()
    parameters = [inspect.Parameter("self", kind)]
    for argument in arguments[1:]:
        default = argument.default_value if argument.has_default_value() else inspect._empty
        parameters.append(inspect.Parameter(argument.name, kind, default=default))
    forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    name = getattr(script, "original_name", "Script")
    made: ScriptedPart = type(name, (ScriptedPart,), {"forward": forward})(script)
    return made


def replace_scripts(module: nn.Module) -> nn.Module:
    """``module`` with Python in the place of TorchScript; itself where it has none."""
    if isinstance(module, torch.jit.ScriptModule):
        return stand_in_for(module)
    for part in list(module.modules()):
        if not isinstance(part, (torch.jit.ScriptModule, ScriptedPart)):
            for name, child in list(part.named_children()):
                if isinstance(child, torch.jit.ScriptModule):
                    part._modules[name] = stand_in_for(child)
    return module


def _as_parameter(tensor: Tensor | None) -> nn.Parameter | None:
    if tensor is None or isinstance(tensor, nn.Parameter):
        return tensor
    return nn.Parameter(tensor.detach(), requires_grad=False)


class _Run:
    """The values of a graph that is being run, by the names that it gives them."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def run_graph(self, graph: Any, given: Sequence[Any]) -> Any:
        returned = self._run_block(graph, given)
        return returned[0] if len(returned) == 1 else tuple(returned)

    def _run_block(self, block: Any, given: Sequence[Any]) -> list[Any]:
        for value, what in zip(block.inputs(), given, strict=True):
            self._values[value.debugName()] = what
        for node in block.nodes():
            self._put(node, self._run_node(node))
        return [self._values[value.debugName()] for value in block.outputs()]

    def _get(self, node: Any) -> list[Any]:
        return [self._values[value.debugName()] for value in node.inputs()]

    def _put(self, node: Any, found: Any) -> None:
        outputs = list(node.outputs())
        items = [found] if len(outputs) == 1 else list(found or ())
        for value, item in zip(outputs, items, strict=True):
            self._values[value.debugName()] = item

    def _run_node(self, node: Any) -> Any:
        kind = node.kind()
        if kind == "prim::Constant":
            return next(iter(node.outputs())).toIValue()
        args = self._get(node)
        if kind == "prim::GetAttr":
            return _read(args[0], node.s("name"))
        if kind == "prim::SetAttr":
            return _write(node, args[0], node.s("name"), args[1])
        if kind == "prim::If":
            then, otherwise = node.blocks()
            return _as_results(node, self._run_block(then if args[0] else otherwise, []))
        if kind == "prim::Loop":
            return _as_results(node, self._run_loop(node, *args))
        return _call(node, kind, args)

    def _run_loop(self, node: Any, most: int, goes_on: Any, *carried: Any) -> list[Any]:
        (block,) = node.blocks()
        count, state = 0, list(carried)
        while goes_on and count < most:
            goes_on, *state = self._run_block(block, [count, *state])
            count += 1
        return state


def _as_results(node: Any, found: list[Any]) -> Any:
    return found[0] if len(list(node.outputs())) == 1 else found


def _read(holder: Any, name: str) -> Any:
    return holder.read(name) if isinstance(holder, ScriptedPart) else getattr(holder, name)


def _write(node: Any, holder: Any, name: str, value: Any) -> None:
    if not isinstance(holder, ScriptedPart):
        _refuse(node, f"an attribute {name} that is set on what is no module")
    holder.write(name, value)


def _call(node: Any, kind: str, args: list[Any]) -> Any:
    name = kind.partition("::")[2]
    if kind in _STRUCTURES:
        return _STRUCTURES[kind](*args)
    if kind in _OF_VALUES and (kind in _FOR_ALL or not _has_tensors(args)):
        return _OF_VALUES[kind](*args)
    if kind == "prim::TupleIndex":
        return args[0][args[1]]
    if kind == "prim::RaiseException":
        raise RuntimeError(args[0])
    if kind == "prim::DictConstruct":
        return dict(zip(args[::2], args[1::2], strict=True))
    if kind.startswith("aten::") and name in _KEPT_WHOLE:
        return getattr(_KERNELS, name)(*args)
    return _call_operator(node, name, args) if kind.startswith("aten::") else _refuse(node, kind)


def _call_operator(node: Any, name: str, args: list[Any]) -> Any:
    packet = getattr(torch.ops.aten, name, None)
    if packet is None:
        return _refuse(node, name)
    for arg in args:
        if isinstance(arg, Unread):
            arg.refuse()
    schema = torch._C.parse_schema(node.schema())
    function = getattr(packet, schema.overload_name or "default", packet)
    by_name = [argument.kwarg_only for argument in schema.arguments]
    positional = [arg for arg, named in zip(args, by_name, strict=True) if not named]
    named = {
        argument.name: arg
        for argument, arg in zip(schema.arguments, args, strict=True)
        if argument.kwarg_only
    }
    return function(*positional, **named)


def _has_tensors(args: Sequence[Any]) -> bool:
    return any(isinstance(arg, Tensor) for arg in args)


def _refuse(node: Any, what: str) -> Any:
    line = _find_line(node.sourceRange())
    raise ExportError(
        f"a part of TorchScript must do what can be run in Python to be exported, got {what} in "
        f"`{line}`. Give the module that it was scripted or traced from."
    )


def _find_line(source: str) -> str:
    """The line of code that ``source``, an excerpt with the place underlined, is about."""
    lines = [line.strip() for line in source.splitlines()]
    marked = next((n for n, line in enumerate(lines) if line.startswith("~")), len(lines))
    code = [line for line in lines[:marked] if line and not line.startswith("File ")]
    return code[-1] if code else ""


def _size(x: Tensor, dim: int | None = None) -> Any:
    return list(x.shape) if dim is None else x.shape[dim]


def _append(items: list[Any], item: Any) -> list[Any]:
    items.append(item)
    return items


def _set_item(items: Any, place: Any, item: Any) -> Any:
    items[place] = item
    return items


def _slice(items: Any, start: Any, end: Any, step: Any) -> Any:
    return items[start:end:step]


def _same(value: Any, *_: Any) -> Any:
    return value


_STRUCTURES: dict[str, Callable[..., Any]] = {
    "prim::ListConstruct": lambda *items: list(items),
    "prim::TupleConstruct": lambda *items: items,
    "prim::ListUnpack": _same,
    "prim::TupleUnpack": _same,
    "prim::NumToTensor": lambda number: torch.scalar_tensor(number, dtype=_dtype_of(number)),
    "prim::unchecked_cast": _same,
    "prim::unchecked_unwrap_optional": _same,
    "aten::_unwrap_optional": _same,
    "prim::Uninitialized": lambda: None,
    "prim::Print": lambda *_: (),
    "prim::dtype": lambda x: x.dtype,
    "prim::device": lambda x: x.device,
    "prim::layout": lambda x: x.layout,
    "prim::is_cuda": lambda x: x.is_cuda,
    "prim::data": lambda x: x.detach(),
    "prim::min": min,
    "prim::max": max,
}


def _dtype_of(number: Any) -> torch.dtype:
    return torch.float32 if isinstance(number, (float, torch.SymFloat)) else torch.int64


# Of numbers and lists; where a tensor is among them, the operator of that name.
_OF_VALUES: dict[str, Callable[..., Any]] = {
    "aten::add": lambda a, b, *_: a + b,
    "aten::add_": operator.iadd,
    "aten::sub": lambda a, b, *_: a - b,
    "aten::mul": operator.mul,
    "aten::div": operator.truediv,
    "aten::floordiv": operator.floordiv,
    "aten::floor_divide": operator.floordiv,
    "aten::remainder": operator.mod,
    "aten::pow": operator.pow,
    "aten::neg": operator.neg,
    "aten::eq": operator.eq,
    "aten::ne": operator.ne,
    "aten::lt": operator.lt,
    "aten::le": operator.le,
    "aten::gt": operator.gt,
    "aten::ge": operator.ge,
    "aten::__and__": lambda a, b: a and b,
    "aten::__or__": lambda a, b: a or b,
    "aten::__not__": operator.not_,
    "aten::__is__": lambda a, b: a is b,
    "aten::__isnot__": lambda a, b: a is not b,
    "aten::__contains__": lambda items, item: item in items,
    "aten::__getitem__": lambda items, place: items[place],
    "aten::_set_item": _set_item,
    "aten::append": _append,
    "aten::slice": _slice,
    "aten::len": len,
    "aten::size": _size,
    "aten::dim": lambda x: x.dim(),
    "aten::Int": lambda x: x.item() if isinstance(x, Tensor) else int(x),
    "aten::Float": lambda x: x.item() if isinstance(x, Tensor) else float(x),
    "aten::Bool": bool,
    "aten::IntImplicit": lambda x: x.item() if isinstance(x, Tensor) else x,
    "aten::ScalarImplicit": lambda x: x.item() if isinstance(x, Tensor) else x,
    "aten::ceil": math.ceil,
    "aten::floor": math.floor,
    "aten::sqrt": math.sqrt,
    "aten::format": lambda text, *values: text.format(*values),
    "aten::keys": lambda items: list(items.keys()),
    "aten::values": lambda items: list(items.values()),
    "aten::dict": dict,
    "aten::list": list,
    "aten::copy": list,
    "aten::warn": lambda *_: (),
}
# These take tensors, alone or in lists, and are no operators of their own.
_FOR_ALL = (
    "aten::__is__", "aten::__isnot__", "aten::__getitem__", "aten::_set_item", "aten::append",
    "aten::len", "aten::size", "aten::dim", "aten::Int", "aten::Float", "aten::Bool",
    "aten::IntImplicit", "aten::ScalarImplicit", "aten::format",
)  # fmt: skip
