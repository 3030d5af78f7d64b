"""Graphs for one length: their axis of time is named by an input and a place."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from streaming_oracle import Streaming, build

from rnn_edge.errors import StreamError


def cut(frames: int) -> list[list[int]]:
    return [[1] * frames, [frames], [2, 3, frames - 5], [frames - 1, 1]]


def fixed(frames: int, rows: int = 1) -> ir.Model:
    """A convolution, two Reshapes that hold the length, a GRU, a head."""
    text = f"""
    g (float[{rows},{frames},4] x) => (float[{rows},{frames},2] y, float[{rows},3] last) {{
        t = Transpose<perm=[0,2,1]>(x)
        c = Conv<pads=[2,0]>(t, K)
        b = Transpose<perm=[2,0,1]>(c)
        r, h = GRU<hidden_size=3>(b, W, R, B)
        s = Constant<value_ints=[{frames},{rows},3]>()
        q = Reshape(r, s)
        p = Transpose<perm=[1,0,2]>(q)
        f = Constant<value_ints=[{frames * rows},3]>()
        flat = Reshape(p, f)
        m = Gemm(flat, V)
        o = Constant<value_ints=[{rows},{frames},2]>()
        y = Reshape(m, o)
        n = Constant<value_int={frames - 1}>()
        last = Gather<axis=1>(p, n)
    }}"""
    weights = {"K": (5, 4, 3), "W": (1, 9, 5), "R": (1, 9, 3), "B": (1, 18), "V": (3, 2)}
    return build(text, **weights)


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("frames", [7, 40, 300])
def test_length_in_reshapes(frames: int, rows: int) -> None:
    streaming = Streaming(fixed(frames, rows), axis="x.1")
    assert streaming.rule.axis == "sequence"
    assert streaming.form.input("x").dims == (rows, "sequence", 4)
    for chunks in cut(frames):
        streaming.compare(rows, chunks, 0)


def test_crop_by_numbers() -> None:
    text = """
    g (float[1,4,9] x) => (float[1,5,9] y) {
        wide = Conv<pads=[2,2]>(x, K)
        zero = Constant<value_ints=[0]>()
        end = Constant<value_ints=[9]>()
        axis = Constant<value_ints=[2]>()
        y = Slice(wide, zero, end, axis)
    }"""
    streaming = Streaming(build(text, K=(5, 4, 3)), axis="x.2")
    assert streaming.rule.latency == 0
    for chunks in cut(9):
        streaming.compare(1, chunks, 0)


def test_one_value_for_each_step_is_refused() -> None:
    text = "g (float[1,9,4] x) => (float[1,9,4] y) { y = Add(x, table) }"
    with pytest.raises(StreamError, match="one value for each step"):
        Streaming(build(text, table=(9, 4)), axis="x.1")


@pytest.mark.parametrize("axis", ["x.7", "z.1", "x.one"])
def test_place_that_is_not_there(axis: str) -> None:
    text = "g (float[1,9,4] x) => (float[1,9,4] y) { y = Relu(x) }"
    with pytest.raises(StreamError, match=r"x: float32\[1, 9, 4\]"):
        Streaming(build(text), axis=axis)


def test_two_inputs_of_one_length() -> None:
    text = "g (float[1,9,4] x, float[1,9,1] m) => (float[1,9,4] y) { y = Mul(x, m) }"
    streaming = Streaming(build(text), axis="x.1,m.1")
    given = {
        "x": np.ones((1, 9, 4), np.float32),
        "m": np.arange(9, dtype=np.float32).reshape(1, 9, 1),
    }
    np.testing.assert_array_equal(streaming.run(given, [4, 5])["y"], streaming.answer(given)["y"])
