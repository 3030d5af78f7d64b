"""Convolutions and pools: what a window needs of earlier frames is carried."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from streaming_oracle import Streaming, build, check, stream_of


def convolution(
    attributes: str, before: str = "x", frames: str = "sequence", **weights
) -> ir.Model:
    text = f"""
    g (float[batch,4,sequence] x) => (float[batch,5,{frames}] out) {{
        pads = Constant<value_ints=[0,0,2,0,0,0]>()
        padded = {"Pad(x, pads)" if before == "padded" else "Identity(x)"}
        out = Conv<{attributes}>({before}, W, B)
    }}"""
    return build(text, W=weights.pop("W", (5, 4, 3)), B=(5,))


def test_causal_padding_by_attribute() -> None:
    streaming = stream_of(convolution("pads=[2,0]"))
    assert streaming.rule.latency == 0
    assert not streaming.rule.in_step
    assert streaming.rule.reset is None


def test_causal_padding_by_pad() -> None:
    assert not stream_of(convolution("pads=[0,0]", "padded")).rule.in_step


@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_dilation(dilation: int) -> None:
    stream_of(convolution(f"pads=[{2 * dilation},0], dilations=[{dilation}]"))


def test_pad_before_transpose() -> None:
    text = """
    g (float[batch,sequence,4] x) => (float[batch,5,sequence] out) {
        pads = Constant<value_ints=[0,2,0,0,0,0]>()
        padded = Pad(x, pads)
        t = Transpose<perm=[0,2,1]>(padded)
        out = Conv(t, W)
    }"""
    stream_of(build(text, W=(5, 4, 3)))


def test_pad_with_crop_behind() -> None:
    """Conv1d(padding=2)(x)[:, :, :-2], as causal convolutions are often written."""
    text = """
    g (float[batch,4,sequence] x) => (float[batch,5,sequence] out) {
        wide = Conv<pads=[2,2]>(x, W)
        zero = Constant<value_ints=[0]>()
        end = Constant<value_ints=[-2]>()
        axis = Constant<value_ints=[2]>()
        out = Slice(wide, zero, end, axis)
    }"""
    assert stream_of(build(text, W=(5, 4, 3))).rule.latency == 0


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (2, 2), (4, 2), (5, 3), (1, 2), (2, 3)])
def test_stride(kernel: int, stride: int) -> None:
    model = convolution(f"strides=[{stride}]", frames="frames", W=(5, 4, kernel))
    streaming = check(Streaming(model), shortest=kernel)
    assert streaming.rule.in_step


def test_stride_with_padding_before() -> None:
    check(Streaming(convolution("strides=[2], pads=[2,0]", frames="frames")))


def test_strided_stack_into_gru() -> None:
    text = """
    g (float[batch,4,sequence] x) => (float[frames,1,batch,3] y, float[1,batch,3] h) {
        a = Conv<strides=[2], pads=[2,0]>(x, W1)
        b = Relu(a)
        c = Conv<strides=[2], pads=[2,0]>(b, W2)
        d = Transpose<perm=[2,0,1]>(c)
        y, h = GRU<hidden_size=3>(d, W, R, B)
    }"""
    weights = {"W1": (5, 4, 3), "W2": (6, 5, 3), "W": (1, 9, 6), "R": (1, 9, 3), "B": (1, 18)}
    check(Streaming(build(text, **weights)))


@pytest.mark.parametrize("pads", ["[1,1]", "[0,2]"])
def test_look_ahead_is_latency(pads: str) -> None:
    streaming = check(Streaming(convolution(f"pads={pads}")))
    assert streaming.rule.latency == int(pads[-2])


def test_without_padding() -> None:
    check(Streaming(convolution("group=1", frames="frames")), shortest=3)


def test_residual() -> None:
    text = """
    g (float[batch,4,sequence] x) => (float[batch,4,sequence] out) {
        a = Conv<pads=[2,0]>(x, W1)
        b = Relu(a)
        c = Add(x, b)
        d = Conv<pads=[4,0], dilations=[2]>(c, W2)
        e = Tanh(d)
        out = Add(c, e)
    }"""
    stream_of(build(text, W1=(4, 4, 3), W2=(4, 4, 3)))


def test_residual_around_look_ahead() -> None:
    text = """
    g (float[batch,4,sequence] x) => (float[batch,4,sequence] out) {
        a = Conv<pads=[1,1]>(x, W1)
        c = Add(x, a)
        d = Conv<pads=[1,1]>(c, W2)
        out = Add(c, d)
    }"""
    assert check(Streaming(build(text, W1=(4, 4, 3), W2=(4, 4, 3)))).rule.latency == 2


@pytest.mark.parametrize(
    "pool",
    [
        "MaxPool<kernel_shape=[3], pads=[2,0]>",
        "MaxPool<kernel_shape=[2], strides=[2]>",
        "AveragePool<kernel_shape=[3], pads=[2,0], count_include_pad=1>",
        "AveragePool<kernel_shape=[3], strides=[3]>",
    ],
)
def test_pools(pool: str) -> None:
    text = f"g (float[batch,4,sequence] x) => (float[batch,4,frames] out) {{ out = {pool}(x) }}"
    check(Streaming(build(text)), shortest=3)


def test_images_frame_by_frame() -> None:
    """Time is merged with the batch around a convolution over each frame."""
    text = """
    g (float[batch,sequence,1,6,6] x) => (float[batch,sequence,32] out) {
        flat = Constant<value_ints=[-1,1,6,6]>()
        frames = Reshape(x, flat)
        c = Conv(frames, W)
        two = Shape<start=0, end=2>(x)
        rest = Constant<value_ints=[32]>()
        shape = Concat<axis=0>(two, rest)
        out = Reshape(c, shape)
    }"""
    stream_of(build(text, W=(2, 1, 3, 3)))
