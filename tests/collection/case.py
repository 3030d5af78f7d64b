"""A module, what it takes, and inputs for it at any sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.utils import _pytree as pytree

BATCH = "batch"
EXAMPLE_SIZES = (2, 6)
# (batch, steps) that no case is exported at.
UNSEEN_SIZES = ((3, 11), (1, 8), (5, 23))


@dataclass(frozen=True)
class Input:
    """One tensor of forward()'s arguments; a name among ``dims`` is a dynamic axis.

    ``draw`` takes the shape, the sizes of all axes by name, and a generator. Whole numbers are
    below ``bound``.
    """

    dims: tuple[str | int, ...]
    draw: Callable[[tuple[int, ...], Mapping[str, int], Generator], Tensor]
    bound: int | None = None

    def axes(self) -> tuple[str | None, ...]:
        return tuple(dim if isinstance(dim, str) else None for dim in self.dims)

    def sample(self, sizes: Mapping[str, int], random: Generator) -> Tensor:
        shape = tuple(sizes[dim] if isinstance(dim, str) else dim for dim in self.dims)
        return self.draw(shape, sizes, random)


def floats(*dims: str | int, dtype: torch.dtype = torch.float32) -> Input:
    """Values of a normal distribution."""
    return Input(dims, lambda shape, _, random: torch.randn(shape, generator=random).to(dtype))


def ids(count: int, *dims: str | int) -> Input:
    """Whole numbers below ``count``."""
    return Input(
        dims, lambda shape, _, random: torch.randint(count, shape, generator=random), count
    )


def flags(*dims: str | int) -> Input:
    """0.0 or 1.0, mostly 0."""
    return Input(dims, lambda shape, _, random: (torch.rand(shape, generator=random) > 0.7).float())


def masks(*dims: str | int) -> Input:
    """True or False, mostly True; the first along the last axis is always True."""

    def draw(shape: tuple[int, ...], _: Mapping[str, int], random: Generator) -> Tensor:
        mask = torch.rand(shape, generator=random) > 0.3
        mask[..., 0] = True
        return mask

    return Input(dims, draw)


def lengths_of(axis: str, *dims: str | int, falling: bool = False) -> Input:
    """Lengths from 1 to the size of ``axis``; the longest row is one shorter than that.

    Where there is one step only, so is the length.
    """

    def draw(shape: tuple[int, ...], sizes: Mapping[str, int], random: Generator) -> Tensor:
        lengths = torch.randint(1, max(sizes[axis] - 1, 1) + 1, shape, generator=random)
        lengths[0] = max(sizes[axis] - 1, 1)
        return lengths.sort(descending=True).values if falling else lengths

    return Input(dims, draw)


def offsets(*dims: str | int) -> Input:
    """Positive time gaps."""
    return Input(dims, lambda shape, _, random: torch.rand(shape, generator=random) + 0.1)


@dataclass(frozen=True)
class Case:
    """``args`` and ``kwargs`` are nested as forward() takes them, with an Input for each tensor."""

    make: Callable[[], nn.Module]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    # Largest error that is right, relative to the largest value (and to 1).
    tolerance: float = 1e-4

    def title(self) -> str:
        return self.name or self.make.__name__

    def module(self) -> nn.Module:
        torch.manual_seed(0)
        return self.make().eval()

    def axes(self) -> list[Any]:
        """The axes of every argument, nested as the arguments are, ``kwargs`` last."""
        entries = (*self.args, *self.kwargs.values())
        return [_map_inputs(entry, lambda item: item.axes()) for entry in entries]

    def sizes(self, batch: int, steps: int) -> dict[str, int]:
        """A size for every axis; no two are alike unless ``batch`` and ``steps`` are."""
        leaves = pytree.tree_leaves((self.args, dict(self.kwargs)))
        names = dict.fromkeys(
            dim
            for leaf in leaves
            if isinstance(leaf, Input)
            for dim in leaf.dims
            if isinstance(dim, str) and dim != BATCH
        )
        return {BATCH: batch, **{name: steps + 3 * place for place, name in enumerate(names)}}

    def inputs(self, batch: int, steps: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """(args, kwargs) of these sizes; the same sizes give the same values."""
        sizes = self.sizes(batch, steps)
        random = Generator().manual_seed(1000 * batch + steps)
        drawn: tuple[tuple[Any, ...], dict[str, Any]] = _map_inputs(
            (self.args, dict(self.kwargs)), lambda item: item.sample(sizes, random)
        )
        return drawn

    def tensors(self, batch: int, steps: int) -> list[Tensor]:
        """All tensors among the inputs, in order."""
        leaves = pytree.tree_leaves(self.inputs(batch, steps))
        return [leaf for leaf in leaves if isinstance(leaf, Tensor)]

    def expect(self, batch: int, steps: int) -> list[Tensor]:
        """What the eager module gives, flattened; a fresh module each time."""
        args, kwargs = self.inputs(batch, steps)
        with torch.no_grad():
            returned = self.module()(*args, **kwargs)
        return [leaf for leaf in pytree.tree_leaves(returned) if isinstance(leaf, Tensor)]

    def deviation(self, found: Tensor, expected: Tensor) -> float:
        """The largest error relative to the largest value; infinite for a wrong shape or NaN."""
        if found.shape != expected.shape:
            return float("inf")
        if not expected.numel():
            return 0.0
        one, other = found.double(), expected.double()
        error = float((one - other).abs().max() / other.abs().max().clamp(min=1.0))
        return error if error == error else float("inf")


def _map_inputs(nested: Any, change: Callable[[Input], Any]) -> Any:
    return pytree.tree_map(lambda leaf: change(leaf) if isinstance(leaf, Input) else leaf, nested)
