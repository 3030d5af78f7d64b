"""Where a bundle's graph leaves its module: layer by layer, at the first sizes where it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from rnn_edge.bundle import Bundle
from rnn_edge.capture import evaluating
from rnn_edge.runtime import Session
from rnn_edge.verification.against_module import read_bundle_arguments
from rnn_edge.verification.localization import LayerParity, compare_layers
from rnn_edge.verification.oracle import Oracle
from rnn_edge.verification.parity import MismatchError, check_parity


@dataclass(frozen=True)
class Bisection:
    """``fault`` is the first answer that is off, empty where all are right.

    ``layers`` are compared at ``sizes``, in the graph's order.
    """

    fault: str
    sizes: Mapping[str, int]
    layers: tuple[LayerParity, ...]

    @property
    def first_wrong(self) -> LayerParity | None:
        return next((each for each in self.layers if each.first_wrong_step is not None), None)


def bisect(
    bundle: Bundle, module: nn.Module, args: Any = None, kwargs: Mapping[str, Any] | None = None
) -> Bisection:
    """Compare every recurrent layer of the graph with that of ``module``, step by step."""
    module, arguments = read_bundle_arguments(bundle, module, args, kwargs)
    examples = {argument.name: argument.example.numpy() for argument in arguments.tensors}
    traced = {
        axis: argument.example.shape[dim]
        for argument in arguments.tensors
        for dim, axis in enumerate(argument.axes)
        if axis is not None
    }
    with evaluating(module):
        fault = ""
        try:
            parity = check_parity(
                Session(bundle, quantised=False), Oracle(module, arguments), examples, traced
            )
            case = parity.cases[0]
        except MismatchError as mismatch:
            fault, case = str(mismatch), mismatch.case
        layers = compare_layers(bundle.graph_path(), module, arguments, case.inputs)
    return Bisection(fault, case.sizes, tuple(layers))
