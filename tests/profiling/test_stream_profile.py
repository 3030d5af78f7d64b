"""Profiles of streams: what is timed, and how figures follow from the timings."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stream_bundles
from click.testing import CliRunner, Result

from rnn_edge import StreamSession
from rnn_edge.bundle import Bundle
from rnn_edge.cli.main import program
from rnn_edge.errors import InputError
from rnn_edge.profiling import streaming
from rnn_edge.profiling.streaming import StreamLatency, profile_stream

FEW = {"calls": 20, "seconds": 0.0}


@pytest.fixture(scope="module")
def lstm(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return stream_bundles.write_recurrent(tmp_path_factory.mktemp("profiles") / "lstm", "LSTM")


def profile(*arguments: object) -> Result:
    return CliRunner().invoke(program, ["profile", *map(str, arguments)])


def test_single_steps_come_first_and_every_size_once(lstm: Bundle) -> None:
    found = profile_stream(lstm, chunks=(3, 1, 3), streams=(4, 1, 2), **FEW)
    kinds = [(each.streams, each.chunk) for each in found.latencies]
    assert kinds == [(1, 1), (1, 3), (2, 1), (4, 1)]
    assert all(len(each.samples) >= 20 for each in found.latencies)
    assert found.relative(found.latencies[0]) == 1
    assert found.capacity is None


@pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="needs a compiler")
def test_the_engine_c_takes_rows_together(
    lstm: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RNN_EDGE_CACHE", str(tmp_path))
    opened: list[tuple[int, str | None]] = []

    class Watched(StreamSession):
        def __init__(self, source: object, **options: Any) -> None:
            opened.append((options.get("batch", 1), options["engine"]))
            super().__init__(source, **options)

    monkeypatch.setattr(streaming, "StreamSession", Watched)
    found = profile_stream(lstm, chunks=(1, 3), streams=(4,), engine="c", deadline_ms=1e4, **FEW)
    assert [(each.streams, each.chunk) for each in found.latencies] == [(1, 1), (1, 3), (4, 1)]
    assert found.capacity is not None
    assert opened[:3] == [(1, "c"), (1, "c"), (4, "c")]
    assert {engine for _, engine in opened} == {"c"}


def test_figures_follow_from_the_timings() -> None:
    samples = np.array([1_000_000, 2_000_000, 3_000_000])
    ten = StreamLatency(1, 10, samples)
    assert ten.percentile_us(50) == 2000
    assert ten.frame_us == 200
    # 10 frames in 2 ms; at 100 frames a second they come in 100 ms.
    assert ten.real_time_factor(100) == pytest.approx(0.02)
    four = StreamLatency(4, 1, samples)
    assert four.frame_us == 500
    assert four.real_time_factor(100) == pytest.approx(0.2)


@pytest.mark.parametrize("most", [1, 5, 21])
def test_capacity_is_the_most_streams_that_meet_the_deadline(
    lstm: Bundle, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """A run takes as long as is asked here: up to ``most`` streams are quick, more are slow."""

    def time_engines(engines: list, make_feed: object, **_: object) -> dict[str, np.ndarray]:
        engine = engines[0]
        assert len(engine.call(engine.prepare({}))) == engine.streams
        return {engine.name: np.full(20, 1e6 if engine.streams <= most else 9e6)}

    monkeypatch.setattr(streaming, "time_engines", time_engines)
    random = np.random.default_rng(0)

    def many(count: int) -> streaming._ManyStreams:
        return streaming._ManyStreams(streaming.StreamPool(lstm, max_batch=64), count, random)

    found = streaming._find_capacity(many, 5.0)
    assert most - most // 16 <= found.streams <= most
    assert (found.p99_ms, found.more) == (1.0, False)


def test_deadlines_that_none_and_all_meet(lstm: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "MOST_STREAMS", 4)
    none = profile_stream(lstm, chunks=(1,), streams=(1,), deadline_ms=1e-6, **FEW).capacity
    assert (none.streams, none.more) == (0, False)
    every = profile_stream(lstm, chunks=(1,), streams=(1,), deadline_ms=1e6, **FEW).capacity
    assert (every.streams, every.more) == (4, True)


def test_what_a_push_takes_is_what_is_timed(lstm: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    push = streaming.StreamSession.push

    def slow(self: streaming.StreamSession, *chunk: np.ndarray) -> list[np.ndarray]:
        time.sleep(0.002)
        return push(self, *chunk)

    monkeypatch.setattr(streaming.StreamSession, "push", slow)
    found = profile_stream(lstm, chunks=(1,), streams=(1,), **FEW)
    assert found.latencies[0].percentile_us(0) >= 2000


def test_command_shows_a_table_and_json(lstm: Bundle) -> None:
    few = ["--calls", 20, "--seconds", 0]
    asked = [lstm.path, "--stream", "--chunks", "1,5", "--streams", "2", "--frame-rate", 50, *few]
    lines = [line.split("\t") for line in profile(*asked).stdout.splitlines()]
    head = ["streams", "chunk", "p50", "p99", "p99.9", "us a frame", "relative", "real-time factor"]
    place = lines.index(head)
    assert [line[:2] for line in lines[place + 1 :]] == [["1", "1"], ["1", "5"], ["2", "1"]]
    document = json.loads(profile(*asked, "--json").stdout)
    first = document["pushes"][0]
    assert first["real_time_factor"] == pytest.approx(first["p50_us"] * 50 / 1e6)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--stream", "--batches", "1", "--graph", "stream"], 2, "--batches, --graph must be left"),
        (["--chunks", "1"], 2, "go with --stream"),
        (["--stream", "--chunks", "0"], 1, "chunks must be numbers of at least 1, got [0]"),
        (["--stream", "--deadline", "0"], 2, "0"),
    ],
)
def test_options_that_do_not_go(lstm: Bundle, options: list[str], code: int, message: str) -> None:
    done = profile(lstm.path, *options)
    assert (done.exit_code, message in done.stderr) == (code, True), done.stderr


def test_numbers_are_checked(lstm: Bundle, series_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="frame_rate must be a number above 0, got -1"):
        profile_stream(lstm, frame_rate=-1)
    with pytest.raises(InputError, match="must hold a graph 'stream'"):
        profile_stream(series_bundle)
