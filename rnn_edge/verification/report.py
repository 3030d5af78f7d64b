"""The evidence that a graph gives the module's answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class OutputParity:
    """The worst case of one output, that with the largest error in units of its tolerance.

    ``error`` is the largest absolute difference from float64 torch; ``noise`` is what the module's
    own dtype loses (torch's own error, or the rounding of the answer) in the case where it loses
    most, ``tolerance`` what is allowed then, though each case is held to its own at the export;
    ``sizes`` are those of the axes in the worst case. For integer and boolean outputs all are
    counts of wrong elements.
    """

    name: str
    error: float
    noise: float
    tolerance: float
    sizes: Mapping[str, int]


@dataclass(frozen=True)
class ParityReport:
    """``oracle`` says what the answers were compared with, ``cases`` at which axis sizes."""

    oracle: str
    cases: tuple[Mapping[str, int], ...]
    outputs: tuple[OutputParity, ...]

    @property
    def worst_ratio(self) -> float:
        """The largest error in units of its tolerance: at most 1."""
        return max(o.error / o.tolerance if o.tolerance else 0.0 for o in self.outputs)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class ChunkParity:
    """The worst case of one output, over all chunkings, as in OutputParity.

    ``bitwise`` says whether every chunking gave the very bits of the whole-sequence graph.
    """

    name: str
    error: float
    noise: float
    tolerance: float
    sizes: Mapping[str, int]
    chunks: str
    bitwise: bool


@dataclass(frozen=True)
class StreamReport:
    """``chunkings`` in words; ``latency`` in frames of the output."""

    chunkings: tuple[str, ...]
    latency: int
    outputs: tuple[ChunkParity, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Drift:
    """One output after so many ``steps`` of a sequence, in the way that ``chunks`` says.

    ``error`` is the largest absolute difference from float64 torch over all of them, ``whole``
    that of the whole-sequence graph, ``noise`` what the module's own dtype loses there;
    ``difference`` is the largest difference between stream and whole sequence.
    """

    name: str
    steps: int
    chunks: str
    error: float
    whole: float
    noise: float
    tolerance: float
    difference: float


@dataclass(frozen=True)
class Verification(ParityReport):
    """What ``verify`` found of a bundle: of its whole-sequence graph, streaming, pipeline.onnx.

    ``golden_calls`` is how many calls of generate.onnx and pipeline.onnx were right, by the graph.
    ``golden_chunks`` and ``chunks`` are None for a bundle without a stream graph, the second one
    also without the module; ``drift`` is empty unless it was asked for.
    """

    golden_chunks: ParityReport | None = None
    chunks: StreamReport | None = None
    drift: tuple[Drift, ...] = ()
    golden_calls: Mapping[str, int] = field(default_factory=dict)
