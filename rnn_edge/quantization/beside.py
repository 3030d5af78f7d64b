"""The int8 bundle beside a float32 one: found there, or made and kept only if it is wanted."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rnn_edge.bundle import Bundle
from rnn_edge.errors import QuantizationError
from rnn_edge.quantization.quantizing import quantize
from rnn_edge.runtime.tuning import quantised_path


@dataclass(frozen=True)
class Beside:
    """``drop`` is what ``bundle`` loses, as quantize measures it; ``target`` is its place."""

    bundle: Bundle
    drop: float
    target: Path

    def keep(self) -> None:
        """Put it in its place, if it is not there already."""
        if not self.target.exists():
            self.bundle.path.rename(self.target)


@contextmanager
def quantised_beside(source: Bundle, max_drop: float) -> Iterator[Beside]:
    """The bundle ``NAME-int8`` beside ``source``, made if there is none; one that was made and not
    kept is gone afterwards.

    Raises QuantizationError where it loses more than ``max_drop``, was made from another bundle, or
    there is nothing to quantise; BundleError where it is damaged.
    """
    target = quantised_path(source)
    if target.exists():
        yield _found(Bundle.load(target), source, max_drop)
        return
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as staging:
        made = quantize(source, Path(staging) / target.name, max_drop=max_drop)
        yield Beside(made.bundle, made.drop, target)


def _found(bundle: Bundle, source: Bundle, max_drop: float) -> Beside:
    evidence = bundle.evidence.get("quantization") or {}
    if (evidence.get("weights"), evidence.get("source")) != ("int8", source.checksum):
        raise QuantizationError(
            f"{bundle.path} must be what `rnn-edge quantize` makes of {source.path} with int8 "
            "weights, it comes from another bundle. Quantise again, or move it away."
        )
    if not evidence["drop"] <= max_drop:
        raise QuantizationError(
            f"{bundle.path} must lose at most {max_drop:.3g}, it loses {evidence['drop']:.3g}. "
            "Raise --max-drop."
        )
    return Beside(bundle, float(evidence["drop"]), bundle.path)
