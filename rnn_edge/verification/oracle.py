"""What the eager module answers: in its own dtype, and in float64 as the truth."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from rnn_edge.capture.arguments import Arguments
from rnn_edge.capture.preparation import copy_module
from rnn_edge.verification.cases import Answer
from rnn_edge.verification.sampling import Arrays

# Seeds of the roundings that are tried where an answer is off.
_ROUNDINGS = range(4)


class Oracle:
    """An eager module, in eval mode, and a float64 copy of it.

    ``kind`` is "float64 torch", or "float32 torch" for a module that does not run in float64.
    """

    def __init__(self, module: nn.Module, arguments: Arguments) -> None:
        self._module = module
        self._arguments = arguments
        self._exact: nn.Module | None = copy_module(module).double().eval()

    @property
    def kind(self) -> str:
        return "float64 torch" if self._exact is not None else "float32 torch"

    def answer(self, inputs: Arrays, exact: Arrays | None = None) -> list[Answer]:
        """The outputs for ``inputs``, which are in the order of the arguments.

        ``exact`` has some of them as the truth has them, where a call goes on from another.
        Whatever forward() raises for inputs that it does not take passes through.
        """
        own = self._run(self._module, list(inputs.values()))
        truth = self._run_in_float64({**inputs, **(exact or {})})
        if truth is not None and not _have_one_form(own, truth):
            # A hook that is bound to another copy answers with what that copy has seen.
            truth = self._exact = None
        if truth is None:
            # Two kernels of torch's own then tell what the dtype loses.
            truth = own
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of TF32 on devices that are not there
                with torch.backends.mkldnn.flags(enabled=False):
                    own = self._run(self._module, list(inputs.values()))
        spread = _Spread(self, dict(inputs), truth)
        return [
            Answer(o, t, functools.partial(spread.of, place))
            for place, (o, t) in enumerate(zip(own, truth, strict=True))
        ]

    def answer_rounded_otherwise(self, inputs: Arrays, seed: int) -> list[np.ndarray]:
        """The module's answers with every input and weight moved by a unit in its last place."""
        random = np.random.default_rng(seed)
        module = copy_module(self._module).eval()
        with torch.no_grad():
            for tensor in (*module.parameters(), *module.buffers()):
                if tensor.is_floating_point():
                    signs = torch.from_numpy(random.choice((-1.0, 1.0), tuple(tensor.shape)))
                    tensor.mul_(1 + signs.to(tensor.dtype) * torch.finfo(tensor.dtype).eps)
        moved = [
            (array * (1 + random.choice((-1.0, 1.0), array.shape) * np.finfo(array.dtype).eps))
            .astype(array.dtype)
            if array.dtype.kind == "f"
            else array
            for array in inputs.values()
        ]  # fmt: skip
        return self._run(module, moved)

    def _run_in_float64(self, inputs: Arrays) -> list[np.ndarray] | None:
        if self._exact is None:
            return None
        arrays = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in inputs.values()]
        try:
            with _Float64Constructors():
                return self._run(self._exact, arrays)
        except Exception:  # noqa: BLE001 (forward() is the user's: it may raise anything)
            # A module that makes float32 tensors of its own cannot be run in float64.
            self._exact = None
            return None

    def _run(self, module: nn.Module, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outputs = self._arguments.call(module, [_as_tensor(array) for array in arrays])
        return [output.numpy() for output in outputs.values()]


class _Spread:
    """What rounding does to answers, worked out when it is first asked for.

    A module that amplifies rounding (a normalisation of almost equal numbers, a chaotic loop) gives
    answers that differ by more than those of its two precisions tell.
    """

    def __init__(self, oracle: Oracle, inputs: Arrays, truth: Sequence[np.ndarray]) -> None:
        self._oracle, self._inputs, self._truth = oracle, inputs, truth
        self._found: list[float] | None = None

    def of(self, place: int) -> float:
        """The largest error of output ``place``."""
        if self._found is None:
            runs = [
                self._oracle.answer_rounded_otherwise(self._inputs, seed) for seed in _ROUNDINGS
            ]
            self._found = [
                max(_largest_error(run[place], truth) for run in runs)
                for place, truth in enumerate(self._truth)
            ]
        return self._found[place]


def _have_one_form(own: Sequence[np.ndarray], truth: Sequence[np.ndarray]) -> bool:
    return [array.shape for array in own] == [array.shape for array in truth]


def _largest_error(array: np.ndarray, truth: np.ndarray) -> float:
    if array.dtype.kind != "f" or array.shape != truth.shape or not array.size:
        return 0.0
    with np.errstate(invalid="ignore"):
        error = np.abs(array.astype(np.float64) - truth)
    return float(np.max(error[np.isfinite(error)], initial=0.0))


def _as_tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array, order="C"))


class _Float64Constructors(TorchFunctionMode):
    """What forward() makes without naming a dtype is float64, in this thread alone.

    torch's default dtype would do the same to every thread of the process.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if func in _CONSTRUCTORS and "dtype" not in (kwargs or {}) and made.dtype == torch.float32:
            return made.double()
        return made


_CONSTRUCTORS = {
    torch.zeros, torch.ones, torch.empty, torch.full, torch.eye, torch.tensor, torch.arange,
    torch.linspace, torch.logspace, torch.scalar_tensor, torch.hann_window, torch.hamming_window,
}  # fmt: skip
