"""What a captured graph is called by: its contract, from the capture and what a person says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rnn_edge.contract import AxisLimits, GraphContract, StatePair, TensorSpec
from rnn_edge.errors import ExportError

if TYPE_CHECKING:
    import onnx_ir as ir

    from rnn_edge.capture import Capture

_BATCH = "batch"
MODEL_FILE = "model.onnx"


@dataclass(frozen=True)
class Description:
    """What a person knows about a module and no capture can find out."""

    states: Mapping[str, str]
    limits: Mapping[str, AxisLimits]
    bounds: Mapping[str, tuple[float, float]]
    meanings: Mapping[str, str]


def describe(captured: Capture, description: Description) -> GraphContract:
    """The contract of the captured graph; the limits of its axes are not known yet."""
    known = {argument.name for argument in captured.arguments.tensors}
    known |= {str(value.name) for value in captured.model.graph.outputs}
    for what, names in (
        ("states", [*description.states, *description.states.values()]),
        ("bounds", description.bounds),
        ("meanings", description.meanings),
    ):
        unknown = sorted(set(names) - known)
        if unknown:
            raise ExportError(
                f"{what} must name inputs or outputs ({', '.join(sorted(known))}), "
                f"got {', '.join(unknown)}. Correct the names."
            )
    inputs = []
    for argument in captured.arguments.tensors:
        role = captured.roles.get(argument.name)
        low, high = description.bounds.get(
            argument.name, (role.minimum, role.maximum) if role else (None, None)
        )
        shape = argument.example.shape
        inputs.append(
            TensorSpec(
                argument.name,
                str(argument.example.dtype).removeprefix("torch."),
                tuple(a or int(n) for a, n in zip(argument.axes, shape, strict=True)),
                description.meanings.get(argument.name, ""),
                low,
                high,
                role.lengths_of if role else None,
            )
        )
    outputs = [_describe_output(value, description) for value in captured.model.graph.outputs]
    kept = {slot.name: slot for slot in captured.arguments.kept.slots}
    states = {**description.states, **{slot.name: slot.output for slot in kept.values()}}
    pairs = [
        _pair_states(inputs, source, target, kept[source].initial if source in kept else None)
        for source, target in states.items()
    ]
    return GraphContract(MODEL_FILE, tuple(inputs), tuple(outputs), tuple(pairs))


def _describe_output(value: ir.Value, description: Description) -> TensorSpec:
    assert value.name is not None
    assert value.dtype is not None
    assert value.shape is not None
    dims = tuple(dim if isinstance(dim, int) else str(dim.value) for dim in value.shape)
    meaning = description.meanings.get(value.name, "")
    return TensorSpec(value.name, str(value.dtype.numpy()), dims, meaning)


def _pair_states(
    inputs: Sequence[TensorSpec], source: str, target: str, initial: float | None
) -> StatePair:
    """``initial`` is known of a state that the module keeps on itself: rows may share that, as
    they may where there is one row."""
    dims = next(spec.dims for spec in inputs if spec.name == source)
    batch_axes = [place for place, dim in enumerate(dims) if isinstance(dim, str)]
    has_rows = any(_BATCH in spec.dims for spec in inputs)
    if len(batch_axes) != 1 and (batch_axes or (initial is None and has_rows)):
        raise ExportError(
            f"state {source!r} must have one named axis, its batch, got {list(dims)}. Correct axes."
        )
    return StatePair(source, target, batch_axes[0] if batch_axes else None, initial or 0.0)


def merge_limits(
    found: Mapping[str, AxisLimits], given: Mapping[str, AxisLimits]
) -> dict[str, AxisLimits]:
    """The limits that forward() has, and within them those that a person wishes."""
    merged = {}
    for axis, limits in found.items():
        wish = given.get(axis, AxisLimits())
        upper = [size for size in (limits.maximum, wish.maximum) if size is not None]
        merged[axis] = AxisLimits(
            minimum=max(limits.minimum, wish.minimum),
            maximum=min(upper) if upper else None,
            trained_maximum=wish.trained_maximum,
        )
    return merged
