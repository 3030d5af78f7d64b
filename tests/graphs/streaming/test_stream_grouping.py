"""Frames that are joined to longer ones: half the frames, twice the features."""

from __future__ import annotations

import numpy as np
import pytest
from streaming_oracle import Streaming, build

GRU = {"R": (1, 9, 3), "B": (1, 18)}


@pytest.mark.parametrize("joined", [2, 3])
@pytest.mark.parametrize("chunks", [[1] * 12, [12], [2, 3, 1, 5, 1], [5, 7], [6, 6]])
@pytest.mark.parametrize("target", ["[0,-1,{}]", "[0,-1,{},2]"])
def test_frames_joined_before_a_gru(joined: int, chunks: list[int], target: str) -> None:
    text = f"""
    g (float[batch,sequence,2] x) => (float[frames,1,batch,3] y) {{
        shape = Constant<value_ints={target.format(2 * joined if "2]" not in target else joined)}>()
        wide = Reshape(x, shape)
        flat_ = Constant<value_ints=[0,-1,{2 * joined}]>()
        flat = {"Reshape(wide, flat_)" if "2]" not in target else "Identity(wide)"}
        t = Transpose<perm=[1,0,2]>(flat)
        y = GRU<hidden_size=3>(t, W, R, B)
    }}"""
    if "2]" in target:
        # The features of each frame are added up before.
        text = text.replace("Identity(wide)", "ReduceSum<keepdims=0>(wide, last)").replace(
            "wide = R", "last = Constant<value_ints=[-1]>() wide = R"
        )
    width = joined if "2]" in target else 2 * joined
    streaming = Streaming(build(text, W=(1, 9, width), **GRU))
    for rows in (1, 3):
        streaming.compare(rows, chunks, 0)
    assert streaming.rule.in_step


def test_size_given_by_the_length() -> None:
    text = """
    g (float[batch,sequence,2] x) => (float[batch,frames,4] y) {
        rows = Shape<start=0, end=1>(x)
        frames = Shape<start=1, end=2>(x)
        two = Constant<value_ints=[2]>()
        half = Div(frames, two)
        four = Constant<value_ints=[4]>()
        shape = Concat<axis=0>(rows, half, four)
        y = Reshape(x, shape)
    }"""
    streaming = Streaming(build(text))
    for chunks in ([1] * 8, [3, 5], [8]):
        streaming.compare(2, chunks, 0)
    given = {"x": np.ones((2, 3, 2), np.float32)}
    assert streaming.run(given, [1, 2])["y"].shape == (2, 1, 4)
