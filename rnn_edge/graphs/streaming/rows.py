"""Axes that hold several rows of each sequence: ``x.reshape(time, batch * nodes, features)``."""

from __future__ import annotations

import math

import onnx_ir as ir

# Stands for sizes that are known by name alone; prime, so that products tell them apart.
_PRIMES = (10007, 10009, 10037, 10039, 10061, 10067, 10069, 10079)

Dims = tuple[int | str | None, ...]


def find_merged_rows(graph: ir.Graph, batch: str) -> dict[str, tuple[int | str, ...]]:
    """Of each axis that a Reshape merges the batch into: the sizes, in order, ``batch`` among them.

    An axis that is made in any other way, or of the same name in two orders, is left out: which
    of its rows are of one sequence is not known.
    """
    found: dict[str, set[tuple[int | str, ...] | None]] = {}
    for node in graph:
        known = {dim for value in node.inputs for dim in _dims(value)}
        for output in node.outputs:
            for axis, dim in enumerate(_dims(output)):
                if isinstance(dim, str) and dim not in known:
                    found.setdefault(dim, set()).add(_merged(node, axis, batch))
    given = {dim for value in graph.inputs for dim in _dims(value)}
    return {
        name: sizes
        for name, ways in found.items()
        if len(ways) == 1 and name not in given and (sizes := next(iter(ways))) is not None
    }


def _dims(value: ir.Value | None) -> Dims:
    if value is None or value.shape is None:
        return ()
    return tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape)


def _merged(node: ir.Node, axis: int, batch: str) -> tuple[int | str, ...] | None:
    """The axes of a Reshape's input that its output has as ``axis``: the batch and numbers."""
    if node.op_type != "Reshape":
        return None
    before, after = _dims(node.inputs[0]), _dims(node.outputs[0])
    start = _span(before, after[:axis])
    end = _span(before[::-1], after[axis + 1 :][::-1])
    if start is None or end is None:
        return None
    sizes = before[start : len(before) - end]
    if sizes.count(batch) != 1 or not all(isinstance(n, int) or n == batch for n in sizes):
        return None
    return tuple(size for size in sizes if size is not None and size != 1)


def _span(dims: Dims, wanted: Dims) -> int | None:
    """How many of the first of ``dims`` hold as much as ``wanted``."""
    names = sorted({dim for dim in (*dims, *wanted) if isinstance(dim, str)})
    if None in wanted or len(names) > len(_PRIMES):
        return None
    primes = dict(zip(names, _PRIMES, strict=False))

    def size(part: Dims) -> int:
        return math.prod(primes[dim] if isinstance(dim, str) else dim or 0 for dim in part)

    whole = size(wanted)
    return next((n for n in range(len(dims) + 1) if size(dims[:n]) == whole), None)
