"""A module as export takes it: without wrappers, its weights plain tensors on the CPU.

The user's module stays as it is; where something must change, a copy is changed.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import CellType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize
from torch.nn.utils.spectral_norm import SpectralNorm, remove_spectral_norm
from torch.nn.utils.weight_norm import WeightNorm, remove_weight_norm
from torch.utils import _pytree as pytree

from rnn_edge.capture.scripts import replace_scripts
from rnn_edge.code_line import shorten
from rnn_edge.errors import ExportError

_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)
_PROGRAMS = "torch.export."
_QUANTIZED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")


def prepare(module: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> nn.Module:
    """``module`` itself where it can be exported as it is, else a copy that can.

    DataParallel and torch.compile are unwrapped; weights that are computed anew in every call
    (weight_norm, spectral_norm, parametrizations) become what they are in eval mode; Python runs
    what TorchScript does; lazy modules get their sizes from one call with ``args`` and ``kwargs``.
    Raises ExportError.
    """
    module = unwrap(module)
    if not isinstance(module, torch.jit.ScriptModule):
        _refuse_unknown(module)
    if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
        module = replace_scripts(copy_module(module).eval())
    _refuse_tensors(module, args, kwargs)
    if any(is_lazy(tensor) for tensor in module.parameters()):
        module = _materialise(module, args, kwargs)
    if any(_computes_weights(part) for part in module.modules()):
        module = copy_module(module).eval()
        with torch.no_grad():
            for part in list(module.modules()):
                _fold(part)
    return module


def copy_module(module: nn.Module) -> nn.Module:
    """A deep copy, also of modules that hold results of a training step, which torch refuses.

    Hooks and functions that hold the module, or a part of it, hold those of the copy.
    """
    memo: dict[int, Any] = {}
    kept = []
    for part in module.modules():
        for leaf in pytree.tree_leaves([*vars(part).values()]):
            if isinstance(leaf, Tensor) and not leaf.is_leaf:
                kept.append(leaf)
                memo[id(leaf)] = leaf.detach().clone()
    copied = copy.deepcopy(module, memo)
    for part in copied.modules():
        held: list[dict[Any, Any]] = [vars(part), part._forward_hooks, part._forward_pre_hooks]
        for functions in held:
            for name, function in functions.items():
                if isinstance(function, FunctionType):
                    functions[name] = _rebind(function, memo)
    return copied


def _rebind(function: FunctionType, memo: Mapping[int, Any]) -> FunctionType:
    """``function`` as it is, or one whose closure holds the copies in ``memo``."""
    cells = [
        CellType(memo[id(cell.cell_contents)]) if _is_copied(cell, memo) else cell
        for cell in function.__closure__ or ()
    ]
    if all(cell is own for cell, own in zip(cells, function.__closure__ or (), strict=True)):
        return function
    bound = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__,
        tuple(cells),
    )  # fmt: skip
    bound.__kwdefaults__ = function.__kwdefaults__
    bound.__dict__.update(function.__dict__)
    return bound


def _is_copied(cell: CellType, memo: Mapping[int, Any]) -> bool:
    try:
        return id(cell.cell_contents) in memo
    except ValueError:  # Nothing is in it yet.
        return False


def unwrap(module: Any) -> Any:
    """The module inside DataParallel and torch.compile."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if isinstance(module, _WRAPPERS):
            module = module.module
        elif isinstance(module, nn.Module) and isinstance(inner, nn.Module):
            module = inner
        else:
            return module


def _refuse_unknown(module: Any) -> None:
    if any(base.__module__.startswith(_PROGRAMS) for base in type(module).__mro__):
        raise ExportError(
            "what is exported must be a torch.nn.Module with its own forward(), got a program of "
            "torch.export, which keeps the sizes of its examples. Export the module it comes from."
        )
    if isinstance(module, type) and issubclass(module, nn.Module):
        raise ExportError(
            f"what is exported must be a torch.nn.Module, got the class {module.__name__}. Call it."
        )
    if not isinstance(module, nn.Module):
        raise ExportError(
            f"what is exported must be a torch.nn.Module, got {type(module).__name__}. "
            "Put it into the forward() of one."
        )
    for path, part in module.named_modules():
        if type(part).__module__.startswith(_QUANTIZED):
            raise ExportError(
                f"a module must have floating-point weights to be exported, "
                f"{f'self.{path}' if path else 'it'} is a quantized {type(part).__name__}. "
                "Export the module before it is quantized."
            )


def _refuse_tensors(module: nn.Module, args: Any, kwargs: Mapping[str, Any] | None) -> None:
    examples = pytree.tree_leaves((args, dict(kwargs or {})))
    named: list[tuple[str, Tensor]] = []
    named += [(f"self.{name}", tensor) for name, tensor in module.named_parameters()]
    named += [(f"self.{name}", tensor) for name, tensor in module.named_buffers()]
    named += [("an example", leaf) for leaf in examples if isinstance(leaf, Tensor)]
    for name, tensor in named:
        if tensor.device.type != "cpu":
            raise ExportError(
                f"a module and its examples must be on the CPU to be exported, {name} is on "
                f"{tensor.device}. Call .cpu()."
            )
        if tensor.dtype == torch.bfloat16:
            raise ExportError(
                "a module and its examples must be float16, float32 or float64 to be exported, "
                f"{name} is bfloat16. Call .float()."
            )


def _materialise(module: nn.Module, args: Any, kwargs: Mapping[str, Any] | None) -> nn.Module:
    copied = copy_module(module).eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            copied(*((args,) if isinstance(args, Tensor) else args), **(kwargs or {}))
    except Exception as error:
        raise ExportError(
            f"{type(module).__name__} has lazy parts and must take the example to get their "
            f"sizes, got {type(error).__name__}: {shorten(error, 160)} Correct the example."
        ) from error
    return copied


def _computes_weights(part: nn.Module) -> bool:
    return bool(_hooks(part)) or _is_parametrized(part)


def _hooks(part: nn.Module) -> list[WeightNorm | SpectralNorm]:
    hooks = part._forward_pre_hooks.values()
    return [hook for hook in hooks if isinstance(hook, (WeightNorm, SpectralNorm))]


def _is_parametrized(part: nn.Module) -> bool:
    # torch's recurrent layers keep a list of weights, which a parametrization does not renew.
    return parametrize.is_parametrized(part) and not isinstance(part, nn.RNNBase)


def _fold(part: nn.Module) -> None:
    hooks = _hooks(part)
    for hook in hooks:
        remove = remove_weight_norm if isinstance(hook, WeightNorm) else remove_spectral_norm
        remove(part, hook.name)
    if hooks and isinstance(part, nn.RNNBase):
        part._init_flat_weights()
    if _is_parametrized(part):
        # Not by torch's own removal: that edits the class, which the user's module has too.
        weights = {name: getattr(part, name) for name in part.parametrizations}  # type: ignore
        part.__class__ = type(part).__bases__[0]
        del part.parametrizations
        for name, weight in weights.items():
            part.register_parameter(name, nn.Parameter(weight.detach().clone()))
