"""Measure a graph: latency, throughput, cold start, memory, time by operator; beside torch too."""

from rnn_edge.profiling.measurement import profile
from rnn_edge.profiling.report import Profile

__all__ = ["Profile", "profile"]
