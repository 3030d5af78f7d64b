"""Operator times, summed by hand from a made-up profile, and read from a real one."""

from pathlib import Path

import numpy as np
import pytest

from rnn_edge.bundle import Bundle
from rnn_edge.profiling.inputs import random_inputs
from rnn_edge.profiling.operators import (
    NodeEvent,
    by_node,
    by_type,
    measure_operators,
    node_events,
    self_times,
)
from rnn_edge.runtime import Session

# Two runs: a Loop of 100 us with two MatMuls of 20 and 30 us inside, then an Add of 10 us.
TWO_RUNS = [
    event
    for start in (0.0, 1000.0)
    for event in (
        NodeEvent("Loop", "loop", start, 100),
        NodeEvent("MatMul", "one", start + 10, 20),
        NodeEvent("MatMul", "two", start + 40, 30),
        NodeEvent("Add", "add", start + 100, 10),
    )
]


def test_time_by_type_leaves_inner_nodes_out_of_the_outer_one() -> None:
    times = by_type(self_times(TWO_RUNS), runs=2)
    found = [(time.op_type, time.calls_per_run, time.microseconds) for time in times]
    assert found == [("Loop", 1, 50), ("MatMul", 2, 50), ("Add", 1, 10)]


def test_shares_are_of_the_time_in_all_nodes() -> None:
    shares = {time.node: time.share for time in by_node(self_times(TWO_RUNS), runs=2)}
    assert shares == pytest.approx(
        {"loop": 50 / 110, "two": 30 / 110, "one": 20 / 110, "add": 10 / 110}
    )


def test_nodes_come_the_slowest_first() -> None:
    assert [time.node for time in by_node(self_times(TWO_RUNS), runs=2)] == [
        "loop",
        "two",
        "one",
        "add",
    ]


def test_inner_nodes_of_inner_nodes_count_once() -> None:
    nested = [
        NodeEvent("Loop", "outer", 0, 100),
        NodeEvent("If", "inner", 0, 60),
        NodeEvent("Add", "add", 5, 20),
    ]
    assert [event.duration for event in self_times(nested)] == [40, 40, 20]


def test_graph_too_fast_for_the_clock_has_shares_of_0() -> None:
    assert by_type([NodeEvent("Add", "add", 0, 0)], runs=1)[0].share == 0


def test_only_node_executions_are_read_from_a_profile() -> None:
    profile = [
        {"cat": "Session", "name": "model_run", "ts": 0, "dur": 50},
        {"cat": "Node", "name": "n_fence_before", "ts": 1, "dur": 1, "args": {"op_name": "RNN"}},
        {"cat": "Node", "name": "n_kernel_time", "ts": 2, "dur": 9, "args": {"op_name": "RNN"}},
    ]
    assert node_events(profile) == [NodeEvent("RNN", "n", 2, 9)]


def test_real_graph_shows_each_of_its_nodes_once_a_run(
    series_bundle: Bundle, tmp_path: Path
) -> None:
    session = Session(series_bundle)
    generator = np.random.default_rng(0)
    sizes = {"batch": 2, "sequence": 3}
    types, nodes = measure_operators(
        session, 1, lambda: random_inputs(session.contract, sizes, generator), tmp_path
    )
    assert {time.op_type for time in types} == {"Transpose", "Cast", "RNN", "Squeeze", "MatMul"}
    assert len(nodes) == 5
    assert {time.calls_per_run for time in nodes} == {1}
    assert sum(time.share for time in types) == pytest.approx(1)
