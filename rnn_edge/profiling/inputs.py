"""Random inputs that a contract allows, and the grid of sizes to give them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rnn_edge.contract import AxisLimits, GraphContract, TensorSpec
from rnn_edge.errors import InputError

BATCH = "batch"
SEQUENCE = "sequence"
DEFAULT_SIZES = {BATCH: (1, 8), SEQUENCE: (1, 10, 100)}


@dataclass(frozen=True)
class Point:
    """One place of the grid; None where the graph has no such dynamic axis."""

    batch: int | None
    sequence: int | None

    def __str__(self) -> str:
        sizes = ((BATCH, self.batch), (SEQUENCE, self.sequence))
        return ", ".join(f"{axis} {size}" for axis, size in sizes if size is not None) or "as it is"


def grid(
    contract: GraphContract,
    batches: Sequence[int] | None = None,
    sequences: Sequence[int] | None = None,
) -> list[Point]:
    """Every pair of a batch and a sequence size; sizes that are None are chosen here.

    The choice keeps within the contract's limits. Sizes given for an axis that the graph does not
    have, and sizes outside its limits, raise InputError.
    """
    return [
        Point(batch, sequence)
        for batch in _sizes(contract, BATCH, batches)
        for sequence in _sizes(contract, SEQUENCE, sequences)
    ]


def axis_sizes(contract: GraphContract, point: Point) -> dict[str, int]:
    """The size of every dynamic axis at ``point``; other axes than these two get their minimum."""
    chosen = {BATCH: point.batch, SEQUENCE: point.sequence}
    sizes = {}
    for axis in _dynamic_axes(contract):
        size = chosen.get(axis)
        sizes[axis] = _limits(contract, axis).minimum if size is None else size
    return sizes


def random_inputs(
    contract: GraphContract, sizes: Mapping[str, int], generator: np.random.Generator
) -> dict[str, np.ndarray]:
    """One array per input, states included, of its dtype and shape and within its bounds.

    Lengths are ragged: the first row is whole, the others hold 1 to all of the steps.
    """
    return {spec.name: _random_array(spec, sizes, generator) for spec in contract.inputs}


def _sizes(contract: GraphContract, axis: str, asked: Sequence[int] | None) -> Sequence[int | None]:
    limits = _limits(contract, axis)
    most = math.inf if limits.maximum is None else limits.maximum
    if axis not in _dynamic_axes(contract):
        if asked is not None:
            raise InputError(
                f"{axis} sizes must be left out for a graph with no dynamic axis {axis!r}, "
                f"got {', '.join(map(str, asked))}. Leave them out."
            )
        return [None]
    if asked is None:
        return sorted({int(min(max(size, limits.minimum), most)) for size in DEFAULT_SIZES[axis]})
    for size in asked:
        if not limits.minimum <= size <= most:
            raise InputError(
                f"{axis} sizes must be {limits.minimum} to {most}, got {size}. Choose others."
            )
    return list(dict.fromkeys(asked))


def _dynamic_axes(contract: GraphContract) -> list[str]:
    return list(
        dict.fromkeys(dim for spec in contract.inputs for dim in spec.dims if isinstance(dim, str))
    )


def _limits(contract: GraphContract, axis: str) -> AxisLimits:
    limits = contract.axes.get(axis, AxisLimits())
    # ONNX Runtime aborts on an empty axis, whatever a contract says.
    return AxisLimits(max(limits.minimum, 1), limits.maximum, limits.trained_maximum)


def _random_array(
    spec: TensorSpec, sizes: Mapping[str, int], generator: np.random.Generator
) -> np.ndarray:
    shape = [sizes[dim] if isinstance(dim, str) else dim for dim in spec.dims]
    if spec.lengths_of is not None:
        return _random_lengths(spec, shape, sizes, generator)
    if spec.dtype == "string":
        return np.array(list("abcdefgh"))[generator.integers(0, 8, shape)]
    if spec.dtype == "bool":
        return np.asarray(generator.integers(0, 2, shape) == 1)
    if spec.dtype.startswith("float"):
        return _random_floats(spec, shape, generator).astype(spec.dtype)
    # Unbounded whole numbers may be ids of a table of any size: 0 and 1 are the safest.
    least = 0 if spec.minimum is None else math.ceil(spec.minimum)
    most = least + 1 if spec.maximum is None else math.floor(spec.maximum)
    return generator.integers(min(least, most), most, shape, endpoint=True).astype(spec.dtype)


def _random_floats(
    spec: TensorSpec, shape: Sequence[int], generator: np.random.Generator
) -> np.ndarray:
    if spec.minimum is not None and spec.maximum is not None:
        return generator.uniform(spec.minimum, spec.maximum, shape)
    values = generator.standard_normal(shape)
    return np.clip(values, spec.minimum, spec.maximum) if _is_bounded(spec) else values


def _is_bounded(spec: TensorSpec) -> bool:
    return spec.minimum is not None or spec.maximum is not None


def _random_lengths(
    spec: TensorSpec,
    shape: Sequence[int],
    sizes: Mapping[str, int],
    generator: np.random.Generator,
) -> np.ndarray:
    longest = sizes.get(spec.lengths_of or "", 1)
    shortest = min(longest, 1 if spec.minimum is None else max(1, math.ceil(spec.minimum)))
    lengths = generator.integers(shortest, longest, shape, endpoint=True)
    lengths.flat[0] = longest
    return lengths.astype(spec.dtype)
