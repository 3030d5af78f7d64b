"""Where the time goes inside a graph: ONNX Runtime's own profiler, in a run of its own.

The profiler adds about 2 us a node, so its times are shares, not latencies.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rnn_edge.extras import import_extra
from rnn_edge.profiling.latency import WARM_UP_CALLS, Arrays
from rnn_edge.runtime import Session
from rnn_edge.runtime.providers import session_options

RUNS = 100
_SUFFIX = "_kernel_time"


@dataclass(frozen=True)
class OperatorTime:
    """The time of one node, or of all nodes of one type, in a mean run.

    ``node`` is empty for a type. ``microseconds`` leaves out the nodes of inner graphs, which
    stand for themselves; ``share`` is of the time in all nodes.
    """

    op_type: str
    node: str
    calls_per_run: float
    microseconds: float
    share: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class NodeEvent:
    """One execution of one node; times are in microseconds."""

    op_type: str
    node: str
    start: float
    duration: float


def measure_operators(
    session: Session, threads: int, make_feed: Callable[[], Arrays], folder: Path
) -> tuple[list[OperatorTime], list[OperatorTime]]:
    """Times by operator type and by node, the longest first; the profiler writes in ``folder``."""
    options = session_options(threads)
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "operators")
    native = import_extra("onnxruntime").InferenceSession(
        str(session.path),
        options,
        providers=session.native.get_providers(),
        provider_options=list(session.native.get_provider_options().values()),
    )
    for _ in range(WARM_UP_CALLS + RUNS):
        native.run(None, dict(make_feed()))
    events = json.loads(Path(native.end_profiling()).read_text(encoding="utf-8"))
    runs = [event["ts"] for event in events if event.get("name") == "model_run"]
    first = sorted(runs)[WARM_UP_CALLS]
    nodes = self_times(event for event in node_events(events) if event.start >= first)
    return by_type(nodes, RUNS), by_node(nodes, RUNS)


def node_events(events: Iterable[Mapping[str, Any]]) -> list[NodeEvent]:
    """The node executions in a profile as ONNX Runtime writes it."""
    return [
        NodeEvent(
            event["args"]["op_name"],
            event["name"].removesuffix(_SUFFIX),
            event["ts"],
            event["dur"],
        )
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX)
    ]


def self_times(events: Iterable[NodeEvent]) -> list[NodeEvent]:
    """The events, each without the time of those that ran inside it (Loop, Scan, If)."""
    ordered = sorted(events, key=lambda event: (event.start, -event.duration))
    durations = [event.duration for event in ordered]
    around: list[int] = []
    for place, event in enumerate(ordered):
        while around and event.start >= ordered[around[-1]].start + ordered[around[-1]].duration:
            around.pop()
        if around:
            durations[around[-1]] -= event.duration
        around.append(place)
    return [
        NodeEvent(event.op_type, event.node, event.start, duration)
        for event, duration in zip(ordered, durations, strict=True)
    ]


def by_type(events: Iterable[NodeEvent], runs: int) -> list[OperatorTime]:
    return _aggregate(events, runs, lambda event: (event.op_type, ""))


def by_node(events: Iterable[NodeEvent], runs: int) -> list[OperatorTime]:
    return _aggregate(events, runs, lambda event: (event.op_type, event.node))


def _aggregate(
    events: Iterable[NodeEvent], runs: int, key: Callable[[NodeEvent], tuple[str, str]]
) -> list[OperatorTime]:
    groups: dict[tuple[str, str], list[float]] = {}
    for event in events:
        groups.setdefault(key(event), []).append(event.duration)
    # Durations are whole microseconds: a graph of tiny nodes may sum to 0.
    whole = sum(map(sum, groups.values())) or 1.0
    times = [
        OperatorTime(op_type, node, len(group) / runs, sum(group) / runs, sum(group) / whole)
        for (op_type, node), group in groups.items()
    ]
    return sorted(times, key=lambda time: -time.microseconds)
