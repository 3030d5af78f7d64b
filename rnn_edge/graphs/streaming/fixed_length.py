"""Graphs for sequences of one length: their axis of time gets a name."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from rnn_edge.contract import GraphContract, TensorSpec
from rnn_edge.errors import StreamError

_NAME = "sequence"


def loosen(
    model: ir.Model, contract: GraphContract, axis: str
) -> tuple[GraphContract, str, int | None]:
    """(contract, the axis' name, its length) where ``axis`` is a place such as ``x.1``.

    Several inputs that have time are given as ``x.1,mask.1``. A name of an axis stays as it is.
    """
    if any(axis in spec.dims for spec in contract.inputs) or "." not in axis:
        return contract, axis, None
    places, length = _places(contract, axis)
    taken = {dim for spec in contract.inputs for dim in spec.dims}
    name = _NAME if _NAME not in taken else f"{_NAME}.1"
    values = {value.name: value for value in model.graph.inputs}
    inputs = []
    for spec in contract.inputs:
        dims = list(spec.dims)
        for owner, place in places:
            if owner == spec.name:
                dims[place] = name
        values[spec.name].shape = ir.Shape(dims)
        inputs.append(replace(spec, dims=tuple(dims)))
    return replace(contract, inputs=tuple(inputs)), name, length


def length_at(contract: GraphContract, axis: str) -> int | None:
    """The length of the sequences where ``axis`` is a place, None where it is a name."""
    named = any(axis in spec.dims for spec in contract.inputs) or "." not in axis
    return None if named else _places(contract, axis)[1]


def _places(contract: GraphContract, axis: str) -> tuple[list[tuple[str, int]], int]:
    """Where inputs have time, and how much of it."""
    places = [_place(contract, each.strip()) for each in axis.split(",")]
    sizes = {contract.input(name).dims[place] for name, place in places}
    length = sizes.pop()
    if sizes or not isinstance(length, int):
        raise StreamError(
            f"axes of time must have one fixed length, {axis} have not. Name one axis a tensor."
        )
    return places, length


def _place(contract: GraphContract, text: str) -> tuple[str, int]:
    name, _, number = text.rpartition(".")
    found: TensorSpec | None = next((s for s in contract.inputs if s.name == name), None)
    if found is None or not number.isdigit() or int(number) >= len(found.dims):
        raise StreamError(
            f"an axis must be a name, or an input and a place such as x.1, got {text!r}. "
            f"Inputs are {', '.join(map(str, contract.inputs))}."
        )
    return name, int(number)
