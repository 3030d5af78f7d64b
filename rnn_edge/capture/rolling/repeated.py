"""Lists of one tensor, as many times as an axis is long: torch.stack([z] * steps)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.fx import Node

from rnn_edge.capture.rolling.trace import Place, Source, Step

_ATEN = torch.ops.aten


def as_repeated(node: Node, where: Mapping[Node, Place | Source], first: int) -> list[Step] | None:
    """torch.stack and torch.cat of one tensor as the steps, from ``first`` on, that repeat it."""
    if node.target not in (_ATEN.stack.default, _ATEN.cat.default):
        return None
    parts, dim = node.args[0], node.args[1] if len(node.args) > 1 else 0
    assert isinstance(parts, (list, tuple))
    assert isinstance(dim, int)
    if len(parts) < 2 or len({where[part] for part in parts if isinstance(part, Node)}) > 1:
        return None
    (part, *_), value = parts, node.meta["val"]
    assert isinstance(part, Node)
    assert isinstance(value, Tensor)
    x: Place | Source = where[part]
    steps: list[Step] = []
    if node.target is _ATEN.stack.default:
        steps.append(Step(_ATEN.unsqueeze.default, (x, dim), {}))
        x = Place(first)
    counts = [1] * value.dim()
    counts[dim] = len(parts)
    return [*steps, Step(_ATEN.repeat.default, (x, tuple(counts)), {})]
