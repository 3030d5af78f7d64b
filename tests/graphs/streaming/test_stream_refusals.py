"""What is not causal is refused in one line: the operator, where it is, why."""

from __future__ import annotations

import pytest
from streaming_oracle import Streaming, build

from rnn_edge.errors import StreamError

RNN = "float[sequence,batch,4] x"
WEIGHTS = {"W": (1, 9, 4), "R": (1, 9, 3), "B": (1, 18)}
BOTH = {"encoder.rnn.W": (2, 9, 4), "R": (2, 9, 3), "B": (2, 18)}
FAR = """
    zero = Constant<value_ints=[0]>()
    one = Constant<value_ints=[1]>()
    back = Constant<value_ints=[-1]>()
    behind = Constant<value_ints=[-9223372036854775807]>()
"""

REFUSED = {
    "bidirectional": (
        "g (float[sequence,batch,4] x) => (float[sequence,2,batch,3] y) {"
        ' y = GRU<hidden_size=3, direction="bidirectional">(x, "encoder.rnn.W", R, B) }',
        BOTH, ("GRU encoder.rnn", "bidirectional"),
    ),
    "backward": (
        "g (float[sequence,batch,4] x) => (float[sequence,1,batch,3] y) {"
        ' y = GRU<hidden_size=3, direction="reverse">(x, W, R, B) }',
        WEIGHTS, ("GRU", "reverse"),
    ),
    "flip": (
        "g (float[batch,sequence,4] x) => (float[batch,sequence,4] y) {"
        f"{FAR} y = Slice(x, back, behind, one, back) }}",
        {}, ("Slice", "backwards"),
    ),
    "mean of all frames for each": (
        "g (float[batch,sequence,4] x) => (float[batch,sequence,4] y) {"
        f"{FAR} m = ReduceMean<keepdims=1>(x, one) y = Sub(x, m) }}",
        {}, ("ReduceMean", "whole sequence"),
    ),
    "mean over time": (
        "g (float[batch,sequence,4] x) => (float[batch,4] y) {"
        f"{FAR} y = ReduceMean<keepdims=0>(x, one) }}",
        {}, ("ReduceMean", "whole sequence"),
    ),
    "max over time": (
        "g (float[batch,sequence,4] x) => (float[batch,4] y) {"
        f"{FAR} y = ReduceMax<keepdims=0>(x, one) }}",
        {}, ("ReduceMax", "whole sequence"),
    ),
    "product over time": (
        "g (float[batch,sequence,4] x) => (float[batch,4] y) {"
        f"{FAR} y = ReduceProd<keepdims=0>(x, one) }}",
        {}, ("ReduceProd", "whole sequence"),
    ),
    "softmax over time": (
        "g (float[batch,sequence,4] x) => (float[batch,sequence,4] y) { y = Softmax<axis=1>(x) }",
        {}, ("Softmax", "whole sequence"),
    ),
    "attention": (
        "g (float[batch,sequence,4] x) => (float[batch,sequence,n] y) {"
        " t = Transpose<perm=[0,2,1]>(x) y = MatMul(x, t) }",
        {}, ("MatMul", "every other"),
    ),
    "instance norm": (
        "g (float[batch,4,sequence] x) => (float[batch,4,sequence] y) {"
        " y = InstanceNormalization(x, b, b) }",
        {"b": (4,)}, ("InstanceNormalization", "whole sequence"),
    ),
    "backward sum": (
        "g (float[batch,sequence,4] x) => (float[batch,sequence,4] y) {"
        " unit = Constant<value_int=1>() y = CumSum<reverse=1>(x, unit) }",
        {}, ("CumSum", "backwards"),
    ),
    "last step to all": (
        "g (float[batch,sequence,4] x) => (float[batch,sequence,4] y) {"
        f"{FAR} far = Constant<value_ints=[9223372036854775807]>()"
        " last = Slice(x, back, far, one) y = Sub(x, last) }",
        {}, ("Sub", "whole sequence"),
    ),
    "sorted": (
        "g (float[batch,sequence,4] x) => (float[batch,2,4] y, int64[batch,2,4] i) {"
        " two = Constant<value_ints=[2]>() y, i = TopK<axis=1>(x, two) }",
        {}, ("TopK", "whole sequence"),
    ),
    "unknown operator": (
        "g (float[batch,sequence,4] x) => (float[batch,sequence,4] y) {"
        " d = Det(x) y = Mul(x, d) }",
        {}, ("Det", "no streaming form"),
    ),
    "reflected padding": (
        "g (float[batch,sequence,4] x) => (float[batch,n,4] y) {"
        ' p = Constant<value_ints=[0,2,0,0,0,0]>() y = Pad<mode="reflect">(x, p) }',
        {}, ("Pad", "come later"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    text, weights, words = REFUSED[name]
    model = build(text, **weights)
    with pytest.raises(StreamError) as caught:
        Streaming(model)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("every step must be computable from the frames so far")
    for word in words:
        assert word in message


def test_two_dynamic_axes_must_be_told_apart() -> None:
    model = build("g (float[source,target,4] x) => (float[source,target,4] y) { y = Relu(x) }")
    with pytest.raises(StreamError, match=r"source, target.*Name it"):
        Streaming(model)


def test_axis_that_no_input_has() -> None:
    model = build("g (float[batch,sequence,4] x) => (float[batch,sequence,4] y) { y = Relu(x) }")
    with pytest.raises(StreamError, match="'frames'"):
        Streaming(model, axis="frames")


CROPPED = f"""{FAR}
    begun = Slice(x, zero, back, zero)
    y, h = GRU<hidden_size=3>(begun, W, R, B)
"""


def test_final_state_of_the_last_step_but_one() -> None:
    text = f"g (float[sequence,batch,4] x) => (float[1,batch,3] h) {{ {CROPPED} }}"
    with pytest.raises(StreamError, match="another step than the last"):
        Streaming(build(text, **WEIGHTS))


def test_final_state_behind_look_ahead() -> None:
    text = """
    g (float[batch,4,sequence] x) => (float[1,batch,3] h) {
        c = Conv<pads=[1,1]>(x, K)
        t = Transpose<perm=[2,0,1]>(c)
        y, h = GRU<hidden_size=3>(t, W, R, B)
    }"""
    with pytest.raises(StreamError, match="another step than the last"):
        Streaming(build(text, K=(4, 4, 3), **WEIGHTS))


def test_final_state_of_a_scan_over_all_but_the_last() -> None:
    text = f"""
    g (float[sequence,batch,4] x) => (float[batch,4] h) {{
        {FAR}
        begun = Slice(x, zero, back, zero)
        rows = Shape<start=1>(x)
        h0 = ConstantOfShape(rows)
        h, s = Scan<num_scan_inputs=1, body=b (float[batch,4] h, float[batch,4] f)
          => (float[batch,4] h2, float[batch,4] o) {{ a = Add(h, f) h2 = Tanh(a) o = Identity(h2) }}
          >(h0, begun)
    }}"""
    with pytest.raises(StreamError, match="another step than the last"):
        Streaming(build(text))
