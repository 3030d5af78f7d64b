"""Resize over time that repeats every frame as often, as ``nn.Upsample`` does by default."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from rnn_edge.graphs.streaming.branches import run_where_frames
from rnn_edge.graphs.streaming.derivation import Derivation
from rnn_edge.graphs.streaming.kinds import Timed
from rnn_edge.graphs.streaming.rules.counting import items_of, shape_of_chunk
from rnn_edge.graphs.streaming.rules.layout import refuse_lead_value
from rnn_edge.graphs.streaming.shifting import unfold

_ROUNDING: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda places: np.ceil(places - 0.5),
    "round_prefer_ceil": lambda places: np.floor(places + 0.5),
}
# Where element i of the result lies among the elements of the input, each ``times`` wide.
_PLACES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "asymmetric": lambda numbers, times: numbers / times,
    **dict.fromkeys(
        ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel"),
        lambda numbers, times: (numbers + 0.5) / times - 0.5,
    ),
}


def derive_resize(derivation: Derivation, node: ir.Node) -> None:
    """Time grows by a whole number, by copies of its frames; other axes are the node's own."""
    value, (output,) = node.inputs[0], node.outputs
    assert value is not None
    kind = derivation.kind(value)
    if not isinstance(kind, Timed):
        derivation.kinds[output] = kind
        return
    kind = unfold(derivation, kind)
    if not kind.plain or kind.context:
        derivation.refuse("frames that came before are among its own")
    refuse_lead_value(derivation, kind)
    places = _axes(derivation, node)
    place = places.index(kind.axis) if kind.axis in places else None
    times = 1 if place is None else _times(derivation, node, kind, place)
    if times > 1 and not _repeats(node, times):
        derivation.refuse("it computes values between frames, the last of which has none behind it")
    clock = derivation.repeated_clock(kind.clock, times) if times > 1 else kind.clock
    if place is not None and _sizes(node) is not None:
        node.replace_input_with(3, shape_of_chunk(derivation, _sizes(node), place, clock.frames))
    derivation.kinds[output] = replace(
        kind, clock=clock, length=kind.length * times, offset=kind.offset * times, first=None,
        truth=None,
    )  # fmt: skip
    empty = derivation.dims(output)
    sizes = items_of(derivation, _sizes(node)) if _sizes(node) is not None else None
    for axis, size in zip(places, sizes or (), strict=False):
        if isinstance(size, np.ndarray):
            empty[axis] = int(size[0])
    empty[kind.axis] = 0
    run_where_frames(derivation, node, clock, [empty])


def _axes(derivation: Derivation, node: ir.Node) -> list[int]:
    """The axes that its scales or sizes are of."""
    assert node.inputs[0] is not None
    rank = derivation.rank(node.inputs[0])
    given = node.attributes.get("axes")
    return [axis % rank for axis in given.as_ints()] if given is not None else list(range(rank))


def _sizes(node: ir.Node) -> ir.Value | None:
    return node.inputs[3] if len(node.inputs) > 3 else None


def _times(derivation: Derivation, node: ir.Node, kind: Timed, place: int) -> int:
    """How many frames become of each."""
    sizes = items_of(derivation, _sizes(node)) if _sizes(node) is not None else None
    scales = derivation.array(node.inputs[2]) if len(node.inputs) > 2 else None
    ratios = None
    if sizes is not None and isinstance(sizes[place], np.ndarray):
        ratios = sizes[place] / np.maximum(kind.length, 1)
    elif _sizes(node) is None and scales is not None:
        ratios = scales.ravel()[place : place + 1]
    if ratios is None or np.any(ratios != ratios[0]) or ratios[0] < 1 or ratios[0] % 1:
        derivation.refuse("how many frames become of each must be a whole number that is known")
    return int(ratios[0])


def _repeats(node: ir.Node, times: int) -> bool:
    """Whether element i of the result is the input's ``i // times``, at any length."""

    def chosen(name: str, default: str) -> str:
        attribute = node.attributes.get(name)
        return default if attribute is None else attribute.as_string()

    places = _PLACES.get(chosen("coordinate_transformation_mode", "half_pixel"))
    rounding = _ROUNDING.get(chosen("nearest_mode", "round_prefer_floor"))
    if chosen("mode", "nearest") != "nearest" or places is None or rounding is None:
        return False
    numbers = np.arange(3 * times)
    return bool(np.array_equal(rounding(places(numbers, times)), numbers // times))
