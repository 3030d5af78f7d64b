"""Operators that move axes and leave every element as it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from rnn_edge.graphs.streaming.derivation import Derivation
from rnn_edge.graphs.streaming.kinds import Count, Counted, Static, Timed, at, constant
from rnn_edge.graphs.streaming.leads import lead_after
from rnn_edge.graphs.streaming.rules.counting import fill_frames, items_of, shape_of_chunk
from rnn_edge.graphs.streaming.rules.grouping import derive_grouping
from rnn_edge.graphs.streaming.rules.pointwise import combine_still

# Stands for sizes that are known by name alone; prime, so that products tell them apart.
_PRIMES = (10007, 10009, 10037, 10039, 10061, 10067, 10069, 10079)


def derive_transpose(derivation: Derivation, node: ir.Node) -> None:
    kind = derivation.kind(node.inputs[0])
    if isinstance(kind, Timed):
        rank = derivation.rank(node.outputs[0])
        given = node.attributes.get("perm")
        order = list(given.as_ints()) if given is not None else list(reversed(range(rank)))
        kind = moved(derivation, node, kind, order.index(kind.axis))
    derivation.kinds[node.outputs[0]] = kind


def moved(derivation: Derivation, node: ir.Node, kind: Timed, axis: int) -> Timed:
    """``kind`` with its frames along ``axis``, and what stands before them moved alike."""
    return replace(kind, axis=axis, lead=lead_after(derivation, node, node.outputs[0]))


def refuse_lead_value(derivation: Derivation, kind: Timed) -> None:
    if isinstance(kind.lead, ir.Value):
        derivation.refuse("frames put before the first must go straight into what uses them")


def derive_unsqueeze(derivation: Derivation, node: ir.Node) -> None:
    kind = derivation.kind(node.inputs[0])
    if isinstance(kind, Timed):
        rank = derivation.rank(node.outputs[0])
        axes = {axis % rank for axis in _axes(derivation, node, rank)}
        left = [axis for axis in range(rank) if axis not in axes]
        kind = moved(derivation, node, kind, left[kind.axis])
    derivation.kinds[node.outputs[0]] = kind


def derive_squeeze(derivation: Derivation, node: ir.Node) -> None:
    value = node.inputs[0]
    kind = derivation.kind(value)
    if isinstance(kind, Timed):
        assert value is not None
        dims = derivation.dims(value)
        given = _axes(derivation, node, len(dims))
        axes = (
            {a % len(dims) for a in given} if given else {n for n, d in enumerate(dims) if d == 1}
        )
        if kind.axis in axes:
            derivation.refuse("it takes a sequence for a single step")
        kind = moved(derivation, node, kind, kind.axis - sum(axis < kind.axis for axis in axes))
    derivation.kinds[node.outputs[0]] = kind


def _axes(derivation: Derivation, node: ir.Node, rank: int) -> list[int]:
    if "axes" in node.attributes:
        return list(node.attributes["axes"].as_ints())
    array = derivation.array(node.inputs[1]) if len(node.inputs) > 1 else None
    return [] if array is None else [int(axis) for axis in array.ravel()]


def derive_expand(derivation: Derivation, node: ir.Node) -> None:
    value, shape = node.inputs
    kind = derivation.kind(value)
    (output,) = node.outputs
    if not isinstance(kind, Timed):
        if isinstance(kind, Counted):
            derivation.kinds[output] = kind
        else:
            fill_frames(derivation, node, 1)
        return
    assert value is not None
    items = items_of(derivation, shape)
    if items is None:
        derivation.refuse("the shape that it makes is not known")
    axis = kind.axis + max(len(items) - derivation.rank(value), 0)
    place = kind.axis + len(items) - derivation.rank(value)
    if place >= 0 and items[place] is not None:
        node.replace_input_with(1, shape_of_chunk(derivation, shape, place, kind.clock.frames))
    refuse_lead_value(derivation, kind)
    derivation.kinds[output] = replace(kind, axis=axis)


def derive_tile(derivation: Derivation, node: ir.Node) -> None:
    value, repeats = node.inputs
    kind = derivation.kind(value)
    items = items_of(derivation, repeats)
    if not isinstance(kind, Timed) and (items is None or any(_follows_time(i) for i in items)):
        assert value is not None
        if items is None or any(
            _follows_time(item) and dim != 1
            for item, dim in zip(items, derivation.dims(value), strict=True)
        ):
            derivation.refuse("it needs the length of the whole sequence")
        fill_frames(derivation, node, 1)
        return
    if isinstance(kind, Timed):
        times = None if items is None else items[kind.axis if len(items) > 1 else 0]
        if not isinstance(times, np.ndarray) or not np.all(times == 1):
            derivation.refuse("it repeats the sequence")
    derivation.kinds[node.outputs[0]] = kind


def derive_reshape(derivation: Derivation, node: ir.Node) -> None:
    value, shape = node.inputs
    kind = derivation.kind(value)
    (output,) = node.outputs
    if isinstance(kind, Counted):
        derivation.kinds[output] = kind
        return
    if not isinstance(kind, Timed):
        items = items_of(derivation, shape)
        if items is not None and any(_follows_time(item) for item in items):
            derivation.refuse("it needs the length of the whole sequence")
        derivation.kinds[output] = kind
        return
    assert value is not None
    items = items_of(derivation, shape)
    if items is None:
        derivation.refuse("the shape that it makes is not known")
    if kind.context:
        derivation.refuse("frames that came before are among its own")
    if derive_grouping(derivation, node, kind, items):
        return
    place = _find_frames(derivation, value, kind, items)
    target = derivation.array(shape)
    if (kind.outer, kind.inner) == (place.outer, place.inner):
        items = _fill_open(derivation.dims(value), kind, items, place)
    keeps = target is not None and target.ravel()[place.axis] in (0, -1)
    numbers = _target_of_chunk(derivation, value, items, place)
    # Of no elements a size that is left open cannot be told.
    if numbers is not None and (kind.clock.may_pause or not keeps):
        node.replace_input_with(1, derivation.numbers(*numbers))
        node.attributes.pop("allowzero", None)
    elif place.plain and not keeps:
        node.replace_input_with(1, shape_of_chunk(derivation, shape, place.axis, kind.clock.frames))
        others = [item for axis, item in enumerate(items) if axis != place.axis]
        if kind.clock.may_pause:
            if any(isinstance(item, np.ndarray) and item[-1] <= 0 for item in others):
                derivation.refuse("a chunk may bring no frame, and the shape leaves sizes open")
            # A 0 is the number of frames then, not that of the input's axis.
            node.attributes["allowzero"] = ir.AttrInt64("allowzero", 1)
    elif not place.plain and not keeps:
        node.replace_input_with(
            1, shape_of_chunk(derivation, shape, place.axis, derivation.numbers(-1))
        )
    refuse_lead_value(derivation, kind)
    derivation.kinds[output] = place


def _fill_open(
    dims: list[int | str | None], kind: Timed, items: tuple[Count | str | None, ...], place: Timed
) -> tuple[Count | str | None, ...]:
    """``items`` with the number that -1 stands for, which is not known where there is no frame."""
    # A size that is not known is one that stays what it is.
    dims = [f"?{axis}" if dim is None else dim for axis, dim in enumerate(dims)]
    still = [dim for axis, dim in enumerate(dims) if axis != kind.axis]
    rest = [
        dims[axis] if isinstance(item, np.ndarray) and item[0] == 0 and axis < len(dims) else item
        for axis, item in enumerate(items)
        if axis != place.axis
    ]
    numbers = [int(np.ravel(item)[0]) for item in rest if isinstance(item, np.ndarray | int)]
    names = sorted(item for item in rest if isinstance(item, str))
    if numbers.count(-1) != 1 or 0 in numbers or len(numbers) + len(names) < len(rest):
        return items
    if names != sorted(dim for dim in still if isinstance(dim, str)):
        return items
    size = _product([dim for dim in still if isinstance(dim, int)]) // -_product(numbers)
    return tuple(
        constant(size)
        if axis != place.axis and isinstance(item, np.ndarray) and item[0] == -1
        else item
        for axis, item in enumerate(items)
    )


def _target_of_chunk(
    derivation: Derivation, value: ir.Value, items: tuple[Count | str | None, ...], place: Timed
) -> list[int] | None:
    """The shape in numbers: -1 for the frames, 0 for an axis that stays what it is."""
    dims, target = derivation.dims(value), []
    for axis, item in enumerate(items):
        if axis == place.axis:
            target.append(-1)
        elif isinstance(item, np.ndarray) and item[0] > 0 and not _follows_time(item):
            target.append(int(item[0]))
        elif axis < len(dims) and (_is_zero(item) or _is_name(item, dims[axis])):
            target.append(0)
        else:
            return None
    return target


def derive_flatten(derivation: Derivation, node: ir.Node) -> None:
    value = node.inputs[0]
    kind = derivation.kind(value)
    if isinstance(kind, Timed):
        assert value is not None
        axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 1
        dims = derivation.dims(value)
        if kind.axis != 0 or axis != 1 or not kind.plain:
            derivation.refuse("it merges time with other axes")
        del dims
    derivation.kinds[node.outputs[0]] = kind


def _is_zero(item: Count | str | None) -> bool:
    return isinstance(item, np.ndarray) and bool(np.all(item == 0))


def _is_name(item: Count | str | None, name: int | str | None) -> bool:
    return isinstance(item, str) and item == name


def _find_frames(
    derivation: Derivation, value: ir.Value, kind: Timed, items: tuple[Count | str | None, ...]
) -> Timed:
    """Where a Reshape of ``value`` to ``items`` puts the frames."""
    dims: list[int | str | None] = derivation.dims(value)
    dims[kind.axis : kind.axis + 1] = [*kind.outer, None, *kind.inner]
    place = kind.axis + len(kind.outer)
    if any(dim is None for n, dim in enumerate(dims) if n != place):
        derivation.refuse(f"the shape of {value.name} must be known")
    samples = (96, 126) if derivation.fixed is None else (derivation.fixed - 1,)
    span = slice(kind.axis, place + 1 + len(kind.inner))
    rows = derivation.merged_rows
    found = [_locate(dims, span, place, kind.length, items, sample, rows) for sample in samples]
    if found[0] is None or found[0] != found[-1]:
        derivation.refuse("it merges or splits time in a way that is not known to be causal")
    axis, outer, inner = found[0]
    return replace(kind, axis=axis, outer=outer, inner=inner)


_Dims = tuple[int | str, ...]


def _locate(
    dims: list[int | str | None],
    span: slice,
    place: int,
    length: Count,
    items: tuple[Count | str | None, ...],
    sample: int,
    merged: Mapping[str, _Dims],
) -> tuple[int, _Dims, _Dims] | None:
    """(axis, outer, inner) in a shape of ``items`` of the axis ``place`` among ``dims``.

    Those of ``span`` are one axis in the value itself; ``merged`` has the sizes of axes that are
    merged of others.
    """
    sizes: dict[str, int] = {}

    def number(item: Count | str | int | None) -> int | None:
        if isinstance(item, np.ndarray):
            return at(item, sample + 1)
        if isinstance(item, str) and item in merged:
            return _product([number(size) or 1 for size in merged[item]])
        if isinstance(item, str):
            return sizes.setdefault(item, _PRIMES[len(sizes) % len(_PRIMES)])
        return item

    frames = at(length, sample + 1)
    before = [frames if n == place else number(dim) or 1 for n, dim in enumerate(dims)]
    own = [*before[: span.start], _product(before[span]), *before[span.stop :]]
    after = _target(own, [number(item) for item in items])
    if _product(before) != _product(after):
        return None
    stride, below = _product(before[place + 1 :]), 1
    for axis in reversed(range(len(after))):
        size = after[axis]
        if below <= stride and stride * frames <= below * size:
            inner = _trailing(dims[place + 1 :], before[place + 1 :], stride, below)
            whole = below * size
            outer = _leading(dims[:place], before[:place], whole, stride * frames)
            return None if inner is None or outer is None else (axis, outer, inner)
        below *= size
    return None


def _trailing(
    dims: list[int | str | None], sizes: list[int], stride: int, below: int
) -> _Dims | None:
    """The axes right behind time whose product is ``stride / below``."""
    taken: list[int | str] = []
    left = stride
    for dim, size in zip(dims, sizes, strict=True):
        if left == below:
            break
        left //= size
        taken += [dim] if dim is not None and dim != 1 else []
    return tuple(taken) if left == below else None


def _leading(dims: list[int | str | None], sizes: list[int], whole: int, part: int) -> _Dims | None:
    """The axes right before time whose product is ``whole / part``."""
    taken: list[int | str] = []
    for dim, size in zip(reversed(dims), reversed(sizes), strict=True):
        if part >= whole:
            break
        part *= size
        taken = [*([dim] if dim is not None and dim != 1 else []), *taken]
    return tuple(taken) if part == whole else None


def _target(before: list[int], items: list[int | None]) -> list[int]:
    """The shape asked for, its 0, -1 and one unknown size filled in."""
    after = [before[n] if item == 0 and n < len(before) else item for n, item in enumerate(items)]
    open_places = [n for n, item in enumerate(after) if item in (None, -1)]
    rest = _product([item for item in after if item is not None and item != -1])
    if len(open_places) == 1 and rest and _product(before) % rest == 0:
        after[open_places[0]] = _product(before) // rest
    return [item if item is not None else -1 for item in after]


def _product(sizes: list[int]) -> int:
    return math.prod(sizes)


def _follows_time(item: Count | str | None) -> bool:
    return isinstance(item, np.ndarray) and not np.all(item == item[-1])


def derive_split(derivation: Derivation, node: ir.Node) -> None:
    value = node.inputs[0]
    kind = derivation.kind(value)
    assert value is not None
    if isinstance(kind, Timed):
        axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
        if axis % derivation.rank(value) == kind.axis:
            derivation.refuse("it splits the sequence")
    for output in node.outputs:
        derivation.kinds[output] = kind


def derive_still(derivation: Derivation, node: ir.Node) -> None:
    """An operator that is fine as long as nothing has frames."""
    kinds = [derivation.kind(value) for value in node.inputs]
    if any(isinstance(kind, Timed | Counted) for kind in kinds):
        derivation.refuse("it has no streaming form")
    for output in node.outputs:
        derivation.kinds[output] = combine_still([*kinds, Static()])
