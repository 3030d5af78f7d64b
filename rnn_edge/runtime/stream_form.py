"""Which part each tensor of a stream graph plays: chunk, context, state, reset, answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from rnn_edge.contract import AxisLimits, GraphContract, StatePair, StreamRule, TensorSpec
from rnn_edge.errors import ContractError, InputError
from rnn_edge.runtime.feed import Feed, as_array

# Checks of chunks that are kept ready, one for each size of context.
MOST_FEEDS = 64

Sizes = Mapping[str, int]
#: The shapes of a chunk's arrays, in the contract's order.
Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class StreamForm:
    """The inputs and outputs of a stream graph, sorted by what they are for.

    ``batch`` names the axis of rows; it is a size where that is fixed, None where the graph takes
    one sequence without an axis of rows. ``outputs`` are those that are no state.
    """

    contract: GraphContract
    rule: StreamRule
    chunk: tuple[TensorSpec, ...]
    context: tuple[TensorSpec, ...]
    states: tuple[StatePair, ...]
    outputs: tuple[TensorSpec, ...]
    batch: str | int | None
    _feeds: dict[Any, Feed] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, contract: GraphContract) -> StreamForm:
        """Read it from the contract; ContractError when it is no stream graph's."""
        rule = contract.stream
        if rule is None:
            raise ContractError(
                f"{contract.file} must be a stream graph, its contract has no stream rule. "
                "Export the model for streaming, or call it with rnn_edge.Session."
            )
        reset = () if rule.reset is None else (contract.input(rule.reset),)
        others = {*contract.state_inputs, *(spec.name for spec in reset)}
        given = [spec for spec in contract.inputs if spec.name not in others]
        chunk = tuple(spec for spec in given if rule.axis in spec.dims)
        if not chunk:
            raise ContractError(
                f"an input of {contract.file} must have the axis {rule.axis!r} of its stream "
                "rule, none has. Export the model again."
            )
        _require_numbers(contract)
        results = {contract.output(pair.output).name for pair in contract.states}
        return cls(
            contract,
            rule,
            chunk,
            tuple(spec for spec in given if rule.axis not in spec.dims),
            contract.states,
            tuple(spec for spec in contract.outputs if spec.name not in results),
            _batch_of(contract, chunk, reset),
        )

    @cached_property
    def in_step(self) -> bool:
        """Whether all rows must be at one step: the rule says so, or they share a state."""
        return self.rule.in_step or any(pair.batch_axis is None for pair in self.states)

    @cached_property
    def shared_chunk(self) -> tuple[int, ...]:
        """The places of the chunk's inputs that all rows share."""
        return tuple(n for n, spec in enumerate(self.chunk) if self.row_axis(spec) is None)

    @property
    def given(self) -> tuple[TensorSpec, ...]:
        """What a person may give: chunk and context, in the graph's order."""
        both = {spec.name for spec in (*self.chunk, *self.context)}
        return tuple(spec for spec in self.contract.inputs if spec.name in both)

    def row_axis(self, spec: TensorSpec) -> int | None:
        """Where the rows lie in a tensor; None when all rows share it."""
        if not isinstance(self.batch, str) or self.batch not in spec.dims:
            return None
        return spec.dims.index(self.batch)

    def frames(self, shapes: Shapes) -> int:
        """The number of frames of a chunk of these shapes."""
        return shapes[0][self.chunk[0].dims.index(self.rule.axis)]

    def check_rows(self, rows: int) -> None:
        """Raise InputError unless the graph takes batches of ``rows``."""
        whole = isinstance(rows, int) and not isinstance(rows, bool)
        if not whole or rows < 1:
            raise InputError(f"batch must be a whole number of at least 1, got {rows!r}. Raise it.")
        fixed = 1 if self.batch is None else self.batch
        if isinstance(fixed, int):
            if rows != fixed:
                raise InputError(
                    f"batch must be {fixed}, the only one that {self.contract.file} takes, "
                    f"got {rows}. Set it to {fixed}."
                )
            return
        limits = self.contract.axes.get(fixed, AxisLimits())
        if rows < limits.minimum:
            raise InputError(f"batch must be at least {limits.minimum}, got {rows}. Raise it.")
        if limits.maximum is not None and rows > limits.maximum:
            raise InputError(f"batch must be at most {limits.maximum}, got {rows}. Lower it.")

    def sizes(self, rows: int, context: Mapping[str, np.ndarray]) -> dict[str, int]:
        """The sizes of all axes but those of chunks."""
        sizes = {self.batch: rows} if isinstance(self.batch, str) else {}
        for spec in self.context:
            for dim, size in zip(spec.dims, context[spec.name].shape, strict=True):
                if isinstance(dim, str):
                    sizes[dim] = size
        return sizes

    def checked_chunk(self, given: Any, sizes: Sizes, shortest: int | None) -> list[np.ndarray]:
        """The arrays of a chunk in order; InputError names tensor, place and value.

        ``shortest`` replaces the least number of frames of the contract.
        """
        key = (shortest, *sizes.items())
        feed = self._feeds.get(key)
        if feed is None:
            if len(self._feeds) == MOST_FEEDS:
                self._feeds.clear()
            feed = self._feeds[key] = self._feed(self.chunk, sizes, self._chunk_axes(shortest))
        arrays = feed.build(given)
        return [arrays[spec.name] for spec in self.chunk]

    def _chunk_axes(self, shortest: int | None) -> dict[str, AxisLimits]:
        axes = {
            name: replace(limits, trained_maximum=None)
            for name, limits in self.contract.axes.items()
        }
        if shortest is not None:
            limits = axes.get(self.rule.axis, AxisLimits())
            axes[self.rule.axis] = replace(limits, minimum=shortest)
        return axes

    def checked_context(self, given: Mapping[str, Any], rows: int) -> dict[str, np.ndarray]:
        """Every context input by name, checked and copied."""
        sizes = {self.batch: rows} if isinstance(self.batch, str) else {}
        feed = self._feed(self.context, sizes, self.contract.axes).build(given)
        return {name: array.copy() for name, array in feed.items()}

    def _feed(
        self, specs: tuple[TensorSpec, ...], sizes: Sizes, axes: Mapping[str, AxisLimits]
    ) -> Feed:
        settled = tuple(settle(spec, sizes) for spec in specs)
        return Feed(GraphContract(self.contract.file, settled, (), axes=axes))

    def state_shape(self, pair: StatePair, sizes: Sizes) -> tuple[int, ...]:
        spec = settle(self.contract.input(pair.input), sizes)
        unknown = [dim for dim in spec.dims if isinstance(dim, str)]
        if unknown:
            raise ContractError(
                f"axes of the state {spec} must follow from the batch and the context inputs, "
                f"{unknown[0]!r} does not. Export the model again."
            )
        return tuple(int(dim) for dim in spec.dims)

    def initial_states(self, sizes: Sizes) -> dict[str, np.ndarray]:
        """State and reset inputs of rows that start anew, by name."""
        states = {
            pair.input: np.full(
                self.state_shape(pair, sizes),
                pair.initial,
                np.dtype(self.contract.input(pair.input).dtype),
            )
            for pair in self.states
        }
        if self.rule.reset is not None:
            dims = settle(self.contract.input(self.rule.reset), sizes).dims
            states[self.rule.reset] = np.ones([int(dim) for dim in dims], bool)
        return states

    def checked_states(self, given: Mapping[str, Any], sizes: Sizes) -> dict[str, np.ndarray]:
        """State and reset inputs of a snapshot; names, dtypes and shapes must be theirs."""
        shapes = {pair.input: self.state_shape(pair, sizes) for pair in self.states}
        if self.rule.reset is not None:
            dims = settle(self.contract.input(self.rule.reset), sizes).dims
            shapes[self.rule.reset] = tuple(int(dim) for dim in dims)
        known = {*shapes, *(spec.name for spec in self.context)}
        wrong = [name for name in shapes if name not in given] or [
            name for name in given if name not in known
        ]
        if wrong:
            raise InputError(
                f"state must hold {', '.join(shapes)}, "
                f"{'got unknown' if wrong[0] in given else 'missing'} {wrong[0]}. "
                "Give what `state` of a stream of this model gave."
            )
        arrays = {}
        for name, shape in shapes.items():
            spec = self.contract.input(name)
            array = as_array(spec, np.dtype(spec.dtype), given[name])
            if array.shape != shape:
                raise InputError(
                    f"shape of state {name} must be {list(shape)}, got {list(array.shape)}. "
                    "Give the state of a stream of this model and batch."
                )
            arrays[name] = array
        flags = arrays.get(self.rule.reset or "")
        if self.in_step and flags is not None and flags.any() and not flags.all():
            raise InputError(
                f"{self.rule.reset} must be the same for all rows, they are in step; got both. "
                "Reset all rows or none."
            )
        return arrays


def settle(spec: TensorSpec, sizes: Sizes) -> TensorSpec:
    """``spec`` with the axes whose sizes are known as numbers."""
    return replace(spec, dims=tuple(sizes.get(str(dim), dim) for dim in spec.dims))


def values_surely_fit(spec: TensorSpec, array: np.ndarray) -> bool:
    """Whether all values are finite and within bounds; False may also mean very large numbers."""
    if array.dtype.kind == "f" and not math.isfinite(np.vdot(array, array)):
        return False
    if array.size == 1:
        # A token: the methods below take ten times as long.
        value = array.item()
        low = spec.minimum is None or value >= spec.minimum
        return low and (spec.maximum is None or value <= spec.maximum)
    if spec.minimum is not None and array.min() < spec.minimum:
        return False
    return spec.maximum is None or bool(array.max() <= spec.maximum)


def check_step(form: StreamForm, step: GraphContract) -> None:
    """Raise ContractError unless ``step`` takes and gives what ``form`` does, for one frame."""

    def listing(contract: GraphContract) -> list[Any]:
        tensors = (*contract.inputs, *contract.outputs)
        return [(spec.name, spec.dtype, len(spec.dims)) for spec in tensors]

    if listing(step) != listing(form.contract) or step.states != form.states:
        raise ContractError(
            f"tensors and states of {step.file} must be those of {form.contract.file}, "
            "they differ. Export the model again."
        )


def fixed_rows(form: StreamForm, step: GraphContract) -> int | None:
    """The only number of rows that ``step`` takes; None where it takes what ``form`` does."""
    for spec in form.contract.inputs:
        axis = form.row_axis(spec)
        size = None if axis is None else step.input(spec.name).dims[axis]
        if isinstance(size, int):
            return size
    return None


def _require_numbers(contract: GraphContract) -> None:
    for spec in (*contract.inputs, *contract.outputs):
        if spec.dtype == "string":
            raise ContractError(
                f"tensors of a stream graph must be numbers or booleans, {spec} is not. "
                "Keep strings outside of the model."
            )


def _batch_of(
    contract: GraphContract, chunk: tuple[TensorSpec, ...], reset: tuple[TensorSpec, ...]
) -> str | int | None:
    found = {
        contract.input(pair.input).dims[pair.batch_axis]
        for pair in contract.states
        if pair.batch_axis is not None
    } | {spec.dims[0] for spec in reset}
    if len(found) > 1:
        raise ContractError(
            f"states of {contract.file} must share one batch axis, "
            f"got {', '.join(sorted(map(str, found)))}. Export the model again."
        )
    if found:
        return found.pop()
    return "batch" if any("batch" in spec.dims for spec in chunk) else None
