"""What looks along features, and leaves every frame to itself."""

from __future__ import annotations

import numpy as np
import pytest
from streaming_oracle import Streaming, build, check, stream_of

OVER_FEATURES = {
    "layer norm": ("out = LayerNormalization<axis=-1>(x, gain, shift)", ""),
    "softmax": ("out = Softmax<axis=-1>(x)", ""),
    "logsoftmax": ("out = LogSoftmax<axis=2>(x)", ""),
    "mean": ("a = Constant<value_ints=[-1]>() m = ReduceMean(x, a) out = Sub(x, m)", ""),
    "batch norm": (
        "t = Transpose<perm=[0,2,1]>(x) n = BatchNormalization(t, gain, shift, shift, gain2)"
        " out = Transpose<perm=[0,2,1]>(n)",
        "",
    ),
    "batch norm, batch and time merged": (
        "flat = Constant<value_ints=[-1,4]>() f = Reshape(x, flat)"
        " n = BatchNormalization(f, gain, shift, shift, gain2)"
        " s = Shape(x) out = Reshape(n, s)",
        "",
    ),
    "gemm, time and batch merged": (
        "t = Transpose<perm=[1,0,2]>(x) flat = Constant<value_ints=[-1,4]>() f = Reshape(t, flat)"
        " n = Gemm(f, square, shift) s = Shape(t) r = Reshape(n, s)"
        " out = Transpose<perm=[1,0,2]>(r)",
        "",
    ),
    "convolution of frames, time and batch merged": (
        "image = Constant<value_ints=[-1,1,2,2]>() f = Reshape(x, image)"
        " n = Conv<pads=[0,0,1,1]>(f, kernel) flat = Constant<value_ints=[0,-1]>()"
        " g = Reshape(n, flat) s = Shape(x) out = Reshape(g, s)",
        "",
    ),
    "einsum": ('out = Einsum<equation="bti,io->bto">(x, square)', ""),
    "heads": (
        "s = Constant<value_ints=[0,0,2,2]>() h = Reshape(x, s) p = Softmax<axis=-1>(h)"
        " b = Constant<value_ints=[0,0,4]>() out = Reshape(p, b)",
        "",
    ),
    "split": (
        "a, b = Split<axis=2, num_outputs=2>(x) g = Sigmoid(b) c = Mul(a, g)"
        " out = Concat<axis=2>(c, a)",
        "",
    ),
}

GAIN = np.array([1.0, 2.0, 0.5, 3.0], np.float32)
WEIGHTS: dict[str, np.ndarray | tuple[int, ...]] = {
    "gain": GAIN, "gain2": GAIN, "shift": (4,), "square": (4, 4), "kernel": (1, 1, 2, 2),
}  # fmt: skip


@pytest.mark.parametrize("name", OVER_FEATURES)
def test_frames_stay_alone(name: str) -> None:
    body, _ = OVER_FEATURES[name]
    text = f"g (float[batch,sequence,4] x) => (float[batch,sequence,4] out) {{ {body} }}"
    streaming = stream_of(build(text, **WEIGHTS))
    assert not streaming.form.states
    assert streaming.rule.reset is None
    assert not streaming.rule.in_step


@pytest.mark.parametrize("name", OVER_FEATURES)
def test_chunks_that_bring_no_frame(name: str) -> None:
    """Behind a stride: every operator must run on no frames too, or be left out."""
    body, _ = OVER_FEATURES[name]
    text = f"""
    g (float[batch,sequence,4] whole) => (float[batch,frames,4] out) {{
        zero_ = Constant<value_ints=[0]>()
        far_ = Constant<value_ints=[9223372036854775807]>()
        one_ = Constant<value_ints=[1]>()
        three_ = Constant<value_ints=[3]>()
        x = Slice(whole, zero_, far_, one_, three_)
        {body}
    }}"""
    check(Streaming(build(text, **WEIGHTS)))
