"""Frames taken, shifted, counted and put side by side."""

from __future__ import annotations

import numpy as np
import pytest
from streaming_oracle import Streaming, build, check, contract_of, stream_of

TABLE = np.random.default_rng(3).standard_normal((80, 4)).astype(np.float32)
NUMBERS = """
    zero = Constant<value_ints=[0]>()
    one = Constant<value_ints=[1]>()
    two = Constant<value_ints=[2]>()
    last = Constant<value_ints=[-1]>()
    far = Constant<value_ints=[9223372036854775807]>()
    nought = Constant<value_int=0>()
    unit = Constant<value_int=1>()
    frames_ = Shape<start=1, end=2>(x)
    length = Squeeze(frames_)
"""


def graph(body: str, dims: str = "batch,sequence,4", more: str = "", **weights):
    text = f"g (float[batch,sequence,4] x{more}) => (float[{dims}] out) {{ {NUMBERS} {body} }}"
    return build(text, **weights)


def test_difference() -> None:
    body = """
        later = Slice(x, one, far, one)
        earlier = Slice(x, zero, last, one)
        out = Sub(later, earlier)
    """
    check(Streaming(graph(body, "batch,frames,4")), shortest=2)


def test_difference_with_a_frame_of_zeros_before() -> None:
    body = """
        pads = Constant<value_ints=[0,1,0,0,0,0]>()
        padded = Pad(x, pads)
        earlier = Slice(padded, zero, last, one)
        out = Sub(x, earlier)
    """
    streaming = stream_of(graph(body))
    assert not streaming.rule.in_step
    assert streaming.rule.reset is None


def test_difference_to_the_first_frame_itself() -> None:
    body = """
        pads = Constant<value_ints=[0,1,0,0,0,0]>()
        nothing = Constant<value_float=0.0>()
        padded = Pad<mode="edge">(x, pads)
        earlier = Slice(padded, zero, last, one)
        out = Sub(x, earlier)
    """
    stream_of(graph(body))


def test_shift_with_pad_and_crop_in_one() -> None:
    body = """
        pads = Constant<value_ints=[0,1,0,0,-1,0]>()
        earlier = Pad(x, pads)
        out = Mul(x, earlier)
    """
    stream_of(graph(body))


def test_start_token() -> None:
    body = """
        sizes = Shape<start=0, end=1>(x)
        four = Constant<value_ints=[4]>()
        shape = Concat<axis=0>(sizes, one, four)
        begin = Expand(token, shape)
        earlier = Slice(x, zero, last, one)
        out = Concat<axis=1>(begin, earlier)
    """
    streaming = stream_of(graph(body, token=(1, 1, 4)))
    assert streaming.rule.reset == "reset"


def test_start_token_before_a_gru() -> None:
    body = """
        sizes = Shape<start=0, end=1>(x)
        four = Constant<value_ints=[4]>()
        shape = Concat<axis=0>(sizes, one, four)
        begin = Expand(token, shape)
        earlier = Slice(x, zero, last, one)
        both = Concat<axis=1>(begin, earlier)
        t = Transpose<perm=[1,0,2]>(both)
        y, h = GRU<hidden_size=3>(t, W, R, B)
        s = Squeeze(y, one)
        out = Transpose<perm=[1,0,2]>(s)
    """
    gru = {"W": (1, 9, 4), "R": (1, 9, 3), "B": (1, 18)}
    stream_of(graph(body, "batch,sequence,3", token=(1, 1, 4), **gru))


@pytest.mark.parametrize("exclusive", [0, 1])
def test_running_sum(exclusive: int) -> None:
    streaming = stream_of(graph(f"out = CumSum<exclusive={exclusive}>(x, unit)"))
    assert not streaming.rule.in_step


def test_running_mean() -> None:
    body = """
        sum = CumSum(x, unit)
        places = Range(nought, length, unit)
        numbers = Add(places, unit)
        count = Cast<to=1>(numbers)
        column = Unsqueeze(count, one)
        out = Div(sum, column)
    """
    assert stream_of(graph(body)).rule.in_step


@pytest.mark.parametrize("start", [0, 3])
def test_position_table(start: int) -> None:
    body = f"""
        start = Constant<value_ints=[{start}]>()
        end = Add(frames_, start)
        rows = Slice(table, start, end, zero)
        out = Add(x, rows)
    """
    assert stream_of(graph(body, table=TABLE)).rule.in_step


def test_positions_looked_up() -> None:
    body = """
        places = Range(nought, length, unit)
        rows = Gather(table, places)
        out = Add(x, rows)
    """
    assert stream_of(graph(body, table=TABLE)).rule.in_step


def test_tokens_embedded() -> None:
    text = """
    g (int64[batch,sequence] x) => (float[sequence,1,batch,3] y) {
        e = Gather(table, x)
        t = Transpose<perm=[1,0,2]>(e)
        y, h = GRU<hidden_size=3>(t, W, R, B)
    }"""
    gru = {"W": (1, 9, 4), "R": (1, 9, 3), "B": (1, 18)}
    stream_of(build(text, table=TABLE, **gru))


def test_last_frame_by_number() -> None:
    stream_of(graph("c = CumSum(x, unit) minus = Constant<value_int=-1>() "
                    "out = Gather<axis=1>(c, minus)", "batch,4"))  # fmt: skip


def test_last_frame_by_length() -> None:
    body = """
        c = CumSum(x, unit)
        place = Sub(length, unit)
        out = Gather<axis=1>(c, place)
    """
    stream_of(graph(body, "batch,4"))


def test_last_two_frames() -> None:
    body = """
        begin = Constant<value_ints=[-2]>()
        out = Slice(x, begin, far, one)
    """
    check(Streaming(graph(body, "batch,2,4")), shortest=2)


LENGTHS = ", int64[batch] lengths"


def test_last_step_by_lengths() -> None:
    body = """
        c = CumSum(x, unit)
        place = Sub(lengths, unit)
        minus = Constant<value_ints=[-1,1,1]>()
        column = Reshape(place, minus)
        wide = Constant<value_ints=[1,1,4]>()
        index = Expand(column, wide)
        taken = GatherElements<axis=1>(c, index)
        out = Squeeze(taken, one)
    """
    model = graph(body, "batch,4", LENGTHS)
    check(Streaming(model, contract_of(model, lengths={"lengths": "sequence"})))


def test_mask_of_lengths() -> None:
    body = """
        places = Range(nought, length, unit)
        column = Unsqueeze(lengths, one)
        mask = Less(places, column)
        wide = Unsqueeze(mask, two)
        nothing = Constant<value_float=0.0>()
        out = Where(wide, x, nothing)
    """
    model = graph(body, "batch,sequence,4", LENGTHS)
    streaming = check(Streaming(model, contract_of(model, lengths={"lengths": "sequence"})))
    assert "Where" not in streaming.operators()
    assert not streaming.rule.in_step


def test_first_frame_taken_from_all() -> None:
    body = """
        first = Slice(x, zero, one, one)
        out = Sub(x, first)
    """
    assert stream_of(graph(body)).rule.reset == "reset"


@pytest.mark.parametrize("stride", [2, 3])
def test_every_few_frames(stride: int) -> None:
    body = f"""
        some = Constant<value_ints=[{stride}]>()
        out = Slice(x, zero, far, one, some)
    """
    check(Streaming(graph(body, "batch,frames,4")))


def test_every_second_frame_from_the_second_on() -> None:
    check(Streaming(graph("out = Slice(x, one, far, one, two)", "batch,frames,4")), shortest=2)


def test_frames_beside_each_other() -> None:
    body = """
        pads = Constant<value_ints=[0,2,0,0,-2,0]>()
        earlier = Pad(x, pads)
        both = Concat<axis=2>(x, earlier)
        out = MatMul(both, V)
    """
    stream_of(graph(body, V=(8, 4)))


def test_first_start_token_cut_off() -> None:
    body = """
        both = Concat<axis=1>(begin, x)
        part = Slice(both, one, last, one)
        out = Mul(part, x)
    """
    model = graph(f"sizes = Shape<start=0, end=1>(x) four = Constant<value_ints=[4]>() "
                  f"shape = Concat<axis=0>(sizes, two, four) begin = Expand(tokens, shape) {body}",
                  tokens=(1, 2, 4))  # fmt: skip
    stream_of(model)


def test_padding_changed_before_it_is_used() -> None:
    """Zeros before the first frame are no zeros behind a bias and a sigmoid."""
    body = """
        pads = Constant<value_ints=[0,2,0,0,0,0]>()
        padded = Pad(x, pads)
        mixed = MatMul(padded, V)
        shifted = Add(mixed, b)
        gate = Sigmoid(shifted)
        normal = LayerNormalization<axis=-1>(gate, b, b)
        t = Transpose<perm=[0,2,1]>(normal)
        c = Conv(t, K)
        out = Transpose<perm=[0,2,1]>(c)
    """
    assert stream_of(graph(body, V=(4, 4), b=(4,), K=(4, 4, 3))).rule.latency == 0


@pytest.mark.parametrize("cropped", [1, 3])
def test_cropped_end_is_held_back(cropped: int) -> None:
    """x[:, :-n] is never given a frame too many."""
    body = f"end = Constant<value_ints=[-{cropped}]>() out = Slice(x, zero, end, one)"
    streaming = check(Streaming(graph(body, "batch,frames,4")), shortest=cropped)
    given = streaming.draw(2, 9, 0)
    assert streaming.run(given, [4, 5])["out"].shape[1] == 9 - cropped


def test_cropped_end_behind_a_gru() -> None:
    body = """
        t = Transpose<perm=[1,0,2]>(x)
        y, h = GRU<hidden_size=4>(t, W, R, B)
        s = Squeeze(y, one)
        b = Transpose<perm=[1,0,2]>(s)
        out = Slice(b, zero, last, one)
    """
    gru = {"W": (1, 12, 4), "R": (1, 12, 4), "B": (1, 24)}
    check(Streaming(graph(body, "batch,frames,4", **gru)))


def test_windows_of_frames() -> None:
    """x.unfold(1, 3, 1), as it is exported: a gather of three places for every frame."""
    body = """
        two_ = Constant<value_int=2>()
        fewer = Sub(length, two_)
        places = Range(nought, fewer, unit)
        column = Unsqueeze(places, one)
        index = Add(column, offsets)
        windows = Gather<axis=1>(x, index)
        shape = Constant<value_ints=[0,0,12]>()
        flat = Reshape(windows, shape)
        out = MatMul(flat, V)
    """
    model = graph(body, "batch,frames,4", offsets=np.array([[0, 1, 2]]), V=(12, 4))
    check(Streaming(model), shortest=3)


def test_every_frame_by_its_place() -> None:
    body = """
        places = Range(nought, length, unit)
        same = Gather<axis=1>(x, places)
        out = Add(same, x)
    """
    stream_of(graph(body))


def test_frames_two_ahead_by_their_places() -> None:
    body = """
        two_ = Constant<value_int=2>()
        fewer = Sub(length, two_)
        places = Range(nought, fewer, unit)
        later = Add(places, two_)
        out = Gather<axis=1>(x, later)
    """
    check(Streaming(graph(body, "batch,frames,4")), shortest=3)
