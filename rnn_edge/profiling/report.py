"""Everything that one profile run measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rnn_edge.profiling.byte_limit import ByteLimit
from rnn_edge.profiling.cold_start import ColdStart
from rnn_edge.profiling.engines import SessionEngine
from rnn_edge.profiling.inputs import Point
from rnn_edge.profiling.latency import Latency
from rnn_edge.profiling.memory import Memory
from rnn_edge.profiling.operators import OperatorTime


@dataclass(frozen=True, eq=False)
class Profile:
    """The measurements of one graph; each part's class says what it holds and in which unit.

    ``operator_point`` is the point of the grid at which operators and memory were measured, the
    largest one. ``bundle_bytes`` is None for a lone .onnx file. ``limits_us`` are the microseconds
    in which this core reads the weights that a call needs, measured in the same run, where other
    engines were asked for; ``left_out`` tells why one was not measured.
    """

    name: str
    graph: str
    provider: str
    threads: int
    versions: Mapping[str, str]
    model_bytes: int
    bundle_bytes: int | None
    latencies: tuple[Latency, ...]
    cold_starts: tuple[ColdStart, ...]
    memories: tuple[Memory, ...]
    operator_point: Point
    operators: tuple[OperatorTime, ...]
    nodes: tuple[OperatorTime, ...]
    byte_limit: ByteLimit | None = None
    limits_us: Mapping[Point, float] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    def ratio(self, latency: Latency) -> float:
        """An engine's median over onnxruntime's at the same point: above 1, it is slower."""
        reference = next(
            other
            for other in self.latencies
            if other.engine == SessionEngine.name and other.point == latency.point
        )
        return latency.percentile_us(50) / reference.percentile_us(50)

    def over_limit(self, latency: Latency) -> float | None:
        """An engine's median over the byte limit at its point; None where there is none."""
        limit = self.limits_us.get(latency.point)
        return latency.percentile_us(50) / limit if limit else None

    def to_dict(self) -> dict[str, Any]:
        """For JSON; every figure but the single samples."""
        return {
            "name": self.name,
            "graph": self.graph,
            "provider": self.provider,
            "threads": self.threads,
            "versions": dict(self.versions),
            "model_bytes": self.model_bytes,
            "bundle_bytes": self.bundle_bytes,
            "latency": [
                {
                    **latency.to_dict(),
                    "ratio": self.ratio(latency),
                    "byte_limit_us": self.limits_us.get(latency.point),
                    "over_byte_limit": self.over_limit(latency),
                }
                for latency in self.latencies
            ],
            "left_out": dict(self.left_out),
            "byte_limit": None if self.byte_limit is None else asdict(self.byte_limit),
            "cold_start": [start.to_dict() for start in self.cold_starts],
            "memory": [memory.to_dict() for memory in self.memories],
            "operators": {
                "batch": self.operator_point.batch,
                "sequence": self.operator_point.sequence,
                "by_type": [time.to_dict() for time in self.operators],
                "by_node": [time.to_dict() for time in self.nodes],
            },
        }
