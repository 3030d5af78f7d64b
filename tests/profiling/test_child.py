"""Fresh processes: what they measure of themselves, and how they fail."""

from pathlib import Path

import numpy as np
import pytest

from rnn_edge.bundle import Bundle
from rnn_edge.errors import RnnEdgeError
from rnn_edge.profiling.child import Program, Start, session_program, start_fresh
from rnn_edge.profiling.cold_start import median_of
from rnn_edge.profiling.memory import folder_bytes

MIB = 2**20
FEED = {"x": np.zeros((1, 4, 2), np.float32), "lengths": np.array([4])}


def plain_program(run: str) -> Program:
    return Program("plain", imports="import time", load="pass", run=run, request={})


def test_session_starts_and_runs_in_a_fresh_process(series_bundle: Bundle, tmp_path: Path) -> None:
    program = session_program(series_bundle.path, "cpu", "model", 1, trusted=True)
    start = start_fresh(program, FEED, tmp_path, repeats=2)
    assert min(start.import_ns, start.load_ns, start.first_run_ns) > 0


def test_parts_are_timed_apart(tmp_path: Path) -> None:
    program = Program("plain", "import time; time.sleep(0.2)", "time.sleep(0.1)", "pass", {})
    start = start_fresh(program, {}, tmp_path, repeats=0)
    assert start.import_ns >= 200e6
    assert start.load_ns >= 100e6
    assert start.import_ns > start.load_ns > start.first_run_ns


def test_runs_are_one_and_the_repeats(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = plain_program(f"open({str(log)!r}, 'a').write('x')")
    start_fresh(program, {}, tmp_path, repeats=3)
    assert log.read_text() == "xxxx"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_peak_is_the_child_s_own_and_not_the_parent_s(tmp_path: Path) -> None:
    ballast = np.ones(300 * MIB, np.uint8)
    small = start_fresh(plain_program("pass"), {}, tmp_path, repeats=0)
    large = start_fresh(plain_program(f"b'x' * {100 * MIB}"), {}, tmp_path, repeats=0)
    assert small.peak_bytes is not None
    assert large.peak_bytes is not None
    assert small.peak_bytes < ballast.nbytes
    assert 90 * MIB < large.peak_bytes - small.peak_bytes < 130 * MIB


def test_failing_child_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RnnEdgeError, match=r"start plain, got: ValueError: no such thing\.") as got:
        start_fresh(plain_program("raise ValueError('no such thing')"), {}, tmp_path, repeats=0)
    assert "\n" not in str(got.value)


def test_cold_start_is_the_median_of_each_part() -> None:
    starts = [
        Start(1_000_000, 50_000_000, 3_000_000, None, None),
        Start(9_000_000, 20_000_000, 1_000_000, None, None),
        Start(2_000_000, 30_000_000, 2_000_000, None, None),
    ]
    cold = median_of("engine", starts)
    assert cold.parts_ms == (2, 30, 2)
    assert cold.total_ms == 34
    assert cold.to_dict()["processes"] == 3


def test_folder_size_counts_every_file(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a").write_bytes(b"12345")
    (tmp_path / "b").write_bytes(b"123")
    assert folder_bytes(tmp_path) == 8
