"""The steps of a stream as programs: one for all, or some for the first and one for the rest.

Behind a stride a chunk brings frames or none, as the frames before it make it. A step of as many
frames as the strides come to brings the same number each time, but for the first steps.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnn_edge.c99.lowering import lower
from rnn_edge.c99.program import Program, Value
from rnn_edge.contract import GraphContract
from rnn_edge.errors import IntegrationError

# First steps that may be unlike those after them; each is written out.
MOST_STARTS = 16
# Steps that are looked at to be sure that they are the same from there on.
_LONGEST_PERIOD = 64


@dataclass(frozen=True)
class Phases:
    """A step takes ``frames`` frames; step n runs ``starts[n]``, those after them ``steady``.

    ``counter`` is the state that counts frames, where there are starts or the frames matter.
    """

    frames: int
    steady: Program
    starts: tuple[Program, ...] = ()
    counter: str | None = None


def find_phases(model: Any, contract: GraphContract, rows: Mapping[str, int]) -> Phases:
    """``rows`` gives the axes that are not time's a number.

    Raises IntegrationError, naming the node, where no number of frames gives steps of one shape.
    """
    rule = contract.stream
    assert rule is not None
    least = contract.axes[rule.axis].minimum if rule.axis in contract.axes else 1
    try:
        return Phases(least, lower(model, {rule.axis: least, **rows}))
    except IntegrationError as error:
        for counter in _counters(contract):
            lengths = _lengths(model, least)
            for frames in lengths:
                sizes = {rule.axis: frames, **rows}
                period = min(lengths[-1] // frames, _LONGEST_PERIOD)
                found = _at(model, counter, frames, sizes, period)
                if found is not None:
                    return found
        raise error


def _counters(contract: GraphContract) -> Iterator[str]:
    """States that all rows share and that may count frames."""
    for pair in contract.states:
        spec = contract.input(pair.input)
        if pair.batch_axis is None and spec.dtype == "int64" and spec.dims == (1,):
            yield pair.input


def _lengths(model: Any, least: int) -> list[int]:
    """Numbers of frames that the strides of ``model`` may come to, the smallest first."""
    from onnx import numpy_helper

    numbers = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if math.prod(tensor.dims) == 1
    }
    strides = Counter(
        int(numbers[node.input[1]].item())
        for node in model.graph.node
        if node.op_type == "Div" and node.input[1] in numbers
        if numbers[node.input[1]].dtype == np.int64
    )
    # A stride divides at least twice: the frames before a chunk, and those with it.
    powers = [
        [stride**power for power in range(-(-count // 2) + 1)]
        for stride, count in strides.items()
        if stride > 1
    ]
    return sorted({least * math.prod(chosen) for chosen in itertools.product(*powers)})


def _at(
    model: Any, counter: str, frames: int, sizes: Mapping[str, int], period: int
) -> Phases | None:
    """The phases of steps of ``frames`` frames; None where they never become the same.

    After ``period`` steps more, what they bring is sure to be the same.
    """

    def program(step: int) -> Program | None:
        known = {counter: np.array([step * frames], np.int64)}
        try:
            found = lower(model, sizes, known)
        except IntegrationError:
            return None
        after = [value.constant for value in found.outputs if value.constant is not None]
        counted = any(np.array_equal(array, known[counter] + frames) for array in after)
        return found if counted else None

    steady = program(MOST_STARTS)
    if steady is None or any(value.size == 0 for value in steady.outputs):
        return None
    for later in range(MOST_STARTS + 1, MOST_STARTS + 1 + period):
        if _form(program(later), counter) != _form(steady, counter):
            return None
    starts: list[Program] = []
    for step in range(MOST_STARTS):
        found = program(step)
        if found is None:
            return None
        if _form(found, counter) == _form(steady, counter):
            break
        starts.append(found)
    return Phases(frames, steady, tuple(starts), counter)


def _form(program: Program | None, counter: str) -> Hashable:
    """What a program does, whatever its values are called and wherever the counter stands."""
    if program is None:
        return None
    numbers: dict[Value, int] = {}

    def of(value: Value | None) -> Hashable:
        if value is None:
            return None
        if value.constant is not None:
            return value.dtype.str, value.shape, np.ascontiguousarray(value.constant).tobytes()
        return numbers.setdefault(value.root, len(numbers)), value.dtype.str, value.shape

    inputs = tuple(of(value) for value in program.inputs if value.name != counter)
    operations = tuple(
        (
            operation.kind,
            tuple(map(of, operation.inputs)),
            tuple(map(of, operation.outputs)),
            repr(sorted(operation.attributes.items())),
        )
        for operation in program.operations
    )
    # The counter itself is the only answer that follows the step.
    answers = tuple(of(value) for value in program.outputs if not _counts(value))
    return inputs, operations, answers


def _counts(value: Value) -> bool:
    return value.constant is not None and value.dtype == np.int64 and value.shape == (1,)
