"""Random inputs that a contract allows, at any sizes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rnn_edge.contract import GraphContract, TensorSpec
from rnn_edge.verification.shapes import BATCH_AXIS

# Fewer values of an example may be all there are.
_MANY = 8

Arrays = dict[str, np.ndarray]


def sample_inputs(
    contract: GraphContract,
    examples: Mapping[str, np.ndarray],
    sizes: Mapping[str, int],
    random: np.random.Generator,
    *,
    sort_lengths: bool = False,
    small_integers: bool = False,
    full_lengths: bool = False,
) -> Arrays:
    """One array per input of ``contract``, with its named axes at ``sizes``.

    Values are drawn from those of the example, so that they stay in the module's domain, and from
    between them where they are fractions; a constant floating-point example says nothing of it, and
    gives way to a normal distribution.
    Bounded integers are uniform. Lengths hold 1 and the full size where there are two rows, and
    fall with ``sort_lengths``. With ``small_integers``, those that are not known to be lengths or
    bounded are at most the shortest axis: they may be lengths or places all the same. With
    ``full_lengths``, no row has padding.
    """
    arrays = {
        spec.name: _sample(spec, examples[spec.name], sizes, random, sort_lengths)
        for spec in contract.inputs
    }
    if full_lengths:
        for spec in contract.inputs:
            if spec.lengths_of is not None and spec.lengths_of in sizes:
                arrays[spec.name] = np.full_like(arrays[spec.name], sizes[spec.lengths_of])
    if small_integers:
        shortest = min((size for axis, size in sizes.items() if axis != BATCH_AXIS), default=1)
        for spec in contract.inputs:
            if (
                arrays[spec.name].dtype.kind in "iu"
                and not spec.lengths_of
                and spec.maximum is None
            ):
                arrays[spec.name] = np.minimum(arrays[spec.name], shortest)
    return arrays


def _sample(
    spec: TensorSpec,
    example: np.ndarray,
    sizes: Mapping[str, int],
    random: np.random.Generator,
    sort_lengths: bool,
) -> np.ndarray:
    shape = tuple(sizes[dim] if isinstance(dim, str) else dim for dim in spec.dims)
    dtype = example.dtype
    if spec.lengths_of is not None and spec.lengths_of in sizes:
        return _sample_lengths(shape, sizes[spec.lengths_of], random, sort_lengths).astype(dtype)
    if dtype.kind in "iu" and spec.minimum is not None and spec.maximum is not None:
        return random.integers(int(spec.minimum), int(spec.maximum) + 1, shape).astype(dtype)
    if dtype.kind == "f" and (example.size < 2 or np.ptp(example) == 0):
        return _clip(spec, random.standard_normal(shape)).astype(dtype)
    if _is_continuous(example):
        return _draw_between(example, shape, random)
    drawn = random.choice(example.reshape(-1), shape)
    return _keep_one_step(spec, example, drawn) if dtype.kind == "b" else drawn


def _is_continuous(example: np.ndarray) -> bool:
    """Whether the values are fractions that do not repeat: no flags, no counts, no padding."""
    if example.dtype.kind != "f" or example.size < _MANY or not np.isfinite(example).all():
        return False
    whole = (example == np.floor(example)).all()
    return not whole and np.unique(example).size == example.size


def _draw_between(
    example: np.ndarray, shape: tuple[int, ...], random: np.random.Generator
) -> np.ndarray:
    """Values distributed as the example's, of which hardly any two are equal.

    Which of equal values is the largest, or comes first in order, nothing prescribes.
    """
    values = np.sort(example.reshape(-1).astype(np.float64))
    places = random.uniform(0, values.size - 1, shape)
    return np.interp(places, np.arange(values.size), values).astype(example.dtype)


def _keep_one_step(spec: TensorSpec, example: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """A mask that has, in every row, at least one step as the first of the example's rows are.

    A row without any valid step is no input that a module must take.
    """
    for dim, axis in enumerate(spec.dims):
        if isinstance(axis, str) and axis != BATCH_AXIS:
            first = example.take(0, axis=dim).reshape(-1)
            if first.size and (first == first[0]).all():
                lacking = (drawn != first[0]).all(axis=dim)
                np.moveaxis(drawn, dim, 0)[0] ^= lacking
    return drawn


def _sample_lengths(
    shape: tuple[int, ...], longest: int, random: np.random.Generator, sort: bool
) -> np.ndarray:
    lengths = random.integers(1, longest + 1, shape)
    flat = lengths.reshape(-1)
    if flat.size >= 1:
        flat[0] = longest
    if flat.size >= 2:
        flat[-1] = 1
    if sort:
        flat[::-1].sort()
    else:
        random.shuffle(flat)
    return lengths


def _clip(spec: TensorSpec, values: np.ndarray) -> np.ndarray:
    if spec.minimum is None and spec.maximum is None:
        return values
    return np.clip(values, spec.minimum, spec.maximum)
