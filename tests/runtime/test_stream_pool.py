"""Streams that share runs give what each gives alone, whenever they come, go or reset."""

import threading
from collections import defaultdict

import numpy as np
import pytest
import stream_bundles

from rnn_edge import StreamPool, StreamSession
from rnn_edge.bundle import Bundle
from rnn_edge.contract import AxisLimits
from rnn_edge.errors import InputError
from rnn_edge.runtime import stream_block
from rnn_edge.runtime.stream_plan import Plan

KINDS = ("LSTM", "GRU")
EPSILON = 1e-6


def frames(random: np.random.Generator, time: int) -> np.ndarray:
    return random.normal(size=(1, time, stream_bundles.FEATURES)).astype(np.float32)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> dict[tuple[str, bool], Bundle]:
    """By kind of cell, and whether the graph takes reset flags."""
    place = tmp_path_factory.mktemp("pools")
    return {
        (kind, reset): stream_bundles.write_recurrent(
            place / f"{kind}{reset}", kind, reset=reset, step=True
        )
        for kind in KINDS
        for reset in (False, True)
    }


@pytest.fixture(scope="module")
def counter(tmp_path_factory) -> Bundle:
    return stream_bundles.write_counter(tmp_path_factory.mktemp("pools") / "counter")


@pytest.fixture(scope="module")
def convolution(tmp_path_factory) -> Bundle:
    return stream_bundles.write_convolution(tmp_path_factory.mktemp("pools") / "convolution")


@pytest.fixture
def runs(monkeypatch) -> list[int]:
    """The number of rows of each run from here on."""
    rows: list[int] = []
    before = Plan.put_rows

    def put_rows(self, parts, axes):
        rows.append(len(parts))
        before(self, parts, axes)

    monkeypatch.setattr(Plan, "put_rows", put_rows)
    return rows


def y_of(bundle: Bundle, x: np.ndarray) -> np.ndarray:
    return StreamSession(bundle).push(x)[0][0]


def drain(pool: StreamPool, into: dict[int, list]) -> None:
    while answers := pool.run_ready():
        for stream, outputs in answers.items():
            into[stream].append(outputs)


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_streams_that_come_go_and_reset_give_their_own_answers(bundles, kind, reset):
    random = np.random.default_rng(7)
    pool = StreamPool(bundles[kind, reset], max_batch=48)
    pushed: dict[int, list] = {}
    answers: dict[int, list] = defaultdict(list)
    whole: list[tuple[np.ndarray, np.ndarray]] = []

    def finish(stream: int) -> None:
        if pushed[stream]:
            y = np.concatenate([y[0] for y, _ in answers.pop(stream)])
            whole.append((np.concatenate(pushed[stream], 1), y))
        pushed[stream] = []

    opened = 0
    while opened < 1000 or pushed:
        for _ in range(min(random.integers(0, 40), 1000 - opened)):
            pushed[pool.open()] = []
            opened += 1
        for stream in list(pushed):
            chance = random.random()
            if chance < 0.5:
                chunk = frames(random, random.integers(1, 4))
                pool.push(stream, chunk)
                pushed[stream].append(chunk)
            elif chance > 0.9 or opened == 1000:
                drain(pool, answers)
                finish(stream)
                if chance > 0.93:
                    pool.close(stream)
                    del pushed[stream]
                else:
                    pool.reset(stream)
        for stream, outputs in pool.run_ready().items():
            answers[stream].append(outputs)
    assert len(whole) > 1000
    assert len(pool) == 0
    for x, y in whole:
        expected = stream_bundles.recurrent_answer(kind, x[0])
        np.testing.assert_allclose(y, expected, atol=EPSILON)


@pytest.mark.parametrize("kind", KINDS)
def test_neighbours_change_no_bit_of_an_answer(bundles, kind):
    random = np.random.default_rng(8)
    bundle = bundles[kind, False]
    pool = StreamPool(bundle)
    alone = {pool.open(): StreamSession(bundle) for _ in range(7)}
    for size in (1, 4, 1, 2):
        some = random.permutation(list(alone))[: random.integers(1, 8)]
        chunks = {int(stream): frames(random, size) for stream in some}
        # One neighbour is as large as numbers may be.
        chunks[int(some[0])][...] = stream_bundles.MAXIMUM
        for stream, outputs in pool.push_many(chunks).items():
            for mine, own in zip(outputs, alone[stream].push(chunks[stream]), strict=True):
                assert mine.shape == own.shape
                np.testing.assert_array_equal(mine, own)


def test_ready_streams_of_one_chunk_length_share_a_run(bundles, runs):
    random = np.random.default_rng(9)
    pool = StreamPool(bundles["LSTM", False], max_batch=4)
    streams = [pool.open() for _ in range(9)]
    for stream in streams[:6]:
        pool.push(stream, frames(random, 2))
    pool.push(streams[6], frames(random, 3))
    pool.push(streams[0], frames(random, 2))
    assert sorted(pool.run_ready()) == streams[:7]
    assert sorted(runs) == [1, 2, 4]
    assert list(pool.run_ready()) == [streams[0]]
    assert pool.run_ready() == {}


def test_the_contract_s_largest_batch_holds(tmp_path, runs):
    axes = {"batch": AxisLimits(1, 2), "sequence": AxisLimits()}
    bundle = stream_bundles.write_recurrent(tmp_path / "s", "GRU", axes=axes)
    pool = StreamPool(bundle)
    x = np.ones((1, 1, 2), np.float32)
    pool.push_many({pool.open(): x for _ in range(3)})
    assert runs == [2, 1]


@pytest.mark.parametrize("batch", [1, "batch"])
def test_a_graph_of_batch_one_runs_its_streams_one_by_one(tmp_path, runs, batch):
    bundle = stream_bundles.write_recurrent(tmp_path / "s", "LSTM", batch=batch)
    pool = StreamPool(bundle)
    random = np.random.default_rng(1)
    x = {pool.open(): frames(random, 4) for _ in range(3)}
    parts = [pool.push_many({s: a[:, :1] for s, a in x.items()})]
    parts.append(pool.push_many({s: a[:, 1:] for s, a in x.items()}))
    for stream, a in x.items():
        y = np.concatenate([part[stream][0][0] for part in parts])
        np.testing.assert_allclose(y, stream_bundles.recurrent_answer("LSTM", a[0]), atol=EPSILON)
        moved = StreamSession(bundle)
        moved.state = pool.state(stream)
        pool.reset(stream)
        mine, own = pool.push_many({stream: a})[stream], moved.push(a)
        assert not np.array_equal(mine[0], own[0])
        np.testing.assert_array_equal(mine[0][0], y_of(bundle, a))
    assert runs[:6] == ([1] * 6 if batch == 1 else [3, 3, 1, 1, 1])


def test_a_graph_of_a_larger_fixed_batch_is_refused(tmp_path):
    bundle = stream_bundles.write_recurrent(tmp_path / "s", "LSTM", batch=2)
    with pytest.raises(InputError, match="batch must be 2, the only one"):
        StreamPool(bundle)


def test_only_streams_at_one_step_share_a_run_where_they_must_be_in_step(counter, runs):
    pool = StreamPool(counter)
    a, b, c = (pool.open() for _ in range(3))
    two = np.ones((1, 2), np.float32)
    assert [y[0][0].tolist() for y in pool.push_many({a: two, b: two}).values()] == [[0, 1]] * 2
    got = pool.push_many({a: two, b: two, c: two})
    assert {s: y[0][0].tolist() for s, y in got.items()} == {a: [2, 3], b: [2, 3], c: [0, 1]}
    pool.reset(a)
    got = pool.push_many({a: two, b: two, c: two})
    assert {s: y[0][0].tolist() for s, y in got.items()} == {a: [0, 1], b: [4, 5], c: [2, 3]}
    assert runs == [2, 2, 1, 1, 1, 1]
    del runs[:]
    d = pool.open(pool.state(a))
    got = pool.push_many({a: two, c: two, d: two})
    assert {s: y[0][0].tolist() for s, y in got.items()} == {a: [2, 3], c: [4, 5], d: [2, 3]}
    assert sorted(runs) == [1, 2]


def test_context_and_late_answers_stay_with_their_stream(convolution):
    random = np.random.default_rng(4)
    pool = StreamPool(convolution)
    gains = {}
    for gain in (2.0, -1.0, 0.5, 3.0):
        gains[pool.open(context={"gain": np.full((1, 1, 1), gain, np.float32)})] = gain
    x = {s: random.normal(size=(1, 1, 6)).astype(np.float32) for s in gains}
    late = list(gains)[3]
    got = defaultdict(list)
    for start, stop in ((0, 1), (1, 3), (3, 6)):
        ready = {s: a[:, :, start:stop] for s, a in x.items() if s != late or start}
        for stream, (y, _) in pool.push_many(ready).items():
            got[stream].append(y[0, 0])
    x[late] = x[late][:, :, 1:]
    pool.close(next(iter(gains)))
    del got[next(iter(gains))]
    for stream in got:
        expected = stream_bundles.convolution_answer(x[stream][0, 0], gains[stream])
        np.testing.assert_allclose(np.concatenate(got[stream]), expected, atol=1e-5)
        assert pool.state(stream)["gain"].item() == gains[stream]


def test_a_missing_context_is_refused(convolution):
    with pytest.raises(InputError, match="missing gain"):
        StreamPool(convolution).open()


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_state_moves_between_pools_and_sessions(bundles, kind, reset):
    random = np.random.default_rng(5)
    bundle = bundles[kind, reset]
    pool, x = StreamPool(bundle), frames(random, 9)
    other, stream = pool.open(), pool.open()
    pool.push_many({stream: x[:, :3], other: x[:, 5:8]})
    session = StreamSession(bundle)
    session.state = pool.state(stream)
    parts = [session.push(x[:, 3:5])[0]]
    second = StreamPool(bundle)
    second.open()
    moved = second.open(session.state)
    parts.append(second.push_many({moved: x[:, 5:]})[moved][0])
    expected = stream_bundles.recurrent_answer(kind, x[0])[3:]
    np.testing.assert_allclose(np.concatenate(parts, 1)[0], expected, atol=EPSILON)
    fresh = second.open(StreamSession(bundle).state)
    y = second.push_many({fresh: x, moved: x})[fresh][0]
    np.testing.assert_allclose(y[0], stream_bundles.recurrent_answer(kind, x[0]), atol=EPSILON)


@pytest.mark.parametrize("reset", [False, True])
def test_a_reset_waits_for_the_chunks_before_it(bundles, reset):
    random = np.random.default_rng(6)
    pool, x = StreamPool(bundles["GRU", reset]), frames(random, 6)
    stream, other = pool.open(), pool.open()
    pool.push(stream, x[:, :2])
    pool.push(other, x[:, :2])
    pool.push(stream, x[:, 2:4])
    pool.reset(stream)
    pool.push(stream, x[:, 4:])
    got = defaultdict(list)
    drain(pool, got)
    y = np.concatenate([outputs[0][0] for outputs in got[stream]])
    expected = stream_bundles.recurrent_answer("GRU", x[0, :4])
    np.testing.assert_allclose(y[:4], expected, atol=EPSILON)
    expected = stream_bundles.recurrent_answer("GRU", x[0, 4:])
    np.testing.assert_allclose(y[4:], expected, atol=EPSILON)
    pool.reset(other)
    fresh = StreamSession(bundles["GRU", reset]).state
    for name, array in pool.state(other).items():
        np.testing.assert_array_equal(array, fresh[name])


def test_a_wrong_chunk_queues_nothing_and_runs_nothing(bundles):
    random = np.random.default_rng(2)
    pool, x = StreamPool(bundles["LSTM", False]), frames(random, 4)
    a, b = pool.open(), pool.open()
    with pytest.raises(InputError, match=r"x\[0, 0, 1\] must be finite"):
        pool.push(a, np.array([[[0, np.nan]]], np.float32))
    with pytest.raises(InputError, match="must have size 1"):
        pool.push_many({b: x[:, :2], a: np.ones((2, 1, 2), np.float32)})
    with pytest.raises(InputError, match="at least 1, got 0"):
        pool.push(a, x[:, :0])
    assert pool.run_ready() == {}
    y = pool.push_many({a: x, b: {"x": x}})
    for stream in (a, b):
        expected = stream_bundles.recurrent_answer("LSTM", x[0])
        np.testing.assert_allclose(y[stream][0][0], expected, atol=EPSILON)


@pytest.mark.parametrize("place", [0, 3])
def test_one_wrong_chunk_among_many_that_are_alike_runs_none(bundles, place):
    random = np.random.default_rng(3)
    pool, x = StreamPool(bundles["GRU", True]), [frames(random, 6) for _ in range(4)]
    streams = [pool.open() for _ in x]

    def push(first: int, end: int, wrong: float | None = None) -> dict[int, list[np.ndarray]]:
        chunks = [part[:, first:end].copy() for part in x]
        if wrong is not None:
            chunks[place][0, 1, 0] = wrong
        return pool.push_many(dict(zip(streams, chunks, strict=True)))

    push(0, 2)
    for wrong in (np.nan, np.inf, stream_bundles.MAXIMUM + 1):
        with pytest.raises(InputError, match=r"x\[0, 1, 0\] must be"):
            push(2, 4, wrong)
    push(2, 4)
    answers = push(4, 6)
    for stream, part in zip(streams, x, strict=True):
        expected = stream_bundles.recurrent_answer("GRU", part[0])[4:]
        np.testing.assert_allclose(answers[stream][0][0], expected, atol=EPSILON)


def test_a_chunk_may_be_written_over_once_it_is_pushed(bundles):
    pool, x = StreamPool(bundles["GRU", False]), np.ones((1, 2, 2), np.float32)
    stream = pool.open()
    for _ in range(2):
        pool.push(stream, x)
        x[...] = 9
        y = pool.run_ready()[stream][0][0]
        x[...] = 1
        pool.reset(stream)
        np.testing.assert_allclose(y, stream_bundles.recurrent_answer("GRU", x[0]), atol=EPSILON)


def test_a_refused_run_drops_one_chunk_and_no_other(bundles, monkeypatch):
    random = np.random.default_rng(2)
    pool = StreamPool(bundles["LSTM", False])
    x = {pool.open(): frames(random, 4) for _ in range(3)}
    pool.push_many({s: a[:, :1] for s, a in x.items()})
    bad = list(x)[1]
    before = Plan.put_rows

    def put_rows(self, parts, axes):
        before(self, parts, axes)
        if any(part[0][0, 0, 0] == 77 for part in parts):
            raise InputError("stream.onnx must run on this chunk, ONNX Runtime refused: no")

    monkeypatch.setattr(Plan, "put_rows", put_rows)
    for stream, a in x.items():
        pool.push(stream, np.full((1, 1, 2), 77, np.float32) if stream == bad else a[:, 1:2])
        pool.push(stream, a[:, 2:] if stream != bad else a[:, 1:])
    with pytest.raises(InputError, match=f"^stream {bad}: stream.onnx must run on this chunk"):
        pool.run_ready()
    got = defaultdict(list)
    drain(pool, got)
    for stream, a in x.items():
        y = np.concatenate([outputs[0][0] for outputs in got[stream]])
        expected = stream_bundles.recurrent_answer("LSTM", a[0])[1:]
        np.testing.assert_allclose(y, expected, atol=EPSILON)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_in_every_push(counter, value):
    pool = StreamPool(counter)
    stream, x = pool.open(), np.ones((1, 3), np.float32)
    for count in (0, 3):
        bad = x.copy()
        bad[0, 1] = value
        with pytest.raises(InputError, match=r"x\[0, 1\] must be finite"):
            pool.push_many({stream: bad})
        assert pool.push_many({stream: x})[stream][0][0, 0] == count


@pytest.mark.parametrize("reset", [False, True])
def test_a_reset_whose_run_is_refused_keeps_the_state_and_still_waits(bundles, monkeypatch, reset):
    pool, x = StreamPool(bundles["GRU", reset]), np.ones((1, 2, 2), np.float32)
    stream = pool.open()
    pool.push_many({stream: x})
    before = pool.state(stream)
    pool.reset(stream)
    fine = Plan.put_rows

    def refuse(self, parts, axes):
        raise InputError("no")

    monkeypatch.setattr(Plan, "put_rows", refuse)
    with pytest.raises(InputError, match="stream 0: no"):
        pool.push_many({stream: x})
    pool._streams[stream].start = False
    for name, array in pool.state(stream).items():
        np.testing.assert_array_equal(array, before[name])
    pool.reset(stream)
    with pytest.raises(InputError, match="stream 0: no"):
        pool.push_many({stream: x})
    monkeypatch.setattr(Plan, "put_rows", fine)
    y = pool.push_many({stream: x})[stream][0][0]
    np.testing.assert_allclose(y, stream_bundles.recurrent_answer("GRU", x[0]), atol=EPSILON)


def test_push_many_does_not_overtake_chunks_that_wait(bundles):
    pool, x = StreamPool(bundles["GRU", False]), np.ones((1, 1, 2), np.float32)
    stream = pool.open()
    pool.push(stream, x)
    with pytest.raises(InputError, match="stream 0 must have no chunks that wait"):
        pool.push_many({stream: x})
    assert list(pool.run_ready()) == [stream]


def test_streams_that_are_not_open_are_named(bundles):
    pool, x = StreamPool(bundles["GRU", False]), np.ones((1, 1, 2), np.float32)
    gone = pool.open()
    pool.push(gone, x)
    pool.close(gone)
    assert pool.streams == []
    assert pool.run_ready() == {}
    for call in (
        lambda: pool.push(gone, x), lambda: pool.push_many({gone: x}), lambda: pool.reset(gone),
        lambda: pool.state(gone), lambda: pool.close(gone), lambda: pool.push("a", x),
    ):  # fmt: skip
        with pytest.raises(InputError, match="stream must be one that is open, got"):
            call()


def test_max_batch_must_be_a_positive_whole_number(bundles):
    with pytest.raises(InputError, match="max_batch must be a whole number"):
        StreamPool(bundles["GRU", False], max_batch=0)


@pytest.mark.parametrize("kind", KINDS)
def test_threads_push_while_another_runs(bundles, kind):
    pool = StreamPool(bundles[kind, False], max_batch=8)
    pushed: dict[int, np.ndarray] = {}
    wrong: list[str] = []
    done = threading.Event()

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        try:
            for _ in range(10):
                streams = {pool.open(): frames(random, 12) for _ in range(4)}
                for start in range(0, 12, 3):
                    for stream, x in streams.items():
                        pool.push(stream, x[:, start : start + 3])
                pushed.update(streams)
        except InputError as error:
            wrong.append(str(error))

    got: dict[int, list] = defaultdict(list)

    def run() -> None:
        while not done.is_set():
            drain(pool, got)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
    runner = threading.Thread(target=run)
    for thread in (*threads, runner):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    runner.join()
    drain(pool, got)
    assert wrong == []
    assert len(pushed) == 80
    for stream, x in pushed.items():
        y = np.concatenate([outputs[0][0] for outputs in got[stream]])
        np.testing.assert_allclose(y, stream_bundles.recurrent_answer(kind, x[0]), atol=EPSILON)


def test_threads_may_each_push_many(bundles):
    pool = StreamPool(bundles["LSTM", False])
    wrong: list[str] = []

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        x = {pool.open(): frames(random, 20) for _ in range(3)}
        ys = [pool.push_many({s: a[:, t : t + 2] for s, a in x.items()}) for t in range(0, 20, 2)]
        for stream, a in x.items():
            y = np.concatenate([part[stream][0][0] for part in ys])
            if not np.allclose(y, stream_bundles.recurrent_answer("LSTM", a[0]), atol=EPSILON):
                wrong.append(f"stream {stream}")
            pool.close(stream)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.fixture
def quick_runs(monkeypatch) -> list[bool]:
    """Whether each call of what runs the same streams again did so."""
    found: list[bool] = []
    made = stream_block.quick_pool

    def watched(*arguments):
        push = made(*arguments)

        def watch(chunks):
            answers = push(chunks)
            found.append(answers is not None)
            return answers

        return push and watch

    monkeypatch.setattr(stream_block, "quick_pool", watched)
    return found


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_streams_again_give_their_own_answers_whatever_comes_between(
    bundles, kind, reset, quick_runs, waits
):
    """``waits``: each chunk is pushed alone, and those that are ready run."""
    random = np.random.default_rng(11)
    bundle = bundles[kind, reset]
    pool = StreamPool(bundle)
    alone = {pool.open(): StreamSession(bundle) for _ in range(5)}

    def push(streams, size=1, chunks=None):
        chunks = chunks or {stream: frames(random, size) for stream in streams}
        if waits:
            for stream, chunk in chunks.items():
                pool.push(stream, chunk)
            found = pool.run_ready()
            assert set(found) == set(chunks)
        else:
            found = pool.push_many(chunks)
            assert list(found) == list(chunks)
        for stream, chunk in chunks.items():
            for own, expected in zip(found[stream], alone[stream].push(chunk), strict=True):
                np.testing.assert_array_equal(own, expected)

    def runs_alone(stream):
        chunk = frames(random, 1)
        pool.push(stream, chunk)
        for own, expected in zip(pool.run_ready()[stream], alone[stream].push(chunk), strict=True):
            np.testing.assert_array_equal(own, expected)

    def starts(stream):
        pool.reset(stream)
        alone[stream].reset()

    def comes():
        alone[pool.open()] = StreamSession(bundle)

    def goes(stream):
        pool.close(stream)
        del alone[stream]

    def refused(wrong):
        chunks = {stream: frames(random, 1) for stream in alone}
        chunks[next(iter(alone))] = wrong
        with pytest.raises(InputError):
            pool.push_many(chunks)

    def moves(stream):
        alone[stream].state = pool.state(stream)

    for between in (
        lambda: None,
        lambda: push(list(alone)[:3]),
        lambda: push(alone, 3),
        lambda: runs_alone(2),
        lambda: starts(1),
        comes,
        lambda: goes(0),
        lambda: refused(np.full((1, 1, stream_bundles.FEATURES), np.nan, np.float32)),
        lambda: refused(np.zeros((1, 1, stream_bundles.FEATURES), np.float64)),
        lambda: refused(np.zeros((2, 1, stream_bundles.FEATURES), np.float32)),
        lambda: moves(3),
    ):
        for order in (list(alone), list(alone)[::-1]):
            for _ in range(3):
                push(order)
        between()
        push(list(alone)[::-1])
    assert sum(quick_runs) > 30


def test_answers_of_the_same_streams_again_are_arrays_of_their_own(bundles):
    pool = StreamPool(bundles["GRU", False])
    streams = [pool.open() for _ in range(4)]
    random = np.random.default_rng(12)
    kept = []
    for _ in range(5):
        found = pool.push_many({stream: frames(random, 1) for stream in streams})
        kept += [(array, array.copy()) for arrays in found.values() for array in arrays]
    for array, copy in kept:
        np.testing.assert_array_equal(array, copy)


def test_the_same_streams_again_are_refused_where_one_waits_or_has_ended(bundles, quick_runs):
    pool = StreamPool(bundles["GRU", False])
    chunks = {pool.open(): frames(np.random.default_rng(13), 1) for _ in range(4)}
    for _ in range(4):
        pool.push_many(chunks)
    assert quick_runs[-1]
    pool.push(2, chunks[2])
    with pytest.raises(InputError, match="stream 2 must have no chunks that wait"):
        pool.push_many(chunks)
    pool.run_ready()
    for _ in range(4):
        pool.push_many(chunks)
    assert quick_runs[-1]
    pool.close(3)
    with pytest.raises(InputError, match="stream must be one that is open, got 3"):
        pool.push_many(chunks)
