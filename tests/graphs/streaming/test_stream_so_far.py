"""Answers for the frames so far, reads at every few frames, and rows in another order."""

from __future__ import annotations

import numpy as np
import pytest
from streaming_oracle import Streaming, build, contract_of, stream_of

from rnn_edge.errors import StreamError

WEIGHTS = {"W": (1, 9, 4), "R": (1, 9, 3), "B": (1, 18)}
CONSTANTS = """
    none = Constant<value_int=0>()
    unit = Constant<value_int=1>()
    zero = Constant<value_ints=[0]>()
    one = Constant<value_ints=[1]>()
    two = Constant<value_ints=[2]>()
    flat = Constant<value_ints=[-1]>()
    last = Constant<value_ints=[-1]>()
    far = Constant<value_ints=[9223372036854775807]>()
    sizes = Shape<start=1, end=2>(x)
    time = Squeeze(sizes)
"""
CORE = "t = Transpose<perm=[1,0,2]>(x) y, h = GRU<hidden_size=3>(t, W, R, B)"


def graph(body: str, out: str, more: str = "") -> str:
    return f"g (float[batch,sequence,4] x{more}) => ({out}) {{ {CONSTANTS} {body} }}"


def with_lengths(body: str, out: str, **weights: tuple[int, ...]) -> Streaming:
    model = build(graph(body, out, ", int64[batch] n"), **weights)
    return Streaming(model, contract_of(model, lengths={"n": "sequence"}))


@pytest.mark.parametrize("keep", [0, 1])
def test_a_sum_runs_on(keep: int) -> None:
    dims = "batch,1,4" if keep else "batch,4"
    streaming = stream_of(
        build(graph(f"out = ReduceSum<keepdims={keep}>(x, one)", f"float[{dims}] out"))
    )
    assert len(streaming.form.states) == 1


def test_a_sum_of_whole_numbers_counts() -> None:
    body = """
        high = Greater(x, level)
        number = Cast<to=7>(high)
        out = ReduceSum<keepdims=0>(number, one)
    """
    stream_of(build(graph(body, "int64[batch,4] out"), level=np.array(0.3, np.float32)))


def test_a_sum_by_the_length_is_the_mean_so_far() -> None:
    body = """
        s = ReduceSum<keepdims=0>(x, one)
        length = Cast<to=1>(time)
        out = Div(s, length)
    """
    streaming = stream_of(build(graph(body, "float[batch,4] out")))
    assert streaming.rule.in_step


@pytest.mark.parametrize("keep", [0, 1])
def test_a_sum_is_that_of_the_frames_so_far(keep: int) -> None:
    dims = "batch,1,4" if keep else "batch,4"
    streaming = stream_of(
        build(graph(f"out = ReduceSum<keepdims={keep}>(x, one)", f"float[{dims}] out"))
    )
    assert not streaming.rule.in_step


def test_a_sum_over_time_and_features() -> None:
    body = """
        axes = Constant<value_ints=[1,-1]>()
        out = ReduceSum<keepdims=0>(x, axes)
    """
    stream_of(build(graph(body, "float[batch] out")))


def test_a_sum_behind_a_stride_waits_for_frames() -> None:
    body = """
        three = Constant<value_ints=[3]>()
        few = Slice(x, zero, far, one, three)
        out = ReduceSum<keepdims=0>(few, one)
    """
    stream_of(build(graph(body, "float[batch,4] out")))


def test_an_older_sum_holds_its_axes_itself() -> None:
    text = "g (float[batch,sequence,4] x) => (float[batch,4] out) {"
    text += " out = ReduceSum<axes=[1], keepdims=0>(x) }"
    stream_of(build(text, opset=12))


def test_a_sum_is_not_brought_to_every_step() -> None:
    body = "s = ReduceSum<keepdims=1>(x, one) out = Sub(x, s)"
    with pytest.raises(StreamError, match="brings a result of the whole sequence to every step"):
        Streaming(build(graph(body, "float[batch,sequence,4] out")))


@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("start", [0, 1])
def test_frames_at_every_few_places(stride: int, start: int) -> None:
    body = f"""
        step = Constant<value_int={stride}>() first = Constant<value_int={start}>()
        count = Div(time, step)
        place = Range(none, count, unit)
        scaled = Mul(place, step)
        at = Add(scaled, first)
        out = Gather<axis=1>(x, at)
    """
    streaming = stream_of(build(graph(body, "float[batch,frames,4] out")))
    assert streaming.rule.latency == 0


def test_groups_of_frames_behind_one_another() -> None:
    body = """
        three = Constant<value_int=3>()
        count = Div(time, three)
        place = Range(none, count, unit)
        scaled = Mul(place, three)
        pillar = Constant<value_ints=[-1,1]>()
        columns = Reshape(scaled, pillar)
        ahead = Constant<value_ints=[0,1,2]>()
        grid = Add(columns, ahead)
        at = Reshape(grid, flat)
        frames = Gather<axis=1>(x, at)
        many = Reshape(count, one)
        rows = Shape<start=0, end=1>(x)
        three_ = Constant<value_ints=[3]>() four = Constant<value_ints=[4]>()
        shape = Concat<axis=0>(rows, many, three_, four)
        apart = Reshape(frames, shape)
        whole = Constant<value_ints=[0,0,-1]>()
        out = Reshape(apart, whole)
    """
    streaming = Streaming(build(graph(body, "float[batch,frames,12] out")))
    for chunks in ([1, 1, 4, 3], [1] * 7, [8]):
        streaming.compare(2, chunks, 0)


def test_a_place_beyond_its_group_is_refused() -> None:
    body = """
        step = Constant<value_int=2>()
        count = Div(time, step)
        place = Range(none, count, unit)
        scaled = Mul(place, step)
        at = Add(scaled, step)
        out = Gather<axis=1>(x, at)
    """
    with pytest.raises(StreamError, match="frames that are not there"):
        Streaming(build(graph(body, "float[batch,frames,4] out")))


def test_a_last_step_of_its_own_comes_too_late() -> None:
    body = f"""
        {CORE}
        flat_y = Squeeze(y, one)
        early = Slice(flat_y, zero, last, zero)
        end = Neg(h)
        out = Concat<axis=0>(early, end)
    """
    streaming = stream_of(build(graph(body, "float[sequence,batch,3] out"), **WEIGHTS))
    assert streaming.rule.latency == 1


@pytest.mark.parametrize("taken", ["Slice(whole, last, far, zero)", "Gather<axis=0>(whole, last)"])
def test_the_last_step_of_those_is_there_at_once(taken: str) -> None:
    body = f"""
        {CORE}
        flat_y = Squeeze(y, one)
        early = Slice(flat_y, zero, last, zero)
        end = Neg(h)
        whole = Concat<axis=0>(early, end)
        same = Neg(whole)
        out = {taken}
    """
    outs = "float[sequence,batch,3] same, float[1,batch,3] out"
    streaming = stream_of(build(graph(body, outs), **WEIGHTS))
    inputs = streaming.draw(2, 4, 0)
    states = streaming.start(inputs)
    first = streaming.step(inputs, states, 0, 3, [True] * 2)
    assert first["same"].shape[0] == 2
    begun = streaming.answer({"x": inputs["x"][:, :3]})
    np.testing.assert_allclose(first["out"], begun["out"], atol=2e-6)


def test_a_last_window_that_needs_padding_comes_too_late() -> None:
    body = """
        t = Transpose<perm=[0,2,1]>(x)
        out = Conv<strides=[2], pads=[1,1]>(t, K)
    """
    streaming = Streaming(build(graph(body, "float[batch,5,frames] out"), K=(5, 4, 3)))
    for chunks in ([1], [1] * 8, [9], [2, 3, 1, 5]):
        streaming.compare(2, chunks, 0)
    assert streaming.rule.latency == 1


def test_lengths_by_a_formula_are_those_so_far() -> None:
    body = """
        less = Sub(n, one)
        half = Div(less, two)
        out = Add(half, one)
        same = Identity(x)
    """
    streaming = with_lengths(body, "float[batch,sequence,4] same, int64[batch] out")
    inputs = streaming.draw(2, 9, 0)
    states = streaming.start(inputs)
    ends = [streaming.step(inputs, states, n, 3, [n == 0] * 2)["out"][0] for n in (0, 3, 6)]
    assert ends == [(3 - 1) // 2 + 1, (6 - 1) // 2 + 1, (9 - 1) // 2 + 1]


def test_lengths_as_a_share_and_back_mask_nothing() -> None:
    body = """
        real = Cast<to=1>(n) length = Cast<to=1>(time)
        share = Div(real, length) product = Mul(share, length) whole = Round(product)
        number = Cast<to=7>(whole) kept = Clip(number, unit, time)
        place = Range(none, time, unit)
        pillar = Unsqueeze(kept, one) mask = Less(place, pillar) deep = Unsqueeze(mask, two)
        out = Where(deep, x, gone)
    """
    model = build(
        graph(body, "float[batch,sequence,4] out", ", int64[batch] n"),
        gone=np.array(0.0, np.float32),
    )
    streaming = Streaming(model, contract_of(model, lengths={"n": "sequence"}))
    streaming.compare(2, [1, 3, 2], 0)
    assert "Where" not in streaming.operators()


def test_rows_in_the_order_of_their_lengths() -> None:
    body = """
        rows = Shape<start=0, end=1>(x)
        ordered, order = TopK<axis=0>(n, rows)
        place = Unsqueeze(order, one)
        out = GatherND(x, place)
    """
    with_lengths(body, "float[batch,sequence,4] out").compare(3, [1, 4, 2], 0)


def test_the_last_step_by_row_and_length() -> None:
    body = """
        rows = Shape<start=0, end=1>(x) count = Squeeze(rows)
        row = Range(none, count, unit)
        end = Sub(n, one)
        left = Unsqueeze(row, one) right = Unsqueeze(end, one)
        place = Concat<axis=1>(left, right)
        out = GatherND(x, place)
    """
    with_lengths(body, "float[batch,4] out").compare(3, [2, 1, 4], 0)
