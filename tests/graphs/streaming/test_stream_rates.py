"""Frames at other rates than the input's: trimmed, taken in turn, repeated, written over."""

from __future__ import annotations

import itertools

import numpy as np
import onnx_ir as ir
import pytest
from streaming_oracle import Streaming, build

from rnn_edge.errors import StreamError

CHUNKS = ([1] * 11, [11], [2, 3, 1, 4, 2], [5, 7], [1, 1, 9])
NUMBERS = """
    zero = Constant<value_ints=[0]>()
    one = Constant<value_ints=[1]>()
    two = Constant<value_ints=[2]>()
    far = Constant<value_ints=[9223372036854775807]>()
    rows = Shape<start=0, end=1>(x)
    frames_ = Shape<start=1, end=2>(x)
"""
GRU = """
    turned = Transpose<perm=[1,0,2]>(before)
    flat, last = GRU<hidden_size=3>(turned, W, R, B)
    y = Squeeze(flat, one)
"""
WEIGHTS = {"R": (1, 9, 3), "B": (1, 18)}


def graph(body: str, outputs: str, more: str = "", features: int = 2, **weights) -> ir.Model:
    text = f"g (float[batch,sequence,{features}] x{more}) => ({outputs}) {{ {NUMBERS} {body} }}"
    return build(text, **weights)


def follow(model: ir.Model) -> Streaming:
    streaming = Streaming(model)
    for rows, chunks in itertools.product((1, 3), CHUNKS):
        streaming.compare(rows, chunks, 0)
    return streaming


def test_vector_repeated_for_every_frame() -> None:
    body = """
        v3 = Unsqueeze(v, one)
        times = Concat<axis=0>(one, frames_, one)
        everywhere = Tile(v3, times)
        y = Concat<axis=2>(x, everywhere)
    """
    follow(graph(body, "float[batch,sequence,7] y", ", float[batch,5] v"))


def test_trimmed_to_whole_groups_and_grouped() -> None:
    body = f"""
        three = Constant<value_ints=[3]>()
        groups = Div(frames_, three)
        whole = Mul(groups, three)
        trimmed = Slice(x, zero, whole, one)
        width = Constant<value_ints=[6]>()
        shape = Concat<axis=0>(rows, groups, width)
        before = Reshape(trimmed, shape)
        {GRU}
    """
    outputs = "float[frames,batch,3] y, float[1,batch,3] last"
    follow(graph(body, outputs, W=(1, 9, 6), **WEIGHTS))


def test_trimmed_frames_as_they_are_are_refused() -> None:
    body = """
        groups = Div(frames_, two)
        whole = Mul(groups, two)
        y = Slice(x, zero, whole, one)
    """
    with pytest.raises(StreamError, match="depends on what comes"):
        Streaming(graph(body, "float[batch,frames,2] y"))


@pytest.mark.parametrize("trimmed", [True, False])
def test_frames_taken_in_turn_side_by_side(trimmed: bool) -> None:
    end = "whole" if trimmed else "far"
    body = f"""
        groups = Div(frames_, two)
        whole = Mul(groups, two)
        even = Slice(x, zero, {end}, one)
        a = Slice(even, zero, whole, one, two)
        b = Slice(even, one, far, one, two)
        before = Concat<axis=2>(a, b)
        {GRU}
    """
    follow(graph(body, "float[frames,batch,3] y", W=(1, 9, 4), **WEIGHTS))


@pytest.mark.parametrize("count", [2, 3])
def test_every_frame_repeated(count: int) -> None:
    body = f"""
        shape = Constant<value_ints=[1,1,{count},1]>()
        wide = Unsqueeze(x, two)
        many = Expand(wide, shape)
        target = Constant<value_ints=[0,-1,2]>()
        before = Reshape(many, target)
        {GRU}
    """
    outputs = "float[frames,batch,3] y, float[1,batch,3] last"
    follow(graph(body, outputs, W=(1, 9, 2), **WEIGHTS))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (3, 1), (2, 2)])
def test_transposed_convolution(size: int, stride: int, dilation: int) -> None:
    body = f"""
        t = Transpose<perm=[0,2,1]>(x)
        c = ConvTranspose<strides=[{stride}], dilations=[{dilation}]>(t, K, D)
        y = Transpose<perm=[0,2,1]>(c)
    """
    streaming = follow(graph(body, "float[batch,frames,4] y", K=(2, 4, size), D=(4,)))
    assert streaming.rule.latency == max(0, (size - 1) * dilation + 1 - stride)


@pytest.mark.parametrize("pads", [[0, 2], [1, 1], [2, 0], [2, 1]])
def test_transposed_convolution_cut_and_read_by_a_recurrence(pads: list[int]) -> None:
    body = f"""
        t = Transpose<perm=[0,2,1]>(x)
        c = ConvTranspose<strides=[2], pads={pads}>(t, K, D)
        before = Transpose<perm=[0,2,1]>(c)
        {GRU}
    """
    model = graph(body, "float[frames,batch,3] y", K=(2, 4, 4), D=(4,), W=(1, 9, 4), **WEIGHTS)
    assert follow(model).rule.latency == 2 - pads[1]


def test_transposed_convolution_after_a_stride() -> None:
    body = """
        t = Transpose<perm=[0,2,1]>(x)
        half = Conv<strides=[2], pads=[1,0]>(t, C)
        c = ConvTranspose<strides=[2]>(half, K)
        y = Transpose<perm=[0,2,1]>(c)
    """
    follow(graph(body, "float[batch,frames,4] y", C=(3, 2, 2), K=(3, 4, 2)))


@pytest.mark.parametrize("old", ["Sub(x, x)", "Identity(x)", "Tanh(x)"])
def test_frames_from_the_second_on_written_over(old: str) -> None:
    body = f"""
        back = Constant<value_ints=[-1]>()
        nought = Constant<value_int=0>()
        unit = Constant<value_int=1>()
        later = Slice(x, one, far, one)
        earlier = Slice(x, zero, back, one)
        difference = Sub(later, earlier)
        length = Squeeze(frames_)
        places = Range(nought, length, unit)
        some = Slice(places, one, far, zero)
        column = Unsqueeze(some, back)
        start = {old}
        data = Transpose<perm=[1,0,2]>(start)
        updates = Transpose<perm=[1,0,2]>(difference)
        written = ScatterND(data, column, updates)
        y = Transpose<perm=[1,0,2]>(written)
    """
    follow(graph(body, "float[batch,sequence,2] y"))


@pytest.mark.parametrize("equation", ["...k,kn->...n", "b...k,kn->b...n", "atk,kz"])
def test_einsum_that_does_not_name_every_axis(equation: str) -> None:
    body = f'y = Einsum<equation="{equation}">(x, M)'
    follow(graph(body, "float[batch,sequence,3] y", M=(2, 3)))


def test_length_after_a_stride_is_given() -> None:
    body = """
        t = Transpose<perm=[0,2,1]>(x)
        half = Conv<strides=[2], pads=[1,0]>(t, C)
        y = Transpose<perm=[0,2,1]>(half)
        more = Add(frames_, one)
        length = Div(more, two)
        n = Expand(length, rows)
    """
    follow(graph(body, "float[batch,frames,3] y, int64[batch] n", C=(3, 2, 2)))


def test_rows_without_padding_behind() -> None:
    body = """
        nothing = Sub(frames_, frames_)
        width = Constant<value_ints=[2]>()
        shape = Concat<axis=0>(rows, nothing, width)
        fill = ConstantOfShape(shape)
        y = Concat<axis=1>(x, fill)
    """
    streaming = follow(graph(body, "float[batch,sequence,2] y"))
    np.testing.assert_equal(streaming.form.states, ())


def test_places_among_repeated_frames() -> None:
    body = """
        apart = Unsqueeze(x, two)
        three = Constant<value_ints=[1,1,3,1]>()
        many = Expand(apart, three)
        shape = Constant<value_ints=[0,-1,2]>()
        repeated = Reshape(many, shape)
        time = Squeeze(frames_) thrice = Constant<value_int=3>() none = Constant<value_int=0>()
        unit = Constant<value_int=1>()
        count = Mul(time, thrice)
        place = Range(none, count, unit)
        phase = Mod(place, thrice)
        number = Cast<to=1>(phase)
        pillar = Constant<value_ints=[1,-1,1]>()
        column = Reshape(number, pillar)
        out = Add(repeated, column)
    """
    streaming = follow(graph(body, "float[batch,frames,2] out"))
    assert streaming.rule.latency == 0


@pytest.mark.parametrize(
    "how",
    [
        'coordinate_transformation_mode="asymmetric", nearest_mode="floor"',
        'coordinate_transformation_mode="half_pixel", nearest_mode="round_prefer_floor"',
        'coordinate_transformation_mode="half_pixel_symmetric", nearest_mode="round_prefer_ceil"',
    ],
)
@pytest.mark.parametrize("count", [2, 3])
def test_resized_to_so_many_frames_for_each(how: str, count: int) -> None:
    body = f"""
        t = Transpose<perm=[0,2,1]>(x)
        many = Resize<mode="nearest", {how}>(t, , scales)
        before = Transpose<perm=[0,2,1]>(many)
        {GRU}
    """
    scales = np.array([1, 1, count], np.float32)
    outputs = "float[frames,batch,3] y, float[1,batch,3] last"
    streaming = follow(graph(body, outputs, W=(1, 9, 2), scales=scales, **WEIGHTS))
    assert streaming.rule.latency == 0


def test_resized_to_a_length_beside_another_axis_and_after_a_stride() -> None:
    body = """
        t = Transpose<perm=[0,2,1]>(x)
        half = Conv<strides=[2], pads=[1,0]>(t, C)
        length = Shape<start=2, end=3>(half)
        twice = Mul(length, two)
        five = Constant<value_ints=[5]>()
        sizes = Concat<axis=0>(five, twice)
        many = Resize<mode="nearest", axes=[1,2], nearest_mode="floor",
            coordinate_transformation_mode="asymmetric">(half, , , sizes)
        y = Transpose<perm=[0,2,1]>(many)
    """
    follow(graph(body, "float[batch,frames,5] y", C=(3, 2, 2)))


def test_other_axes_resized_between_their_elements() -> None:
    body = """
        image = Unsqueeze(x, one)
        large = Resize<mode="linear">(image, , scales)
        y = Squeeze(large, one)
    """
    scales = np.array([1, 1, 1, 2.5], np.float32)
    follow(graph(body, "float[batch,sequence,5] y", scales=scales))


@pytest.mark.parametrize(
    ("how", "count", "words"),
    [
        ('mode="linear"', 2.0, "between frames"),
        ('mode="nearest", nearest_mode="ceil"', 2.0, "between frames"),
        (
            'mode="nearest", coordinate_transformation_mode="align_corners"',
            2.0, "between frames",
        ),
        ('mode="nearest"', 1.5, "whole number"),
        ('mode="nearest"', 0.5, "whole number"),
    ],
)  # fmt: skip
def test_other_ways_to_resize_are_refused(how: str, count: float, words: str) -> None:
    body = f"""
        t = Transpose<perm=[0,2,1]>(x)
        y = Resize<{how}>(t, , scales)
    """
    scales = np.array([1, 1, count], np.float32)
    with pytest.raises(StreamError, match=f"Resize .*{words}"):
        Streaming(graph(body, "float[batch,2,frames] y", scales=scales))


def test_elements_scattered_within_each_frame() -> None:
    body = """
        labels = Cast<to=7>(ids)
        places = Unsqueeze(labels, two)
        shape = Shape(places)
        ones = ConstantOfShape<value=float[1]{1}>(shape)
        six = Constant<value_ints=[6]>()
        sizes = Concat<axis=0>(rows, frames_, six)
        none = Constant<value_float=0.0>()
        zeros = Expand(none, sizes)
        before = ScatterElements<axis=2>(zeros, places, ones)
        """
    model = graph(
        body + GRU, "float[frames,batch,3] y", ", int64[batch,sequence] ids", W=(1, 9, 6), **WEIGHTS
    )
    follow(model)


def test_elements_scattered_over_time_are_refused() -> None:
    body = """
        places = Cast<to=7>(x)
        y = ScatterElements<axis=1>(x, places, x)
    """
    with pytest.raises(StreamError, match=r"ScatterElements .*computed from values"):
        Streaming(graph(body, "float[batch,sequence,2] y"))


def test_places_in_strides() -> None:
    """``positions = arange(5, 5 + 3 * time, 3)``."""
    body = """
        time = Squeeze(frames_) thrice = Constant<value_int=3>() start = Constant<value_int=5>()
        count = Mul(time, thrice)
        end = Add(count, start)
        place = Range(start, end, thrice)
        number = Cast<to=1>(place)
        pillar = Constant<value_ints=[1,-1,1]>()
        column = Reshape(number, pillar)
        y = Add(x, column)
    """
    follow(graph(body, "float[batch,sequence,2] y"))


@pytest.mark.parametrize("spread", [[0, 1, 2], [0, 2]])
def test_frames_that_hold_several_read_in_strides(spread: list[int]) -> None:
    """``codes.view(batch, -1).unfold(1, 3, 3)``, a GRU at the lower rate, both rates joined."""
    body = f"""
        open = Constant<value_ints=[-1]>()
        target = Concat<axis=0>(rows, open)
        row = Reshape(x, target)
        length = Shape<start=1, end=2>(row)
        stop_ = Sub(length, two)
        stop = Squeeze(stop_) none = Constant<value_int=0>() three = Constant<value_int=3>()
        start = Range(none, stop, three)
        column = Unsqueeze(start, one)
        places = Add(column, spread)
        before = Gather<axis=1>(row, places)
        {GRU}
        late = Transpose<perm=[1,2,0]>(y)
        up = ConvTranspose<strides=[3]>(late, K)
        padding = Constant<value_ints=[0,2,0,0]>()
        padded = Pad(row, padding)
        channel = Unsqueeze(padded, one)
        fine = Conv(channel, C)
        out = Add(up, fine)
    """
    streaming = follow(
        graph(
            body, "float[batch,4,frames] out", features=3, spread=np.array([spread]),
            K=(3, 4, 3), C=(4, 1, 3), W=(1, 9, len(spread)), **WEIGHTS,
        )
    )  # fmt: skip
    assert streaming.rule.latency == 0
    assert not streaming.rule.in_step
