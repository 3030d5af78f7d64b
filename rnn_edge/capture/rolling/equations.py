"""The body of a loop as equations: real functions of chosen values, in float64.

Between the values at which an equation is cut (states, inputs, results of activations) only
operators stand that add, multiply and rearrange. So an equation is a polynomial, and two of them
that agree at random places are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rnn_edge.capture.rolling.program import (
    Collected,
    Loop,
    LoopValue,
    Number,
    OwnValue,
    PlainValue,
    RolledProgram,
    RolledStep,
    rebuild,
    walk,
)
from rnn_edge.capture.rolling.shapes import Shapes
from rnn_edge.capture.rolling.trace import Source

_ATEN = torch.ops.aten
_REARRANGING = {
    _ATEN.cat.default, _ATEN.stack.default, _ATEN.slice.Tensor, _ATEN.select.int,
    _ATEN.split_with_sizes.default, _ATEN.chunk.default, _ATEN.unbind.int, _ATEN.view.default,
    _ATEN.reshape.default, _ATEN._unsafe_view.default, _ATEN.unsqueeze.default,
    _ATEN.squeeze.dim, _ATEN.squeeze.default, _ATEN.expand.default, _ATEN.transpose.int,
    _ATEN.t.default, _ATEN.permute.default, _ATEN.flatten.using_ints, _ATEN.unflatten.int,
    _ATEN.clone.default, _ATEN.contiguous.default, _ATEN.narrow.default, _ATEN.dropout.default,
    _ATEN.numpy_T.default,
}  # fmt: skip
_ADDING = {
    _ATEN.add.Tensor, _ATEN.add.Scalar, _ATEN.sub.Tensor, _ATEN.sub.Scalar, _ATEN.rsub.Scalar,
    _ATEN.rsub.Tensor, _ATEN.neg.default, _ATEN.sum.dim_IntList,
}  # fmt: skip
_MULTIPLYING = {
    _ATEN.mul.Tensor, _ATEN.mul.Scalar, _ATEN.linear.default, _ATEN.matmul.default,
    _ATEN.mm.default, _ATEN.addmm.default, _ATEN.bmm.default, _ATEN.einsum.default,
    _ATEN.lerp.Tensor, _ATEN.lerp.Scalar, _ATEN.addcmul.default, _ATEN.baddbmm.default,
}  # fmt: skip
# Polynomials as long as what they divide by is the same in every iteration.
_DIVIDING = {_ATEN.div.Tensor, _ATEN.div.Scalar}


class NotPolynomialError(Exception):
    """Something else than adding, multiplying and rearranging stands in an equation."""


def key_of(value: Any) -> Any:
    """The same for every use of one value."""
    return replace(value, initial=()) if isinstance(value, OwnValue) else value


def own(step: int, delay: int = 0) -> OwnValue:
    return OwnValue(step, None, delay)


class Equations:
    """What the values of one loop's body are made of.

    ``sizes`` are those that ``shapes`` was found at; ``read`` gives parameters and constants.
    """

    def __init__(
        self,
        program: RolledProgram,
        loop: Loop,
        shapes: Shapes,
        read: Callable[[str], Tensor],
        sizes: Sequence[int],
    ) -> None:
        self.loop = loop
        self.shapes = shapes
        self.used: set[str] = set()
        self._read = read
        self._sizes = sizes
        self._sources = program.sources
        self._plain = [item for item in program.items if isinstance(item, RolledStep)]
        self._constants: dict[Any, Any] = {}
        self._known_constant: dict[Any, bool] = {}

    def shape(self, value: Any) -> Tensor | None:
        return self.shapes.of(self.loop.number, value)

    def step(self, number: int) -> RolledStep:
        return self.loop.body[number]

    def arguments(self, step: RolledStep) -> list[Any]:
        return walk((step.args, step.kwargs))

    def is_constant(self, value: Any) -> bool:
        """Whether ``value`` depends on weights and numbers alone."""
        key = key_of(value)
        if not isinstance(value, (PlainValue, OwnValue)):
            return self._is_constant(value)
        if key not in self._known_constant:
            self._known_constant[key] = self._is_constant(value)
        return self._known_constant[key]

    def _is_constant(self, value: Any) -> bool:
        if isinstance(value, Source):
            return not isinstance(self._sources[value.name], int)
        if isinstance(value, PlainValue):
            return all(map(self.is_constant, self.arguments(self._plain[value.index])))
        if isinstance(value, OwnValue):
            return value.delay == 0 and all(
                map(self.is_constant, self.arguments(self.step(value.step)))
            )
        if isinstance(value, Number):
            return value.value.is_constant
        return not isinstance(value, (LoopValue, Collected))

    def is_affine(self, step: RolledStep) -> bool:
        """Whether ``step`` is affine in what is not constant among its arguments."""
        moving = [arg for arg in self.arguments(step) if not self.is_constant(arg)]
        if any(isinstance(arg, Number) for arg in moving):
            return False
        if step.target in _REARRANGING | _ADDING:
            return True
        return step.target in _MULTIPLYING | _DIVIDING and len(moving) == 1

    def evaluate(self, value: Any, given: Mapping[Any, Tensor]) -> Tensor:
        """``value`` where the values in ``given`` are what they are said to be."""
        known: dict[Any, Any] = dict(given)
        found = self._evaluate(value, known)
        assert isinstance(found, Tensor)
        return found

    def evaluate_step(self, number: int, given: Mapping[Any, Tensor]) -> Tensor:
        """The same for a step that may itself be among ``given``."""
        return self._run(self.step(number), dict(given))

    def _evaluate(self, value: Any, known: dict[Any, Any]) -> Any:
        key = key_of(value)
        if isinstance(value, (OwnValue, PlainValue, LoopValue, Source)) and key in known:
            return known[key]
        if isinstance(value, Number):
            if not value.value.is_constant:
                raise NotPolynomialError
            return value.value.at(self._sizes)
        if isinstance(value, Source):
            if not self.is_constant(value):
                raise NotPolynomialError
            self.used.add(value.name)
            return self._constant(value, lambda: _as_double(self._read(value.name).detach()))
        if isinstance(value, PlainValue) and self.is_constant(value):
            whole = PlainValue(value.index, None)
            result = self._constant(whole, lambda: self._run(self._plain[value.index], {}, True))
        elif isinstance(value, OwnValue) and value.delay == 0:
            whole_step = own(value.step)
            if whole_step not in known:
                known[whole_step] = self._run(self.step(value.step), known)
            result = known[whole_step]
        elif isinstance(value, (PlainValue, LoopValue, OwnValue)):
            raise NotPolynomialError
        else:
            return value
        return result if value.item is None else result[value.item]

    def _constant(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._constants:
            self._constants[key] = make()
        return self._constants[key]

    def _run(self, step: RolledStep, known: dict[Any, Any], anything: bool = False) -> Any:
        constant = anything or all(map(self.is_constant, self.arguments(step)))
        if not constant and not self._is_polynomial(step):
            raise NotPolynomialError
        args, kwargs = rebuild((step.args, step.kwargs), lambda leaf: self._evaluate(leaf, known))
        return _as_double(step.target(*args, **kwargs))

    def _is_polynomial(self, step: RolledStep) -> bool:
        if step.target is _ATEN.dropout.default:
            return step.args[2] is False
        if step.target in _DIVIDING:
            return self.is_constant(step.args[1]) and not step.kwargs
        return step.target in _REARRANGING | _ADDING | _MULTIPLYING


def _as_double(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_as_double(item) for item in value]
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.double()
    return value


def find_jacobian(y: Tensor, leaves: Sequence[Tensor]) -> list[Tensor]:
    """d y / d leaf of the first row of a batch, flattened; raises when rows look at each other."""
    rows = y[0].flatten()
    found = [rows.new_zeros(len(rows), leaf[0].numel()) for leaf in leaves]
    if not rows.requires_grad:
        return found
    for chosen in torch.arange(len(rows)).split(256):
        directions = torch.zeros(len(chosen), len(rows), dtype=rows.dtype)
        directions[torch.arange(len(chosen)), chosen] = 1
        gradients = torch.autograd.grad(
            rows, list(leaves), directions, retain_graph=True, allow_unused=True,
            is_grads_batched=True,
        )  # fmt: skip
        for jacobian, gradient in zip(found, gradients, strict=True):
            if gradient is None:
                continue
            if gradient[:, 1:].any():
                raise NotPolynomialError
            jacobian[chosen] = gradient[:, 0].flatten(1)
    return found


def walk_back(
    equations: Equations, value: Any, is_wanted: Callable[[Any], bool]
) -> Iterator[OwnValue]:
    """The results of steps that ``value`` is made of in the same iteration and that are wanted."""
    seen: set[int] = set()
    pending = [value]
    while pending:
        one = pending.pop()
        if not isinstance(one, OwnValue) or one.delay or one.step in seen or not is_wanted(one):
            continue
        seen.add(one.step)
        yield own(one.step)
        pending += equations.arguments(equations.step(one.step))
