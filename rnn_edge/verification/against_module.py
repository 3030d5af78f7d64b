"""Compare a graph with the module it came from; a failure names output, shape and layer."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from rnn_edge.bundle import Bundle
from rnn_edge.capture import evaluating
from rnn_edge.capture.arguments import Arguments, TensorArgument, read_arguments
from rnn_edge.capture.preparation import prepare, unwrap
from rnn_edge.capture.scripts import stand_in_for
from rnn_edge.capture.state_discovery import find_kept_state
from rnn_edge.contract import GraphContract
from rnn_edge.errors import VerificationError
from rnn_edge.models.log_mel import put_on_samples
from rnn_edge.runtime import Session
from rnn_edge.runtime.stream_graph import STREAM
from rnn_edge.sound_features import read_sound_features
from rnn_edge.verification.cases import Case
from rnn_edge.verification.chunks import check_stream
from rnn_edge.verification.consecutive import check_consecutive
from rnn_edge.verification.drift import measure_drift
from rnn_edge.verification.golden import read_golden_set
from rnn_edge.verification.localization import compare_layers
from rnn_edge.verification.oracle import Oracle
from rnn_edge.verification.parity import (
    MismatchError,
    Parity,
    cases_without_padding,
    check_parity,
)
from rnn_edge.verification.report import Drift, StreamReport, Verification
from rnn_edge.verification.single_steps import check_single_steps


def verify_against_module(session: Session, module: nn.Module, arguments: Arguments) -> Parity:
    """Compare at sizes other than the examples'. Raises VerificationError."""
    examples = {argument.name: argument.example.numpy() for argument in arguments.tensors}
    traced = {
        axis: argument.example.shape[dim]
        for argument in arguments.tensors
        for dim, axis in enumerate(argument.axes)
        if axis is not None
    }
    with evaluating(module):
        try:
            oracle = Oracle(module, arguments)
            parity = check_parity(session, oracle, examples, traced)
            check_consecutive(session, module, arguments, oracle, parity.cases)
            return parity
        except MismatchError as mismatch:
            layers = compare_layers(session.path, module, arguments, mismatch.case.inputs)
            wrong = next((each for each in layers if each.first_wrong_step is not None), None)
            where = (
                f"in layer {wrong.layer} at step {wrong.first_wrong_step}"
                if wrong is not None
                else "outside the recurrent layers"
            )
            raise VerificationError(
                f"{str(mismatch).rstrip('.')}; the first difference is {where}. "
                "Nothing that is wrong is to be shipped: write what computes it otherwise.",
                mismatch.place,
                mismatch.case.sizes,
            ) from None


def verify_stream_against_module(
    stream: Session,
    whole: Session,
    module: nn.Module,
    arguments: Arguments,
    cases: Sequence[Case],
    step: Session | None = None,
) -> StreamReport:
    """Compare a stream graph with the module at the sizes of ``cases``.

    ``step`` is the graph for single frames, if there is one. Raises VerificationError.
    """
    examples = {argument.name: argument.example.numpy() for argument in arguments.tensors}
    with evaluating(module):
        oracle = Oracle(module, arguments)
        full = list(cases_without_padding(whole.contract, oracle, examples, cases))
        if step is not None:
            check_single_steps(step, stream.contract, whole, full)
        return check_stream(stream, whole, full)


def verify_bundle_against_module(
    bundle: Bundle,
    module: nn.Module,
    args: Any,
    kwargs: Mapping[str, Any] | None,
    provider: str,
    horizon: int | None,
) -> Verification:
    """As verify_against_module, with the golden inputs as examples where none are given.

    A stream graph is compared in chunks; with ``horizon``, over that many steps as well.
    """
    module, arguments = read_bundle_arguments(bundle, module, args, kwargs)
    whole = Session(bundle, provider, quantised=False)
    parity = verify_against_module(whole, module, arguments)
    chunks: StreamReport | None = None
    drift: tuple[Drift, ...] = ()
    if STREAM in bundle.contract.graphs:
        stream = Session(bundle, provider, graph=STREAM)
        chunks = verify_stream_against_module(stream, whole, module, arguments, parity.cases)
        if horizon is not None:
            examples = {each.name: each.example.numpy() for each in arguments.tensors}
            with evaluating(module):
                oracle = Oracle(module, arguments)
                drift = measure_drift(stream, whole, oracle, examples, horizon)
    return Verification(
        parity.report.oracle, parity.report.cases, parity.report.outputs, None, chunks, drift
    )


def read_bundle_arguments(
    bundle: Bundle, module: nn.Module, args: Any, kwargs: Mapping[str, Any] | None
) -> tuple[nn.Module, Arguments]:
    """The module as it was exported, and the arguments of the bundle's graph."""
    graph, module = bundle.graph(), unwrap(module)
    if isinstance(module, torch.jit.ScriptModule):
        module = stand_in_for(module)  # whose arguments have names
    features = getattr(bundle.contract.front_end, "features", None)
    if features is not None:
        # What stands before it in the graph was no part of it.
        reads_lengths = any(spec.lengths_of is not None for spec in graph.inputs)
        known = read_sound_features(features)
        module = put_on_samples(known, module, reads_lengths, bundle.contract.decoder)
        args = kwargs = None
    if args is None and kwargs is None:
        kwargs = _golden_arguments(graph, bundle, module)
    module = prepare(module, args or (), kwargs)
    return module, _arguments_of(graph, module, args, kwargs)


def _golden_arguments(
    graph: GraphContract, bundle: Bundle, module: nn.Module
) -> dict[str, torch.Tensor]:
    """Golden inputs by name, without the state that the module keeps itself."""
    golden, _ = read_golden_set(bundle.golden_sets()[0], graph)
    kept = graph.state_inputs - set(inspect.signature(module.forward).parameters)
    return {
        name: torch.from_numpy(array.copy()) for name, array in golden.items() if name not in kept
    }


def _arguments_of(
    graph: GraphContract, module: nn.Module, args: Any, kwargs: Mapping[str, Any] | None
) -> Arguments:
    arguments = read_arguments(module, args or (), kwargs, ())
    with evaluating(module), torch.no_grad():
        arguments = find_kept_state(module, arguments)
    names = [argument.name for argument in arguments.tensors]
    expected = [spec.name for spec in graph.inputs]
    if names != expected:
        raise VerificationError(
            f"forward() must take the inputs of the bundle, {', '.join(expected)}, "
            f"got {', '.join(names)}. Give example arguments (args=...), or the right module."
        )
    tensors = tuple(
        TensorArgument(
            argument.name,
            argument.example,
            tuple(dim if isinstance(dim, str) else None for dim in spec.dims),
        )
        for argument, spec in zip(arguments.tensors, graph.inputs, strict=True)
    )
    return replace(arguments, tensors=tensors)
