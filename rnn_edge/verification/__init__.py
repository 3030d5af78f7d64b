"""Does a graph give the module's answers? Against the module itself, or its golden data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnn_edge.bundle import Bundle
from rnn_edge.extras import import_extra
from rnn_edge.verification.golden import replay
from rnn_edge.verification.report import OutputParity, ParityReport

if TYPE_CHECKING:
    from torch import nn

__all__ = ["OutputParity", "ParityReport", "verify"]


def verify(
    bundle: Bundle | str | Path,
    module: nn.Module | None = None,
    *,
    args: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    provider: str = "cpu",
) -> ParityReport:
    """Check a bundle: replay its golden data and, with ``module``, compare it with that module.

    The golden data need no torch. ``args`` and ``kwargs`` are example arguments for forward(),
    needed only where it takes nested ones. Raises VerificationError at the first wrong answer.
    """
    if not isinstance(bundle, Bundle):
        bundle = Bundle.load(bundle)
    report = replay(bundle, provider)
    if module is None:
        return report
    import_extra("torch")
    import_extra("onnx_ir")
    from rnn_edge.verification.against_module import verify_bundle_against_module

    return verify_bundle_against_module(bundle, module, args, kwargs, provider)
