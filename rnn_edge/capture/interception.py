"""Keep recurrent layers whole while a module is exported, without touching torch.

A TorchFunctionMode sees every torch call of its own thread, also those that torch.nn makes. It
answers the few that torch.export would take apart (the fused recurrent kernels and the packing of
sequences) with the operators of this package and lets everything else pass. It is entered inside
forward(), so nothing is patched, and nothing is left behind after an exception.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from rnn_edge.capture import (
    adaptive_pooling,
    bags,
    double_images,
    doubles,
    fourier,
    grids,
    layers,
    packing,
    padding,
    pooling,
    rare_functions,
    substitutes,
    values,
)
from rnn_edge.code_line import is_foreign

_KERNELS = torch._C._VariableFunctions


class Interception(TorchFunctionMode):
    """While active, recurrent kernels become one operator a layer, packed data stays padded.

    ``numbers`` are the values of the module's own single numbers, weights or buffers, by the id of
    the tensor that stands for each while it is traced: no input changes them.
    """

    def __init__(self, numbers: Mapping[int, float] | None = None) -> None:
        super().__init__()
        self._numbers = numbers or {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in _DOUBLES and _is_double(args):
            return _DOUBLES[func](*args, **(kwargs or {}))
        stand_in = _STAND_INS.get(func)
        if stand_in is not None:
            return stand_in(*args, **(kwargs or {}))
        if func is torch.sort and packing.sorts_for_packing(sys._getframe(1).f_code):
            return args[0], packing.OriginalOrder()
        if func in _ASKS_FOR_NUMBER and id(args[0]) in self._numbers:
            return _ASKS_FOR_NUMBER[func](self._numbers[id(args[0])])
        if func is Tensor.__bool__ and sys._getframe(1).f_code.co_name == _LOOKS_AT_MASK:
            # A mask that is given holds as it is, causal or not.
            return False
        if func is Tensor.__bool__ and is_foreign(sys._getframe(1).f_code.co_filename):
            return bool(values.is_true(args[0]))
        if func in values.ASKED_BY_TOLIST and values.lists_values(sys._getframe(1).f_code):
            return values.answer_tolist(func, args[0])
        return func(*args, **(kwargs or {}))


def _is_double(args: Sequence[Any]) -> bool:
    return bool(args) and isinstance(args[0], Tensor) and args[0].dtype == torch.float64


_DOUBLES = {**doubles.DOUBLES, **double_images.DOUBLES}


@contextmanager
def skipping_size_checks(module: nn.Module) -> Iterator[None]:
    """Let the recurrent parts of ``module`` take symbolic sizes.

    torch's own check turns the batch of a packed sequence into a Python int, which would fix it.
    The instances are changed for the time being, not their classes.
    """
    parts = [part for part in module.modules() if isinstance(part, nn.RNNBase)]
    for part in parts:
        part.__dict__["check_forward_args"] = _check_nothing
    try:
        yield
    finally:
        for part in parts:
            part.__dict__.pop("check_forward_args", None)


def _check_nothing(*_: object) -> None:
    pass


# How torch.nn.Transformer's parts ask whether the values of a mask are those of a causal one.
_LOOKS_AT_MASK = "_detect_is_causal_mask"

_ASKS_FOR_NUMBER: dict[Callable[..., Any], Callable[..., Any]] = {
    Tensor.item: lambda number: number,
    Tensor.__float__: float,
    Tensor.__int__: int,
    Tensor.__bool__: bool,
}

_STAND_INS: dict[Callable[..., Any], Callable[..., Any]] = {
    **rare_functions.RARE,
    _KERNELS.lstm: layers.run_lstm,
    _KERNELS.gru: layers.run_gru,
    _KERNELS.rnn_tanh: partial(layers.run_rnn, "tanh"),
    _KERNELS.rnn_relu: partial(layers.run_rnn, "relu"),
    _KERNELS._pack_padded_sequence: packing.pack,
    _KERNELS._pad_packed_sequence: packing.pad,
    torch.max_pool1d: pooling.max_pool1d,
    functional.max_pool1d: pooling.max_pool1d,
    torch.avg_pool1d: pooling.avg_pool1d,
    torch.max_pool2d: pooling.max_pool2d,
    functional.max_pool2d: pooling.max_pool2d,
    torch._C._nn.avg_pool2d: pooling.avg_pool2d,
    functional.embedding_bag: bags.embedding_bag,
    torch._C._nn.pad_sequence: padding.pad_sequence,
    **adaptive_pooling.adaptive_pools(),
    functional.affine_grid: grids.affine_grid,
    functional.unfold: grids.unfold,
    functional.fold: grids.fold,
    torch.linalg.inv: substitutes.invert,
    torch.inverse: substitutes.invert,
    Tensor.inverse: substitutes.invert,
    torch.linalg.solve: substitutes.solve,
    torch.take_along_dim: substitutes.take_along_dim,
    Tensor.take_along_dim: substitutes.take_along_dim,
    torch.istft: fourier.invert_stft,
    Tensor.istft: fourier.invert_stft,
    torch.fft.fftfreq: substitutes.frequencies,
    torch.fft.rfftfreq: substitutes.half_frequencies,
    torch.cdist: substitutes.distances,
    torch.median: substitutes.median,
    Tensor.median: substitutes.median,
    torch.linspace: substitutes.space_evenly,
    torch.squeeze: substitutes.squeeze,
    Tensor.squeeze: substitutes.squeeze,
    torch._is_all_true: substitutes.assume_valid,
    # A property's getter has no name of its own that a type checker knows.
    Tensor.data.__get__: substitutes.share_data,  # type: ignore[attr-defined]
    Tensor.numpy: values.leave_torch,
    Tensor.__getitem__: values.take_items,
    Tensor.__setitem__: values.set_items,
    torch.tensor: partial(values.make_tensor, torch.tensor),
    torch.as_tensor: partial(values.make_tensor, torch.as_tensor),
    torch.from_numpy: partial(values.make_tensor, torch.from_numpy),
}
