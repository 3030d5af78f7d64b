"""StreamSession over generated C: numpy's answers, and the states of the other engine."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import stream_bundles
import torch
from torch import Tensor, nn

import rnn_edge
from rnn_edge import StreamSession
from rnn_edge.bundle import Bundle
from rnn_edge.c99 import library
from rnn_edge.contract import AxisLimits
from rnn_edge.errors import InputError, IntegrationError, ProviderError

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="needs a C compiler"
)
RANDOM = np.random.default_rng(5)
KINDS = ("LSTM", "GRU")
EPSILON = 2e-6


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp("cache")
        patch.setenv(library.CACHE_VARIABLE, str(place))
        yield place


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, bool], Bundle]:
    place = tmp_path_factory.mktemp("native")
    return {
        (kind, reset): stream_bundles.write_recurrent(place / f"{kind}{reset}", kind, reset=reset)
        for kind in KINDS
        for reset in (False, True)
    }


class ChannelsFirst(nn.Module):
    """A causal convolution, whose time lies behind the channels."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(6)
        self.conv = nn.Conv1d(3, 5, 3, dilation=2)
        self.core = nn.GRU(5, 4, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, _ = self.core(self.conv(nn.functional.pad(x, (4, 0))).transpose(1, 2))
        return y.transpose(1, 2), y[:, -1]


class Strided(nn.Module):
    """Two strides, a layer, its last step."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.first, self.second = nn.Conv1d(3, 6, 6, stride=2), nn.Conv1d(6, 4, 3, stride=3)
        self.core = nn.GRU(4, 5, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.relu(self.second(torch.relu(self.first(x.transpose(1, 2)))))
        y = self.core(y.transpose(1, 2))[0]
        return y, y[:, -1]


class Likeliest(nn.Module):
    """The two largest features of each frame."""

    def forward(self, x: Tensor) -> Tensor:
        return x.topk(2).values


def frames(batch: int, time: int) -> np.ndarray:
    return RANDOM.normal(size=(batch, time, stream_bundles.FEATURES)).astype(np.float32)


def answer(kind: str, x: np.ndarray) -> np.ndarray:
    return np.stack([stream_bundles.recurrent_answer(kind, row) for row in x])


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_chunks_give_what_the_whole_sequence_gives(bundles, kind, reset, batch) -> None:
    stream = StreamSession(bundles[kind, reset], batch=batch, engine="c")
    cuts = [1, 1, 4, 1, 3, 2, 1]
    x = frames(batch, sum(cuts))
    expected, start = answer(kind, x), 0
    for size in cuts:
        y, last = stream.push(x[:, start : start + size])
        np.testing.assert_allclose(y, expected[:, start : start + size], atol=EPSILON)
        np.testing.assert_allclose(last, expected[:, start + size - 1], atol=EPSILON)
        start += size
    assert stream.steps == start


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_reset_start_anew(bundles, kind, reset) -> None:
    stream = StreamSession(bundles[kind, reset], batch=3, engine="c")
    x = frames(3, 10)
    stream.push(x[:, :4])
    stream.reset([0, 2])
    y = np.concatenate([stream.push(x[:, 4:5])[0], stream.push(x[:, 5:])[0]], 1)
    np.testing.assert_allclose(y[1], answer(kind, x)[1, 4:], atol=EPSILON)
    np.testing.assert_allclose(y[[0, 2]], answer(kind, x[[0, 2], 4:]), atol=EPSILON)
    stream.reset()
    np.testing.assert_allclose(stream.push(x)[0], answer(kind, x), atol=EPSILON)


@pytest.mark.parametrize("engines", [("c", "onnxruntime"), ("onnxruntime", "c"), ("c", "c")])
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_state_moves_between_engines(bundles, kind, reset, engines) -> None:
    first, second = (StreamSession(bundles[kind, reset], batch=2, engine=e) for e in engines)
    x = frames(2, 9)
    first.push(x[:, :5])
    first.reset(1)
    state = first.state
    first.push(x[:, :2])
    second.push(x[:, 4:6])
    second.state = state
    y, _ = second.push(x[:, 5:])
    np.testing.assert_allclose(y[0], answer(kind, x)[0, 5:], atol=EPSILON)
    np.testing.assert_allclose(y[1], answer(kind, x[:, 5:])[1], atol=EPSILON)


@pytest.mark.parametrize("time", [1, 3])
@pytest.mark.parametrize("value", [np.nan, np.inf, stream_bundles.MAXIMUM + 1])
def test_a_chunk_that_is_refused_changes_nothing(bundles, time, value) -> None:
    stream = StreamSession(bundles["LSTM", True], engine="c")
    x = frames(1, 9)
    for place in range(2):
        stream.push(x[:, place : place + 1])
    wrong = frames(1, time)
    wrong[0, -1, 1] = value
    with pytest.raises(InputError, match=r"^x\[0, \d, 1\] must be"):
        stream.push(wrong)
    with pytest.raises(InputError, match=r"axis 2 of x: .* must have size 2"):
        stream.push(np.zeros((1, 1, 3), np.float32))
    np.testing.assert_allclose(stream.push(x[:, 2:])[0], answer("LSTM", x)[:, 2:], atol=EPSILON)
    assert stream.steps == 9


def test_answers_are_the_caller_s_own_unless_copies_are_off(bundles) -> None:
    x = frames(1, 6)
    for copy in (True, False):
        stream = StreamSession(bundles["GRU", False], engine="c", copy=copy)
        kept = [stream.push(x[:, t : t + 1])[0] for t in range(6)]
        assert np.array_equal(kept[0], kept[5]) is not copy


def test_a_counter_that_rows_share(tmp_path: Path) -> None:
    stream = StreamSession(stream_bundles.write_counter(tmp_path / "counter"), batch=2, engine="c")
    ones = np.ones((2, 3), np.float32)
    assert stream.push(ones)[0][1].tolist() == [0, 1, 2]
    state = stream.state
    assert stream.push(ones)[0][1].tolist() == [3, 4, 5]
    with pytest.raises(InputError, match="in step"):
        stream.reset(0)
    stream.reset()
    assert stream.push(ones)[0][0].tolist() == [0, 1, 2]
    stream.state = state
    assert stream.push(ones)[0][0].tolist() == [3, 4, 5]


def test_time_may_lie_behind_the_channels(tmp_path: Path) -> None:
    module = ChannelsFirst().eval()
    axes = [("batch", None, "sequence")]
    bundle = rnn_edge.export(module, torch.randn(2, 3, 8), tmp_path / "conv", axes=axes)
    stream = StreamSession(bundle, batch=2, engine="c")
    x = torch.randn(2, 3, 14)
    with torch.no_grad():
        expected = [y.numpy() for y in module(x)]
    ys = [stream.push(part.numpy()) for part in x.split([1, 6, 1, 1, 5], dim=2)]
    np.testing.assert_allclose(np.concatenate([y for y, _ in ys], 2), expected[0], atol=EPSILON)
    np.testing.assert_allclose(ys[-1][1], expected[1], atol=EPSILON)


def test_a_step_may_take_several_frames(tmp_path: Path) -> None:
    axes = {"batch": AxisLimits(), "sequence": AxisLimits(minimum=2)}
    bundle = stream_bundles.write_recurrent(tmp_path / "pairs", "GRU", axes=axes)
    stream = StreamSession(bundle, batch=2, engine="c")
    x = frames(2, 12)
    ys = [stream.push(part)[0] for part in np.split(x, [2, 4, 8], 1)]
    np.testing.assert_allclose(np.concatenate(ys, 1), answer("GRU", x), atol=EPSILON)
    with pytest.raises(InputError, match="must be a multiple of 2 with the engine 'c', got 3"):
        stream.push(x[:, :3])


def test_weights_of_8_bits_are_near(tmp_path: Path) -> None:
    torch.manual_seed(7)
    module = nn.LSTM(24, 48, batch_first=True)
    folder = tmp_path / "lstm"
    bundle = rnn_edge.export(module, torch.randn(2, 5, 24), folder, axes=[("batch", "time", None)])
    x = RANDOM.normal(size=(1, 30, 24)).astype(np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(x))[0].numpy()
    errors = [
        abs(StreamSession(bundle, engine=engine).push(x)[0] - expected).max()
        for engine in ("c", "c-int8")
    ]
    assert errors[0] < EPSILON
    assert EPSILON < errors[1] < 0.05


def test_a_library_is_built_once(bundles, monkeypatch: pytest.MonkeyPatch) -> None:
    StreamSession(bundles["GRU", False], engine="c")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(subprocess, "run", refuse)
    StreamSession(bundles["GRU", False], engine="c")
    monkeypatch.setattr(library, "_FLAGS", (*library._FLAGS, "-DOTHER"))
    with pytest.raises(AssertionError, match="built again"):
        StreamSession(bundles["GRU", False], engine="c")


def test_a_library_with_wrong_answers_is_not_kept(
    bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate = library.generate

    def generate_wrongly(*given: object, **more: object) -> object:
        made = generate(*given, **more)
        source = made.sources["model.c"]
        wrong = source.replace("2 * n + i", "3 * n + i")
        assert wrong != source
        return dataclasses.replace(made, sources={**made.sources, "model.c": wrong})

    monkeypatch.setenv(library.CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(library, "generate", generate_wrongly)
    with pytest.raises(ProviderError, match="must give ONNX Runtime's 'y', it gives an error of"):
        StreamSession(bundles["LSTM", False], engine="c")
    assert list((tmp_path / "libraries").iterdir()) == []


def test_what_is_not_there_is_said(bundles, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = bundles["GRU", True]
    with pytest.raises(ProviderError, match="engine must be one of onnxruntime, c, c-int8"):
        StreamSession(bundle, engine="C++")
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(ProviderError, match="CC must name a C compiler, 'no-such-compiler'"):
        StreamSession(bundle, engine="c")
    monkeypatch.delenv("CC")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ProviderError, match="needs a C compiler, found neither of cc, gcc, clang"):
        StreamSession(bundle, engine="c")


def test_a_graph_that_has_no_c_is_refused_by_its_operator(tmp_path: Path) -> None:
    axes = [("batch", "sequence", None)]
    bundle = rnn_edge.export(Likeliest(), torch.randn(2, 5, 4), tmp_path / "likeliest", axes=axes)
    with pytest.raises(
        IntegrationError, match=r"^operator TopK .* must be one that can be written"
    ):
        StreamSession(bundle, engine="c")


@pytest.fixture(scope="module")
def strided(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A frame of the answer for every 6 of the input, the first one after 10."""
    folder = tmp_path_factory.mktemp("strided") / "bundle"
    axes = [("batch", "sequence", None)]
    return rnn_edge.export(Strided().eval(), torch.randn(2, 40, 3), folder, axes=axes)


@pytest.mark.parametrize("batch", [1, 3])
def test_strides_take_as_many_frames_a_step(strided: Bundle, batch: int) -> None:
    stream = StreamSession(strided, batch=batch, engine="c")
    x = RANDOM.normal(size=(batch, 60, 3)).astype(np.float32)
    for _ in range(2):
        parts = [stream.push(part) for part in np.split(x, [6, 12, 30, 36], 1)]
        assert [part[0].shape[1] for part in parts] == [0, 1, 3, 1, 4]
        with torch.no_grad():
            y, last = (answer.numpy() for answer in Strided().eval()(torch.from_numpy(x)))
        np.testing.assert_allclose(np.concatenate([p[0] for p in parts], 1), y, atol=EPSILON)
        np.testing.assert_allclose(parts[-1][1], last, atol=EPSILON)
        stream.reset()
    with pytest.raises(InputError, match="must be a multiple of 6 with the engine 'c', got 4"):
        stream.push(x[:, :4])


def test_a_state_between_steps_is_not_taken(strided: Bundle) -> None:
    native, other = (StreamSession(strided, engine=engine) for engine in ("c", "onnxruntime"))
    x = RANDOM.normal(size=(1, 36, 3)).astype(np.float32)
    native.push(x[:, :12])
    other.push(x[:, :13])
    with pytest.raises(InputError, match=r"one after a multiple of 6 frames .* step_0 is 13"):
        native.state = other.state
    other.state = native.state
    ends = [stream.push(x[:, 12:])[0] for stream in (native, other)]
    np.testing.assert_allclose(*ends, atol=EPSILON)


@pytest.mark.parametrize(("kind", "reset"), [("LSTM", False), ("GRU", True)])
def test_streams_of_a_pool_give_their_own_answers_whatever_they_do(
    bundles: dict[tuple[str, bool], Bundle], kind: str, reset: bool
) -> None:
    bundle, random = bundles[kind, reset], np.random.default_rng(9)
    pool = rnn_edge.StreamPool(bundle, engine="c", max_batch=16)
    pushed: dict[int, list[np.ndarray]] = {}
    found: dict[int, list[np.ndarray]] = {}
    compared = 0

    def end(stream: int) -> None:
        nonlocal compared
        if pushed[stream]:
            x, y = np.concatenate(pushed[stream], 1)[0], np.concatenate(found[stream], 1)[0]
            expected = stream_bundles.recurrent_answer(kind, x)
            np.testing.assert_allclose(y, expected, atol=EPSILON)
            compared += 1
        pushed[stream], found[stream] = [], []

    for turn in range(150):
        if len(pushed) < 24:
            stream = pool.open()
            pushed[stream], found[stream] = [], []
        size = int(random.integers(1, 4))
        ready = [stream for stream in pushed if turn % 3 or random.random() < 0.6]
        chunks = {
            stream: random.normal(size=(1, size, stream_bundles.FEATURES)).astype(np.float32)
            for stream in ready
        }
        for stream, answers in pool.push_many(chunks).items():
            pushed[stream].append(chunks[stream])
            found[stream].append(answers[0])
        stream = list(pushed)[int(random.integers(len(pushed)))]
        if turn % 4 == 1:
            end(stream)
            pool.reset(stream)
        elif turn % 4 == 3:
            end(stream)
            pool.close(stream)
            del pushed[stream], found[stream]
    assert compared > 50


def test_a_stream_moves_between_the_pools_of_both_engines(
    bundles: dict[tuple[str, bool], Bundle],
) -> None:
    bundle, random = bundles["LSTM", True], np.random.default_rng(10)
    x = random.normal(size=(1, 9, stream_bundles.FEATURES)).astype(np.float32)
    pools = [rnn_edge.StreamPool(bundle, engine=engine) for engine in ("c", "onnxruntime", "c")]
    state, parts = None, []
    for number, pool in enumerate(pools):
        pool.open()
        stream = pool.open(state)
        part = x[:, 3 * number : 3 * number + 3]
        parts.append(pool.push_many({stream: part})[stream][0])
        state = pool.state(stream)
    expected = stream_bundles.recurrent_answer("LSTM", x[0])
    np.testing.assert_allclose(np.concatenate(parts, 1)[0], expected, atol=EPSILON)


def test_streams_of_a_pool_at_other_steps_keep_their_counters(tmp_path: Path) -> None:
    pool = rnn_edge.StreamPool(stream_bundles.write_counter(tmp_path / "counter"), engine="c")
    two = np.ones((1, 2), np.float32)
    begun: dict[int, int] = {}
    for turn in range(5):
        begun[pool.open()] = turn
        if turn == 3:
            pool.reset(0)
            begun[0] = turn
        for stream, answers in pool.push_many(dict.fromkeys(begun, two)).items():
            first = 2 * (turn - begun[stream])
            assert answers[0][0].tolist() == [first, first + 1]
