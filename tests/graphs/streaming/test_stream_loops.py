"""Loop over time, as torch.jit and hand-written files have it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from streaming_oracle import Streaming, build, check, contract_of, stream_of

from rnn_edge.contract import StatePair
from rnn_edge.errors import StreamError

BODY = """
    fast (int64 i, bool go, float[batch,3] h)
      => (bool on, float[batch,3] h2, float[batch,3] shown) {
        frame = Gather<axis=1>(x, i)
        r = MatMul(h, R)
        z = Add(r, frame)
        h2 = Tanh(z)
        shown = Sub(h2, h)
        on = Identity(go)
    }
"""
START = """
    one = Constant<value_ints=[1]>()
    sizes = Shape<start=1, end=2>(x)
    count = Squeeze(sizes)
    rows = Shape<start=0, end=1>(x)
    three = Constant<value_ints=[3]>()
    shape = Concat<axis=0>(rows, three)
    h0 = ConstantOfShape(shape)
"""


def loop(body: str = BODY, start: str = "h0", condition: str = "yes", more: str = "") -> ir.Model:
    prepare = START if "h0" not in more else START.replace("h0 =", "unused =")
    text = f"""
    g (float[batch,sequence,3] x{more}) => (float[sequence,batch,3] out, float[batch,3] h) {{
        {prepare}
        h, out = Loop<body={body}>(count, {condition}, {start})
    }}"""
    return build(text, R=(3, 3), yes=np.array(True))


@pytest.mark.parametrize("condition", ["yes", ""])
def test_frames_by_number(condition: str) -> None:
    streaming = stream_of(loop(condition=condition))
    assert "Loop" not in streaming.operators()
    assert streaming.rule.reset is None
    assert not streaming.rule.in_step


def test_declared_state() -> None:
    model = loop(start="h0", more=", float[batch,3] h0")
    check(Streaming(model, contract_of(model, [StatePair("h0", "h", 0)])))


def test_list_that_is_stacked() -> None:
    body = """
    fast (int64 i, bool go, float[batch,3] h, seq(float[batch,3]) all)
      => (bool on, float[batch,3] h2, seq(float[batch,3]) more) {
        frame = Gather<axis=1>(x, i)
        r = MatMul(h, R)
        z = Add(r, frame)
        h2 = Tanh(z)
        more = SequenceInsert(all, h2)
        on = Identity(go)
    }
    """
    text = f"""
    g (float[batch,sequence,3] x) => (float[batch,sequence,3] out, float[batch,3] h) {{
        {START}
        empty = SequenceEmpty<dtype=1>()
        h, all = Loop<body={body}>(count, yes, h0, empty)
        out = ConcatFromSequence<axis=1, new_axis=1>(all)
    }}"""
    streaming = stream_of(build(text, R=(3, 3), yes=np.array(True)))
    assert not {"Loop", "ConcatFromSequence"} & set(streaming.operators())


REFUSED = {
    "condition": (BODY.replace("Identity(go)", "Not(go)"), "a condition ends it"),
    "later frame": (
        BODY.replace("frame = Gather<axis=1>(x, i)",
                     "u = Constant<value_int=1>() j = Sub(i, u) frame = Gather<axis=1>(x, j)"),
        "reads no frame",
    ),
    "number used": (
        BODY.replace("shown = Sub(h2, h)", "f = Cast<to=1>(i) shown = Sub(h2, f)"),
        "computes with the number",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    body, words = REFUSED[name]
    with pytest.raises(StreamError, match=f"Loop.*{words}"):
        Streaming(loop(body))


def test_not_all_frames() -> None:
    text = START.replace("count = Squeeze(sizes)", "all_ = Squeeze(sizes) u = Constant<value_int=1>"
                         "() count = Sub(all_, u)")  # fmt: skip
    model = build(
        f"g (float[batch,sequence,3] x) => (float[n,batch,3] out, float[batch,3] h) {{ {text}"
        f" h, out = Loop<body={BODY}>(count, yes, h0) }}", R=(3, 3), yes=np.array(True),
    )  # fmt: skip
    with pytest.raises(StreamError, match="does not run over all frames"):
        Streaming(model)
