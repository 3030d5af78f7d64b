"""Chunks pushed one by one give what the whole sequence gives, whatever the chunks."""

import inspect
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import stream_bundles
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rnn_edge import StreamSession
from rnn_edge.bundle import Bundle
from rnn_edge.contract import AxisLimits, GraphContract, StatePair, StreamRule
from rnn_edge.errors import ContractError, InputError
from rnn_edge.runtime import stream_batch
from rnn_edge.runtime.providers import bound_run
from rnn_edge.runtime.stream_form import StreamForm
from rnn_edge.runtime.stream_plan import Buffer
from rnn_edge.runtime.stream_quick import quick_push

RANDOM = np.random.default_rng(3)
KINDS = ("LSTM", "GRU")
EPSILON = 1e-6


def frames(batch: int, time: int) -> np.ndarray:
    return RANDOM.normal(size=(batch, time, stream_bundles.FEATURES)).astype(np.float32)


def answer(kind: str, x: np.ndarray) -> np.ndarray:
    return np.stack([stream_bundles.recurrent_answer(kind, row) for row in x])


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> dict[tuple[str, bool, bool], Bundle]:
    """By kind of cell, whether the graph takes reset flags, whether it has a graph for steps."""
    place = tmp_path_factory.mktemp("streams")
    return {
        (kind, reset, step): stream_bundles.write_recurrent(
            place / f"{kind}{reset}{step}", kind, reset=reset, step=step
        )
        for kind in KINDS
        for reset in (False, True)
        for step in (False, True)
    }


@pytest.fixture(scope="module")
def counter(tmp_path_factory) -> Bundle:
    return stream_bundles.write_counter(tmp_path_factory.mktemp("streams") / "counter")


@pytest.fixture(scope="module")
def convolution(tmp_path_factory) -> Bundle:
    return stream_bundles.write_convolution(tmp_path_factory.mktemp("streams") / "convolution")


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=15, suppress_health_check=list(HealthCheck))
@given(batch=st.integers(1, 4), cuts=st.lists(st.integers(1, 5), min_size=1, max_size=8))
def test_any_chunks_give_what_the_whole_sequence_gives(bundles, kind, reset, step, batch, cuts):
    stream = StreamSession(bundles[kind, reset, step], batch=batch)
    x = frames(batch, sum(cuts))
    expected = answer(kind, x)
    start = 0
    for size in cuts:
        y, last = stream.push(x[:, start : start + size])
        np.testing.assert_allclose(y, expected[:, start : start + size], atol=EPSILON)
        np.testing.assert_allclose(last, expected[:, start + size - 1], atol=EPSILON)
        start += size
        assert stream.steps == start


@pytest.mark.parametrize("kind", KINDS)
def test_single_steps_are_bit_for_bit_those_of_one_long_chunk(bundles, kind):
    x = frames(2, 50)
    (whole, _) = StreamSession(bundles[kind, False, False], batch=2).push(x)
    stream = StreamSession(bundles[kind, False, True], batch=2)
    steps = [stream.push(x[:, t : t + 1])[0] for t in range(50)]
    np.testing.assert_array_equal(np.concatenate(steps, 1), whole)


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_reset_start_anew_and_leave_the_others_as_they_are(bundles, kind, reset):
    stream = StreamSession(bundles[kind, reset, True], batch=3)
    x = frames(3, 10)
    stream.push(x[:, :4])
    stream.reset([0, 2])
    assert stream.steps == 4
    ys = [stream.push(x[:, 4:5])[0], stream.push(x[:, 5:])[0]]
    y = np.concatenate(ys, 1)
    np.testing.assert_allclose(y[1], answer(kind, x)[1, 4:], atol=EPSILON)
    np.testing.assert_allclose(y[[0, 2]], answer(kind, x[[0, 2], 4:]), atol=EPSILON)
    stream.reset(1)
    stream.reset()
    assert stream.steps == 0
    np.testing.assert_allclose(stream.push(x)[0], answer(kind, x), atol=EPSILON)


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut", [0, 1, 5])
def test_a_state_moves_a_stream_to_another_session(bundles, kind, reset, cut):
    first = StreamSession(bundles[kind, reset, False], batch=2)
    x = frames(2, 9)
    if cut:
        first.push(x[:, :cut])
    first.reset(1)
    state = first.state
    first.push(x[:, :3])
    second = StreamSession(bundles[kind, reset, True], batch=2)
    second.push(x[:, 4:6])
    second.state = state
    y, _ = second.push(x[:, cut:])
    np.testing.assert_allclose(y[0], answer(kind, x)[0, cut:], atol=EPSILON)
    np.testing.assert_allclose(y[1], answer(kind, x[:, cut:])[1], atol=EPSILON)


def test_state_is_a_copy_by_input_name(bundles):
    stream = StreamSession(bundles["LSTM", True, False], batch=2)
    assert stream.state["begin"].tolist() == [True, True]
    stream.push(frames(2, 3))
    state = stream.state
    assert {name: array.shape for name, array in state.items()} == {
        "core.h_0": (1, 2, 3), "core.c_0": (1, 2, 3), "begin": (2,),
    }  # fmt: skip
    assert state["begin"].tolist() == [False, False]
    before = state["core.h_0"].copy()
    stream.push(frames(2, 3))
    np.testing.assert_array_equal(state["core.h_0"], before)


WRONG_STATES = [
    (lambda s: s.pop("core.c_0"), "missing core.c_0"),
    (lambda s: s.update(other=np.zeros(1)), "got unknown other"),
    (lambda s: s.update({"core.h_0": np.zeros((1, 3, 3), np.float32)}), r"must be \[1, 2, 3\]"),
    (lambda s: s.update({"core.h_0": np.zeros((1, 2, 3))}), "must be float32, got float64"),
]


@pytest.mark.parametrize(("spoil", "message"), WRONG_STATES)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(bundles, spoil, message):
    stream = StreamSession(bundles["LSTM", True, False], batch=2)
    x = frames(2, 6)
    stream.push(x[:, :2])
    state = stream.state
    spoil(state)
    with pytest.raises(InputError, match=message):
        stream.state = state
    np.testing.assert_allclose(stream.push(x[:, 2:])[0], answer("LSTM", x)[:, 2:], atol=EPSILON)


def spoiled(x: np.ndarray, value: float) -> np.ndarray:
    x = x.copy()
    x[1, 2, 1] = value
    return x


WRONG_CHUNKS = [
    (lambda x: x.astype(np.float64), "dtype of x must be float32"),
    (lambda x: x[:1], "axis 0 of x: .* must have size 2"),
    (lambda x: x[:, :, :1], "axis 2 of x: .* must have size 2"),
    (lambda x: x[0], "must have 3 axes"),
    (lambda x: x[:, :0], "axis 'sequence' of x must be at least 1, got 0"),
    (lambda x: spoiled(x, np.nan), r"x\[1, 2, 1\] must be finite, got nan"),
    (lambda x: spoiled(x, np.inf), r"x\[1, 2, 1\] must be finite, got inf"),
    (lambda x: spoiled(x, 101), r"x\[1, 2, 1\] must be at most 100"),
    (lambda x: {"z": x}, "got unknown z"),
    (lambda x: {}, "missing x"),
]


@pytest.mark.parametrize(("spoil", "message"), WRONG_CHUNKS)
@pytest.mark.parametrize("warm", [False, True])
def test_a_chunk_that_does_not_fit_is_refused_in_one_line_and_changes_nothing(
    bundles, spoil, message, warm
):
    stream = StreamSession(bundles["GRU", True, True], batch=2)
    x = frames(2, 9)
    start = 3 if warm else 0
    if warm:
        stream.push(x[:, :3])
    with pytest.raises(InputError, match=message) as info:
        stream.push(spoil(x[:, start : start + 3]))
    assert "\n" not in str(info.value)
    assert stream.steps == start
    y, _ = stream.push(x[:, start:])
    np.testing.assert_allclose(y, answer("GRU", x)[:, start:], atol=EPSILON)


def test_the_number_of_arrays_is_checked(bundles):
    stream = StreamSession(bundles["GRU", False, False])
    with pytest.raises(InputError, match=r"inputs must be x \(1\), got 2"):
        stream.push(frames(1, 1), frames(1, 1))


@pytest.mark.filterwarnings("error")
def test_large_finite_numbers_pass(counter):
    stream = StreamSession(counter)
    x = np.full((1, 2), 1e30, np.float32)
    for start in (0, 0, 2, 4, 6):
        if start == 0:
            stream.reset()
        places = np.arange(start, start + 2, dtype=np.float32)
        np.testing.assert_array_equal(stream.push(x)[0][0], x[0] * places)
    for value in (np.inf, np.nan):
        with pytest.raises(InputError, match="must be finite"):
            stream.push(np.full((1, 2), value, np.float32))
    np.testing.assert_array_equal(stream.push(x)[0][0], x[0] * np.arange(8, 10, dtype=np.float32))


def test_lists_arrays_not_in_c_order_and_names_are_taken(bundles):
    x = frames(2, 4)
    expected = answer("GRU", x)
    for form in (x.tolist(), np.asfortranarray(x), {"x": x}, x[::-1][::-1]):
        stream = StreamSession(bundles["GRU", False, False], batch=2)
        for _ in range(2):
            named = stream.push_named(form)
            assert list(named) == ["y", "last"]
            np.testing.assert_allclose(named["y"], expected, atol=EPSILON)
            stream.reset()


@pytest.mark.parametrize("size", [1, 3])
def test_answers_are_the_caller_s_own_unless_copies_are_off(bundles, size):
    x = frames(1, 2 * size)
    own = StreamSession(bundles["GRU", False, False])
    kept = own.push(x[:, :size])[0]
    before = kept.copy()
    own.push(x[:, size:])
    np.testing.assert_array_equal(kept, before)
    lent = StreamSession(bundles["GRU", False, False], copy=False)
    first, second = lent.push(x[:, :size])[0], lent.push(x[:, size:])[0]
    assert np.shares_memory(first, second)
    np.testing.assert_allclose(second, answer("GRU", x)[:, size:], atol=EPSILON)


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("step", [False, True])
def test_a_push_allocates_no_array(bundles, step, size):
    """Any array of a chunk, a state or an answer of so many rows is larger than what is allowed."""
    rows, allowed = 1024, 4096
    stream = StreamSession(bundles["LSTM", False, step], batch=rows, copy=False)
    x = frames(rows, size)
    tracemalloc.start()
    try:
        # The interpreter keeps something of its own of the first few hundred calls.
        for _ in range(400):
            stream.push(x)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(100):
            stream.push(x)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert max(after, peak) - before < allowed < x.nbytes


def test_more_chunk_sizes_than_are_kept_give_right_answers(bundles, monkeypatch):
    monkeypatch.setattr(stream_batch, "MOST_PLANS", 2)
    stream = StreamSession(bundles["GRU", False, True])
    sizes = [1, 2, 3, 1, 1, 2, 4, 3, 5, 1]
    x = frames(1, sum(sizes))
    ends = np.cumsum(sizes)
    ys = [stream.push(x[:, e - n : e])[0] for e, n in zip(ends, sizes, strict=True)]
    np.testing.assert_allclose(np.concatenate(ys, 1), answer("GRU", x), atol=EPSILON)


def test_a_shared_counter_goes_on_and_starts_anew_with_all_rows_only(counter):
    stream = StreamSession(counter, batch=2)
    ones = np.ones((2, 3), np.float32)
    assert stream.push(ones)[0][1].tolist() == [0, 1, 2]
    state = stream.state
    assert stream.push(ones)[0][1].tolist() == [3, 4, 5]
    with pytest.raises(InputError, match="rows must be all 2, the rows of this model are in step"):
        stream.reset(0)
    assert stream.push(ones)[0][1].tolist() == [6, 7, 8]
    stream.reset([1, 0])
    assert stream.push(ones)[0][0].tolist() == [0, 1, 2]
    stream.state = state
    assert stream.push(ones)[0][0].tolist() == [3, 4, 5]


@settings(deadline=None, max_examples=20, suppress_health_check=list(HealthCheck))
@given(cuts=st.lists(st.integers(1, 4), min_size=1, max_size=8))
def test_answers_that_come_late_are_empty_at_first(convolution, cuts):
    stream = StreamSession(convolution, batch=2)
    assert stream.latency == 1
    x = RANDOM.normal(size=(2, 1, sum(cuts))).astype(np.float32)
    gain = np.array([2, -1], np.float32).reshape(2, 1, 1)
    ends = np.cumsum(cuts)
    parts = [x[:, :, end - size : end] for end, size in zip(ends, cuts, strict=True)]
    ys = [stream.push(parts[0], gain), *(stream.push(part) for part in parts[1:])]
    assert ys[0][0].shape == (2, 1, cuts[0] - 1)
    whole = np.concatenate([y for y, _ in ys], 2)
    for row in range(2):
        expected = stream_bundles.convolution_answer(x[row, 0], gain[row, 0, 0])
        np.testing.assert_allclose(whole[row, 0], expected, atol=1e-5)
    for (_, total), part in zip(ys, parts, strict=True):
        np.testing.assert_allclose(total, part.sum((1, 2)), atol=1e-5)


def test_context_is_asked_for_kept_and_changed(convolution):
    x = np.ones((1, 1, 1), np.float32)
    three, five = np.full((1, 1, 1), 3, np.float32), np.full((1, 1, 1), 5, np.float32)
    stream = StreamSession(convolution)
    with pytest.raises(InputError, match="context gain must be given when a stream starts"):
        stream.push(x)
    with pytest.raises(InputError, match="context gain must be given first"):
        _ = stream.state
    stream.reset()
    assert stream.push({"x": x, "gain": three})[0].shape == (1, 1, 0)
    assert stream.push(x)[0].item() == 3 * (2 - 1)
    with pytest.raises(InputError, match=r"x must be at least|at least 1"):
        stream.push({"x": x[:, :, :0], "gain": five})
    assert stream.push(x)[0].item() == 3 * (2 - 1 + 0.5)
    assert stream.push(x, five)[0].item() == 5 * 1.5
    state = stream.state
    assert state["gain"].item() == 5
    other = StreamSession(convolution, context={"gain": three})
    other.state = state
    assert other.push(x)[0].item() == 5 * 1.5
    del state["gain"]
    third = StreamSession(convolution, context={"gain": three})
    third.state = state
    assert third.push(x)[0].item() == 3 * 1.5


def test_context_that_does_not_fit_is_refused(convolution):
    with pytest.raises(InputError, match="axis 0 of gain"):
        StreamSession(convolution, context={"gain": np.ones((2, 1, 1), np.float32)})
    with pytest.raises(InputError, match="unknown loss"):
        StreamSession(convolution, context={"loss": 1})


@pytest.mark.parametrize("quick", [True, False])
def test_a_run_that_fails_leaves_the_stream_as_it_was(bundles, quick):
    stream = StreamSession(bundles["LSTM", True, False])
    x = frames(1, 6)
    stream.push(x[:, :2])
    stream.push(x[:, 2:3])
    fine = stream._plan.runs

    way = stream._rows.way

    def fail_after_writing() -> None:
        fine[way]()
        raise RuntimeError("out of luck\nfor now")

    stream._plan.runs = [fail_after_writing] * 2
    push = quick_push(stream._rows, stream._plan)
    stream._plan.quick = push if quick else lambda chunk, copy: None
    for _ in range(3):
        with pytest.raises(InputError, match="ONNX Runtime refused: out of luck for now") as info:
            stream.push(x[:, 3:4])
    assert "\n" not in str(info.value)
    stream._plan = None
    np.testing.assert_allclose(stream.push(x[:, 3:])[0], answer("LSTM", x)[:, 3:], atol=EPSILON)


@pytest.mark.parametrize(
    "rows", [3, -1, [0, 3], "ab", [None], 1.5, [1.5], True, [True, False, True]]
)
def test_rows_that_are_not_there_cannot_reset(bundles, rows):
    with pytest.raises(InputError, match="rows must be numbers from 0 to 2"):
        StreamSession(bundles["GRU", True, False], batch=3).reset(rows)


@pytest.mark.parametrize("batch", [0, -1, 1.5, True])
def test_batch_must_be_a_positive_whole_number(bundles, batch):
    with pytest.raises(InputError, match="batch must be a whole number of at least 1"):
        StreamSession(bundles["GRU", True, False], batch=batch)


def test_batch_must_be_one_that_the_graph_takes(tmp_path):
    fixed = stream_bundles.write_recurrent(tmp_path / "a", "GRU", batch=2)
    with pytest.raises(InputError, match="batch must be 2, the only one"):
        StreamSession(fixed)
    x = frames(2, 3)
    np.testing.assert_allclose(
        StreamSession(fixed, batch=2).push(x)[0], answer("GRU", x), atol=EPSILON
    )
    axes = {"batch": AxisLimits(2, 3), "sequence": AxisLimits(2)}
    small = stream_bundles.write_recurrent(tmp_path / "b", "GRU", axes=axes, step=True)
    with pytest.raises(InputError, match="batch must be at most 3, got 4"):
        StreamSession(small, batch=4)
    with pytest.raises(InputError, match="batch must be at least 2, got 1"):
        StreamSession(small)
    # Chunks of one frame are the step graph's, whatever the stream graph's minimum.
    np.testing.assert_allclose(
        StreamSession(small, batch=2).push(x[:, :1])[0], answer("GRU", x)[:, :1], atol=EPSILON
    )


def test_a_lone_file_streams_by_the_contract_that_it_carries(bundles, tmp_path):
    lone = tmp_path / "lone.onnx"
    lone.write_bytes(bundles["GRU", False, False].graph_path("stream").read_bytes())
    x = frames(1, 3)
    np.testing.assert_allclose(
        StreamSession(lone, trusted=True).push(x)[0], answer("GRU", x), atol=EPSILON
    )


def test_a_bundle_without_a_stream_graph_is_refused(series_bundle):
    with pytest.raises(InputError, match="bundle series must hold a graph 'stream'"):
        StreamSession(str(series_bundle.path))
    with pytest.raises(ContractError, match="must be a stream graph"):
        StreamSession(series_bundle.graph_path(), trusted=True)


def test_a_closed_stream_says_so(bundles):
    with StreamSession(bundles["GRU", False, False]) as stream:
        stream.push(frames(1, 2))
    for call in (lambda: stream.push(frames(1, 2)), lambda: stream.state, stream.reset):
        with pytest.raises(InputError, match="stream must be open"):
            call()


def read_changed(**changes) -> None:
    """Read the form of a contract with these changes."""
    contract = GraphContract(
        "stream.onnx",
        (
            stream_bundles.spec("x", "batch", "sequence"),
            stream_bundles.spec("a", "batch"),
            stream_bundles.spec("b", "row"),
        ),
        (stream_bundles.spec("a_n", "batch"), stream_bundles.spec("b_n", "row")),
        (StatePair("a", "a_n", 0),),
        stream=StreamRule("sequence"),
    )
    StreamForm.of(replace(contract, **changes))


def test_contracts_that_cannot_be_streamed_are_refused():
    with pytest.raises(ContractError, match="must have the axis 'time'"):
        read_changed(stream=StreamRule("time"))
    with pytest.raises(ContractError, match="must share one batch axis, got batch, row"):
        read_changed(states=(StatePair("a", "a_n", 0), StatePair("b", "b_n", 0)))
    with pytest.raises(ContractError, match="must be numbers"):
        read_changed(outputs=(stream_bundles.spec("a_n", "batch", dtype="string"),))


def test_a_step_graph_with_other_tensors_is_refused(tmp_path):
    bundle = stream_bundles.write_recurrent(tmp_path / "s", "GRU", step=True)
    graphs = dict(bundle.contract.graphs)
    graphs["step"] = replace(graphs["step"], inputs=graphs["step"].inputs[::-1])
    other = replace(bundle, contract=replace(bundle.contract, graphs=graphs))
    with pytest.raises(ContractError, match=r"step.onnx must be those of stream.onnx"):
        StreamSession(other)


def test_a_device_s_memory_is_written_and_read_by_copies():
    """What a stream on CUDA does, with the CPU's own memory in the part of the device's."""
    buffer = Buffer((2,), "float32", "cpu")
    away = Buffer((2,), "float32", "cpu")
    away.away, away.value = True, type(buffer.value).ortvalue_from_numpy(np.zeros(2, np.float32))
    for each in (buffer, away):
        each.array[...] = [1, 2]
        each.upload()
        each.array[...] = 0 if each.away else each.array
        np.testing.assert_array_equal(each.read(), [1, 2])


def test_a_bound_run_without_the_runtime_s_inner_session_uses_its_own_method():
    calls = []

    class Plain:
        def run_with_iobinding(self, binding: object) -> None:
            calls.append(binding)

    bound_run(Plain(), "binding")()
    assert calls == ["binding"]


def test_docstrings_name_shapes_units_and_errors():
    text = inspect.getdoc(StreamSession) + inspect.getdoc(StreamSession.push)
    for word in ("batch", "frames", "InputError", "copy=False"):
        assert word in text
