"""A Reshape that makes one frame of several: ``x.view(batch, time // k, k * features)``."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from rnn_edge.graphs.streaming.derivation import Derivation
from rnn_edge.graphs.streaming.kinds import Count, Timed, at
from rnn_edge.graphs.streaming.rules.windows import gather_windows

_Items = tuple[Count | str | None, ...]


def derive_grouping(derivation: Derivation, node: ir.Node, kind: Timed, items: _Items) -> bool:
    """Join frames that come one after another; False where ``node`` does something else."""
    value, (output,) = node.inputs[0], node.outputs
    assert value is not None
    frames, axis = _frames_joined(derivation, value, kind, items), kind.axis
    if frames is None:
        return False
    ready, clock = gather_windows(derivation, value, kind, frames - 1, frames)
    rest = [int(item[0]) for item in items[axis + 1 :] if isinstance(item, np.ndarray)]
    joined = derivation.emit(
        "Reshape", [ready, derivation.numbers(*[0] * axis, -1, *rest)], like=value
    )
    after = replace(
        kind, clock=clock, length=kind.length // frames, offset=0, lead=None, first=None, truth=None
    )
    derivation.replace(output, joined, after)
    return True


def _frames_joined(
    derivation: Derivation, value: ir.Value, kind: Timed, items: _Items
) -> int | None:
    """How many frames make one, where all axes before time's stay what they are."""
    dims, axis = derivation.dims(value), kind.axis
    if not kind.plain or kind.context or len(items) <= axis:
        return None
    for dim, item in zip(dims[:axis], items[:axis], strict=True):
        if isinstance(item, np.ndarray):
            kept = bool(np.all(item == item[0])) and item[0] in (dim, 0)
        else:
            kept = item is not None and item == dim
        if not kept:
            return None
    rest = items[axis + 1 :]
    if not all(isinstance(item, np.ndarray) and item[0] > 0 for item in rest):
        return None
    if not all(np.all(item == item[0]) for item in rest if isinstance(item, np.ndarray)):
        return None
    own = math.prod(dim if isinstance(dim, int) else 0 for dim in dims[axis + 1 :])
    new = math.prod(int(item[0]) for item in rest if isinstance(item, np.ndarray))
    if not own or new % own or new // own < 2:
        return None
    frames, place = new // own, items[axis]
    if not isinstance(place, np.ndarray):
        return None
    if derivation.fixed is not None:
        whole = at(kind.length, derivation.fixed)
        return frames if at(place, derivation.fixed) in (-1, whole // frames) else None
    fits = kind.length % frames == 0
    right = np.all(place == -1) or np.all(place[fits] == kind.length[fits] // frames)
    return frames if right else None
