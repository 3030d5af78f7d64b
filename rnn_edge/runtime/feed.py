"""What a person gives -> what a graph is fed; whatever does not fit is refused in one line.

ONNX Runtime itself aborts the process on an empty batch, and its LSTM and GRU turn NaN into finite
numbers, so every array is checked here before each run.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnn_edge.contract import AxisLimits, GraphContract, StatePair, TensorSpec
from rnn_edge.errors import InputError


class LongSequenceWarning(UserWarning):
    """A sequence is longer than any that the model was trained on."""


@dataclass(frozen=True)
class _Rule:
    """What one input must be, in the form that is quick to check before every run."""

    spec: TensorSpec
    dtype: np.dtype | None
    fixed: tuple[tuple[int, int], ...]
    #: Place, name, limits, and the least that may be run whatever the limits.
    named: tuple[tuple[int, str, AxisLimits, int], ...]

    @classmethod
    def of(
        cls, spec: TensorSpec, axes: Mapping[str, AxisLimits], split: Container[str | None]
    ) -> _Rule:
        places = tuple(enumerate(spec.dims))
        # ONNX Runtime aborts on an empty batch or sequence. A graph that takes its rows one after
        # the other makes rows of its own: all of them may be empty.
        least = {dim: 0 if dim in split else 1 for dim in spec.dims if isinstance(dim, str)}
        return cls(
            spec,
            None if spec.dtype == "string" else np.dtype(spec.dtype),
            tuple((place, dim) for place, dim in places if isinstance(dim, int)),
            tuple(
                (place, dim, axes.get(dim, AxisLimits(least[dim])), least[dim])
                for place, dim in places
                if isinstance(dim, str)
            ),
        )


class Feed:
    """Checks arrays against a contract and completes them to all inputs of the graph."""

    def __init__(self, contract: GraphContract) -> None:
        states = contract.state_inputs
        self._rules = {
            spec.name: _Rule.of(spec, contract.axes, {each.splits for each in contract.inputs})
            for spec in contract.inputs
        }
        self._names = tuple(self._rules)
        self._defaults = {
            spec.name: np.array(spec.default, np.dtype(spec.dtype))
            for spec in contract.inputs
            if spec.default is not None and not spec.dims
        }
        self._needed = tuple(
            name for name in self._rules if name not in states and name not in self._defaults
        )
        self._states = tuple((contract.input(pair.input), pair) for pair in contract.states)
        self._trained = {
            axis: limits.trained_maximum
            for axis, limits in contract.axes.items()
            if limits.trained_maximum is not None
        }

    def build(self, arrays: Sequence[Any] | Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Every input of the graph by name.

        ``arrays`` are named, or in the contract's order. State inputs that are left out get their
        initial value, options their default. Raises InputError naming tensor, axis and value;
        warns with LongSequenceWarning.
        """
        feed: dict[str, np.ndarray] = {}
        sizes: dict[str, tuple[int, str]] = {}
        for name, value in self._by_name(arrays).items():
            rule = self._rules[name]
            array = as_array(rule.spec, rule.dtype, value)
            _check_shape(rule, array, sizes)
            feed[name] = array
        for name, array in feed.items():
            _check_values(self._rules[name].spec, array, sizes)
        for spec, pair in self._states:
            if spec.name not in feed:
                feed[spec.name] = _initial_state(spec, pair, sizes)
        for name, array in self._defaults.items():
            feed.setdefault(name, array)
        for axis, trained in self._trained.items():
            if axis in sizes and sizes[axis][0] > trained:
                _warn_of_length(axis, sizes[axis], trained)
        return feed

    def _by_name(self, arrays: Sequence[Any] | Mapping[str, Any]) -> Mapping[str, Any]:
        if isinstance(arrays, Mapping):
            unknown = [name for name in arrays if name not in self._rules]
            missing = [name for name in self._needed if name not in arrays]
            if unknown or missing:
                raise InputError(
                    f"inputs must be {', '.join(self._names)}, "
                    + (f"got unknown {', '.join(map(str, unknown))}" if unknown else "")
                    + (f"missing {', '.join(missing)}" if not unknown else "")
                    + ". Correct the names."
                )
            return arrays
        for names in (self._needed, self._names):
            if len(arrays) == len(names):
                return dict(zip(names, arrays, strict=True))
        raise InputError(
            f"inputs must be {', '.join(self._needed)} ({len(self._needed)}), got {len(arrays)}. "
            "Give one array for each."
        )


def as_array(spec: TensorSpec, dtype: np.dtype | None, value: Any) -> np.ndarray:
    """``value`` as an array of exactly ``dtype``, which is that of ``spec``; None for strings.

    An array must have that dtype already. Python numbers and lists are converted where that is
    exact; decimal numbers are rounded to the float type that the graph takes.
    """
    if isinstance(value, int | float | str | list | tuple):
        return _from_python(spec, dtype, value)
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{spec.name} must be an array, got: {error}. Give a numpy array."
        ) from None
    if array.dtype != dtype if dtype is not None else array.dtype.kind not in "OU":
        raise _wrong_dtype(spec, array)
    return np.asarray(array, order="C")


def _from_python(spec: TensorSpec, dtype: np.dtype | None, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):
        raise InputError(
            f"{spec.name} must be rectangular, got rows of different lengths. "
            "Fill the shorter rows up, or run them one by one."
        ) from None
    if dtype is None:
        if array.dtype.kind != "U":
            raise _wrong_dtype(spec, array)
        return array
    if array.size == 0:
        return np.empty(array.shape, dtype)
    kinds = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}[dtype.kind]
    if array.dtype.kind not in kinds:
        raise _wrong_dtype(spec, array)
    with np.errstate(over="ignore", invalid="ignore"):
        converted = array.astype(dtype)
    if array.dtype.kind in "iu" and not np.array_equal(converted.astype(array.dtype), array):
        raise InputError(
            f"values of {spec.name} must fit {spec.dtype}, got {_extreme(array)}. "
            "Correct the values."
        )
    return converted


def _extreme(array: np.ndarray) -> Any:
    low, high = array.min().item(), array.max().item()
    return low if -low > high else high


def _wrong_dtype(spec: TensorSpec, array: np.ndarray) -> InputError:
    cure = (
        f"Convert it with .astype({spec.dtype!r})." if spec.dtype != "string" else "Give strings."
    )
    return InputError(f"dtype of {spec.name} must be {spec.dtype}, got {array.dtype}. {cure}")


def _check_shape(rule: _Rule, array: np.ndarray, sizes: dict[str, tuple[int, str]]) -> None:
    spec, shape = rule.spec, array.shape
    if len(shape) != len(spec.dims):
        raise InputError(
            f"shape of {spec} must have {len(spec.dims)} axes, got {_listed(shape)}. Reshape it."
        )
    for place, size in rule.fixed:
        if shape[place] != size:
            raise InputError(
                f"axis {place} of {spec} must have size {size}, got {_listed(shape)}. Reshape it."
            )
    for place, axis, limits, least in rule.named:
        size = shape[place]
        _check_size(limits, max(limits.minimum, least), spec, axis, size)
        first, owner = sizes.setdefault(axis, (size, spec.name))
        if size != first:
            raise InputError(
                f"axis {axis!r} of {spec.name} must have size {first} as in {owner}, got {size}. "
                "Give arrays of one size."
            )


def _check_size(limits: AxisLimits, least: int, spec: TensorSpec, axis: str, size: int) -> None:
    if size < least:
        raise InputError(
            f"axis {axis!r} of {spec.name} must be at least {least}, got {size}. Give more of it."
        )
    if limits.maximum is not None and size > limits.maximum:
        raise InputError(
            f"axis {axis!r} of {spec.name} must be at most {limits.maximum}, got {size}. Split it."
        )


def _check_values(
    spec: TensorSpec, array: np.ndarray, sizes: Mapping[str, tuple[int, str]]
) -> None:
    if array.dtype.kind == "f" and not math.isfinite(np.vdot(array, array)):
        # Large finite numbers overflow that sum too: only here is every number looked at.
        _refuse(spec, array, ~np.isfinite(array), "finite", "Remove or fill the gaps.")
    if array.size == 0 or array.dtype.kind not in "iuf":
        return
    least, most = spec.minimum, spec.maximum
    if spec.splits is not None and spec.splits in sizes and array.sum() != sizes[spec.splits][0]:
        steps, owner = sizes[spec.splits]
        raise InputError(
            f"{spec.name} must add up to the {steps} {spec.splits} of {owner}, they add up to "
            f"{array.sum()}. Give the size of every row."
        )
    if spec.lengths_of is not None:
        least = 1 if least is None else max(least, 1)
        size, _ = sizes.get(spec.lengths_of, (None, ""))
        most = size if most is None or (size is not None and size < most) else most
    if least is None and most is None:
        return
    low, high = (array.item(),) * 2 if array.size == 1 else (array.min(), array.max())
    if least is not None and low < least:
        _refuse(spec, array, array < least, f"at least {least:g}", "Correct the values.")
    if most is not None and high > most:
        _refuse(spec, array, array > most, f"at most {most:g}", "Correct the values.")


def _refuse(spec: TensorSpec, array: np.ndarray, wrong: np.ndarray, must: str, cure: str) -> None:
    """Raise InputError with the place and value of the first True in ``wrong``, if there is one."""
    if not wrong.any():
        return
    place = tuple(int(index) for index in np.argwhere(wrong)[0])
    where = f"[{', '.join(map(str, place))}]" if place else ""
    raise InputError(f"{spec.name}{where} must be {must}, got {array[place]}. {cure}")


def _initial_state(
    spec: TensorSpec, pair: StatePair, sizes: Mapping[str, tuple[int, str]]
) -> np.ndarray:
    unknown = [dim for dim in spec.dims if isinstance(dim, str) and dim not in sizes]
    if unknown:
        raise InputError(
            f"{spec} must be given, the size of its axis {unknown[0]!r} follows from no other "
            "input. Give it."
        )
    shape = [sizes[dim][0] if isinstance(dim, str) else dim for dim in spec.dims]
    return np.full(shape, pair.initial, np.dtype(spec.dtype))


def _warn_of_length(axis: str, found: tuple[int, str], trained: int) -> None:
    size, owner = found
    warnings.warn(
        f"axis {axis!r} of {owner} has size {size}, the model was trained on at most {trained}. "
        "Its answers may be worse.",
        LongSequenceWarning,
        stacklevel=4,
    )


def _listed(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"
