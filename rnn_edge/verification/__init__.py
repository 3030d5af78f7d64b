"""Does a graph give the module's answers? Against the module itself, or its golden data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnn_edge.bundle import Bundle
from rnn_edge.errors import InputError
from rnn_edge.extras import import_extra
from rnn_edge.verification.golden import replay
from rnn_edge.verification.golden_calls import replay_golden_calls
from rnn_edge.verification.golden_chunks import replay_golden_chunks
from rnn_edge.verification.report import OutputParity, ParityReport, Verification

if TYPE_CHECKING:
    from torch import nn

__all__ = ["OutputParity", "ParityReport", "Verification", "verify"]


def verify(
    bundle: Bundle | str | Path,
    module: nn.Module | None = None,
    *,
    args: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    provider: str = "cpu",
    horizon: int | None = None,
) -> Verification:
    """Check a bundle: replay its golden data and, with ``module``, compare it with that module.

    The golden data, those of generate.onnx and pipeline.onnx among them, need no torch. ``args``
    and ``kwargs`` are example arguments for forward(), needed only where it takes nested ones. A
    stream graph is checked as well: its golden chunks and, with ``module``, random chunks. With
    ``horizon`` a stream is compared with float64 torch after 10, 100, 1,000 ... and ``horizon``
    steps. Raises VerificationError at the first wrong answer.
    """
    if not isinstance(bundle, Bundle):
        bundle = Bundle.load(bundle)
    if horizon is not None:
        _check_horizon(bundle, module, horizon)
    report = replay(bundle, provider)
    golden_chunks = replay_golden_chunks(bundle, provider)
    golden_calls = replay_golden_calls(bundle, provider)
    if module is None:
        found = Verification(report.oracle, report.cases, report.outputs, golden_chunks)
        return replace(found, golden_calls=golden_calls)
    import_extra("torch")
    import_extra("onnx_ir")
    from rnn_edge.verification.against_module import verify_bundle_against_module

    found = verify_bundle_against_module(bundle, module, args, kwargs, provider, horizon)
    return replace(found, golden_chunks=golden_chunks, golden_calls=golden_calls)


def _check_horizon(bundle: Bundle, module: nn.Module | None, horizon: int) -> None:
    if horizon < 1 or module is None:
        raise InputError(
            "horizon must be 1 or more steps, compared with a module; got "
            f"{horizon} and {'no' if module is None else 'a'} module. Give both."
        )
    if "stream" not in bundle.contract.graphs:
        reason = (bundle.evidence.get("stream") or {}).get("refused", "not known")
        raise InputError(f"horizon must be left out for a bundle without a stream graph: {reason}")
