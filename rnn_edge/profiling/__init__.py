"""Measure a graph: latency, throughput, cold start, memory, time by operator; beside torch too."""

from rnn_edge.profiling.measurement import profile
from rnn_edge.profiling.report import Profile
from rnn_edge.profiling.streaming import StreamProfile, profile_stream

__all__ = ["Profile", "StreamProfile", "profile", "profile_stream"]
