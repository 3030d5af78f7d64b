"""What a written cell is made of, cut where an activation stands: units, and what each is fed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnn_edge.capture.rolling.equations import (
    Equations,
    find_jacobian,
    key_of,
    own,
    walk_back,
)
from rnn_edge.capture.rolling.program import Number, OwnValue, RolledStep
from rnn_edge.capture.rolling.shapes import is_float

_ATEN = torch.ops.aten


@dataclass(frozen=True)
class Activation:
    """An activation in ONNX's words; one with alpha and beta where it has some."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0

    @property
    def is_symmetric(self) -> bool:
        """Whether f(-a) = 1 - f(a)."""
        return self.name == "Sigmoid" or (self.name == "HardSigmoid" and self.beta == 0.5)

    def __call__(self, x: Tensor) -> Tensor:
        match self.name:
            case "Sigmoid":
                return torch.sigmoid(x)
            case "Tanh":
                return torch.tanh(x)
            case "Relu":
                return torch.relu(x)
        return (self.alpha * x + self.beta).clamp(0, 1)


SIGMOID = Activation("Sigmoid")
TANH = Activation("Tanh")
_ACTIVATIONS: dict[Any, Activation] = {
    _ATEN.sigmoid.default: SIGMOID,
    _ATEN.tanh.default: TANH,
    _ATEN.relu.default: Activation("Relu"),
    _ATEN.hardsigmoid.default: Activation("HardSigmoid", 1 / 6, 0.5),
}
_CLAMPS = (_ATEN.clamp.default, _ATEN.hardtanh.default)


def read_activation(step: RolledStep) -> Activation | None:
    if step.target in _CLAMPS and len(step.args) == 3 and not step.kwargs:
        ends = [end.value.constant if isinstance(end, Number) and end.value.is_constant else None
                for end in step.args[1:]]  # fmt: skip
        return Activation("HardSigmoid", 1.0, 0.0) if ends == [0, 1] else None
    return _ACTIVATIONS.get(step.target) if len(step.args) == 1 and not step.kwargs else None


@dataclass(frozen=True)
class Units:
    """Every number that an activation gives: of which kind it is, and what it is fed.

    A unit is fed ``of_x @ x + of_h @ h + of_c @ c + of_new_c @ c' + of_units @ units + bias``, or
    so at one place where it is no straight line.
    """

    kinds: list[Activation]
    value: Tensor
    of_x: Tensor
    of_h: Tensor
    of_c: Tensor
    of_new_c: Tensor
    of_units: Tensor
    bias: Tensor


class WrittenBody:
    """The steps of a loop that make the next ``states`` (h, or h and c) of the present ones."""

    def __init__(self, equations: Equations, states: Sequence[int]) -> None:
        self.equations = equations
        self.states = states
        self._follows: dict[Any, bool] = {}
        self.steps = {
            value.step
            for state in states
            for value in walk_back(equations, own(state), self.follows_state)
        }
        self.activations = {
            number: kind
            for number in sorted(self.steps)
            if (kind := read_activation(equations.step(number))) is not None
        }
        self.roots = self._find_roots()
        self._leaves = self._draw_leaves()

    def follows_state(self, value: Any) -> bool:
        """Whether ``value`` needs the states of the iteration before."""
        if not isinstance(value, OwnValue):
            return False
        key = key_of(value)
        if key not in self._follows:
            self._follows[key] = (
                value.step in self.states
                if value.delay
                else any(map(self.follows_state, self._arguments(value.step)))
            )
        return self._follows[key]

    def _arguments(self, number: int) -> list[Any]:
        return self.equations.arguments(self.equations.step(number))

    def _find_roots(self) -> list[Any]:
        """The tensors [batch, n] that a layer is to be fed, as near to the input as they may be."""
        fed = {
            key_of(value): value
            for number in sorted(self.steps)
            for value in self._arguments(number)
            if not self.follows_state(value) and not self.equations.is_constant(value)
        }
        return list(
            {key_of(r): r for value in fed.values() for r in self._roots_of(value)}.values()
        )

    def _roots_of(self, value: Any) -> list[Any]:
        if not isinstance(value, OwnValue) or value.delay:
            return [value]
        step = self.equations.step(value.step)
        if not self.equations.is_affine(step):
            return [value]
        moving = [arg for arg in self._arguments(value.step) if not self.equations.is_constant(arg)]
        roots = [root for arg in moving for root in self._roots_of(arg)]
        return roots if roots and all(map(self._is_row, roots)) else [value]

    def _is_row(self, value: Any) -> bool:
        shape = self.equations.shape(value)
        batch = self.equations.shape(own(self.states[0]))
        return (
            shape is not None and batch is not None and is_float(shape) and batch.dim() == 2
            and shape.dim() == 2 and shape.shape[0] == batch.shape[0]
        )  # fmt: skip

    @property
    def is_regular(self) -> bool:
        """Whether all states and inputs are float32 and [batch, n], the states of one size."""
        shapes = [self.equations.shape(own(state)) for state in self.states]
        sizes = {tuple(shape.shape) for shape in shapes if shape is not None}
        whole = [*(own(state) for state in self.states), *self.roots]
        return (
            len(sizes) == 1 and bool(self.roots) and bool(self.activations)
            and all(map(self._is_row, whole))
        )  # fmt: skip

    def _draw_leaves(self) -> dict[Any, Tensor]:
        """A random tensor for each value that equations are cut at."""
        random = torch.Generator().manual_seed(0)
        cuts = [*self.roots, *(own(state, 1) for state in self.states),
                *(own(state) for state in self.states[1:]),
                *(own(number) for number in self.activations)]  # fmt: skip
        leaves = {}
        for cut in cuts:
            like = self.equations.shape(own(cut.step) if cut in self._carried() else cut)
            if like is None:
                return {}
            drawn = torch.randn(tuple(like.shape), generator=random, dtype=torch.float64)
            leaves[key_of(cut)] = drawn.requires_grad_()
        return leaves

    def _carried(self) -> list[Any]:
        return [own(state, 1) for state in self.states]

    def leaf(self, value: Any) -> Tensor:
        """The first row of what stands for ``value``."""
        return self._leaves[key_of(value)][0].detach().flatten()

    def leaf_of_state(self, number: int) -> Tensor:
        """The first row of the state ``number`` of the iteration before."""
        return self.leaf(own(self.states[number], 1))

    def units_are(self, value: float) -> dict[Any, Tensor]:
        """All units set to one number, everything else as drawn."""
        units = [own(number) for number in self.activations]
        return {
            key: torch.full_like(leaf, value, requires_grad=True) if key in units else leaf
            for key, leaf in self._leaves.items()
        }

    def follow(
        self, number: int, given: dict[Any, Tensor] | None = None, fed: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """Step ``number``, or what it is fed, and how it follows (x, h, c, c', units).

        [n], five of [n, size].
        """
        given = self._leaves if given is None else given
        if not fed and number in self.activations:
            y = given[own(number)]
        elif fed:
            y = self.equations.evaluate(self.equations.step(number).args[0], given)
        else:
            y = self.equations.evaluate_step(number, given)
        keys = [[key_of(root) for root in self.roots]]
        keys += [[own(state, 1)] for state in self.states]
        if len(self.states) == 1:
            keys.append([])
        keys += [[own(state) for state in self.states[1:]], [own(n) for n in self.activations]]
        found = find_jacobian(y, [given[key] for group in keys for key in group])
        groups, place = [], 0
        for group in keys:
            chosen = found[place : place + len(group)]
            groups.append(torch.cat(chosen, 1) if chosen else y.new_zeros(y[0].numel(), 0).detach())
            place += len(group)
        return y[0].detach().flatten(), groups

    def at_zero(self, number: int, units: float = 0.0) -> Tensor:
        """What the activation ``number`` is fed where everything is zero but the units."""
        given = {key: torch.zeros_like(leaf) for key, leaf in self._leaves.items()}
        for activation in self.activations:
            given[own(activation)].fill_(units)
        y = self.equations.evaluate(self.equations.step(number).args[0], given)
        return y[0].flatten()

    def find_units(self, given: dict[Any, Tensor] | None = None, zero: float = 0.0) -> Units:
        rows = [self.follow(number, given, fed=True)[1] for number in self.activations]
        whole = [torch.cat(parts) for parts in zip(*rows, strict=True)]
        bias = torch.cat([self.at_zero(number, zero) for number in self.activations])
        values = [self.leaf(own(number)) for number in self.activations]
        kinds = [
            kind for value, kind in zip(values, self.activations.values(), strict=True)
            for _ in range(len(value))
        ]  # fmt: skip
        x, h, c, new_c, units = whole
        return Units(kinds, torch.cat(values), x, h, c, new_c, units, bias)

    def run(self, x: Tensor, states: Sequence[Tensor]) -> list[Tensor]:
        """One true iteration, from [batch, input] and states [batch, hidden] to new states."""
        given: dict[Any, Tensor] = {}
        place = 0
        for root in self.roots:
            width = self._leaves[key_of(root)].shape[1]
            given[key_of(root)] = x[:, place : place + width]
            place += width
        given.update(zip(self._carried(), states, strict=True))
        for number, kind in self.activations.items():
            y = self.equations.evaluate(self.equations.step(number).args[0], given)
            given[own(number)] = kind(y)
        return [self.equations.evaluate(own(state), given) for state in self.states]

    @property
    def sizes(self) -> tuple[int, int, int]:
        """(batch, input, hidden)."""
        batch, hidden = self._leaves[own(self.states[0], 1)].shape
        return batch, sum(self._leaves[key_of(root)].shape[1] for root in self.roots), hidden
