"""Statistics of timings, against numbers worked out by hand; and the order of the calls."""

import gc
from typing import Any

import numpy as np
import pytest

from rnn_edge.profiling.inputs import Point
from rnn_edge.profiling.latency import (
    FEWEST_CALLS,
    WARM_UP_CALLS,
    Arrays,
    Engine,
    Latency,
    time_engines,
)

# 0 to 1000 microseconds in steps of one, in nanoseconds: every percentile is a known number.
RAMP = np.random.default_rng(0).permutation(1001) * 1000


class Recorder(Engine):
    """Writes down who was called with what."""

    def __init__(self, name: str, log: list[tuple[str, int]]) -> None:
        self.name = name
        self.log = log

    def call(self, prepared: Arrays) -> None:
        assert not gc.isenabled()
        self.log.append((self.name, int(prepared["x"])))

    def answers(self, returned: Any) -> list[np.ndarray]:
        return []


def make_counter() -> Any:
    numbers = iter(range(10**6))
    return lambda: {"x": np.array(next(numbers))}


@pytest.mark.parametrize(
    ("percent", "microseconds"), [(50, 500), (90, 900), (99, 990), (99.9, 999)]
)
def test_percentiles_of_a_ramp(percent: float, microseconds: float) -> None:
    latency = Latency("engine", Point(1, 1), RAMP)
    assert latency.percentile_us(percent) == pytest.approx(microseconds)


def test_percentile_between_two_samples_is_interpolated() -> None:
    assert Latency("engine", Point(1, 1), np.array([1000, 3000])).percentile_us(50) == 2


def test_throughput_counts_rows_and_steps() -> None:
    # Two calls of 1 and 3 ms answer 2 x 8 rows of 10 steps in 4 ms.
    latency = Latency("engine", Point(8, 10), np.array([1_000_000, 3_000_000]))
    assert latency.mean_us == 2000
    assert latency.rows_per_second == 16 / 0.004
    assert latency.steps_per_second == 160 / 0.004


def test_fixed_axes_count_as_one_row_and_no_steps() -> None:
    latency = Latency("engine", Point(None, None), np.array([1_000_000]))
    assert latency.rows_per_second == 1000
    assert latency.steps_per_second is None


def test_dictionary_names_units_and_holds_every_figure() -> None:
    assert Latency("engine", Point(2, 5), RAMP).to_dict() == pytest.approx(
        {
            "engine": "engine",
            "batch": 2,
            "sequence": 5,
            "calls": 1001,
            "mean_us": 500,
            "p50_us": 500,
            "p90_us": 900,
            "p99_us": 990,
            "p99_9_us": 999,
            "rows_per_second": 4000,
            "steps_per_second": 20000,
        }
    )


def test_engines_answer_the_same_feed_in_alternating_order() -> None:
    log: list[tuple[str, int]] = []
    engines = [Recorder("a", log), Recorder("b", log)]
    time_engines(engines, make_counter(), calls=2, seconds=60)
    assert log[:4] == [("a", 0), ("b", 0), ("b", 1), ("a", 1)]
    assert log[4:6] == [("a", 2), ("b", 2)]


def test_no_feed_is_given_twice() -> None:
    log: list[tuple[str, int]] = []
    time_engines([Recorder("a", log)], make_counter(), calls=30, seconds=60)
    numbers = [number for _, number in log]
    assert numbers == list(range(WARM_UP_CALLS + 30))


def test_warm_up_is_not_in_the_samples() -> None:
    samples = time_engines([Recorder("a", [])], make_counter(), calls=7, seconds=60)
    assert samples["a"].shape == (7,)
    assert samples["a"].min() >= 0


def test_time_limit_ends_after_the_fewest_calls() -> None:
    samples = time_engines([Recorder("a", [])], make_counter(), calls=10**6, seconds=0)
    assert len(samples["a"]) == FEWEST_CALLS


def test_garbage_collection_comes_back_even_after_a_failure() -> None:
    class Failing(Recorder):
        def call(self, prepared: Arrays) -> None:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        time_engines([Failing("a", [])], make_counter(), calls=1, seconds=1)
    assert gc.isenabled()
