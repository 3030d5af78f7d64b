"""Scan over time."""

from __future__ import annotations

import onnx_ir as ir
from streaming_oracle import Streaming, build, check, contract_of, stream_of

from rnn_edge.contract import StatePair

BODY = """
    fast (float[batch,3] h, float[batch,3] s, float[batch,3] frame)
      => (float[batch,3] h2, float[batch,3] s2, float[batch,3] shown) {
        r = MatMul(h, R)
        z = Add(r, frame)
        h2 = Tanh(z)
        a = Mul(h2, frame)
        s2 = Add(s, a)
        shown = Sub(s2, h)
    }
"""
ZEROS = """
    rows = Shape<start=0, end=1>(x)
    three = Constant<value_ints=[3]>()
    shape = Concat<axis=0>(rows, three)
    h0 = ConstantOfShape(shape)
"""


def scan(start: str, more: str = "", prepare: str = "", **weights) -> ir.Model:
    text = f"""
    g (float[batch,sequence,3] x{more})
      => (float[sequence,batch,3] out, float[batch,3] h, float[batch,3] s) {{
        {prepare}
        t = Transpose<perm=[1,0,2]>(x)
        h, s, out = Scan<num_scan_inputs=1, body={BODY}>({start}, t)
    }}"""
    return build(text, R=(3, 3), **weights)


def test_two_states_of_zeros() -> None:
    streaming = stream_of(scan("h0, h0", prepare=ZEROS))
    assert streaming.rule.reset is None
    assert len(streaming.form.states) == 2


def test_learned_start() -> None:
    prepare = ZEROS + " h1 = Expand(begin, shape)"
    assert stream_of(scan("h0, h1", prepare=prepare, begin=(1, 3))).rule.reset == "reset"


def test_declared_start() -> None:
    model = scan("h0, s0", ", float[batch,3] h0, float[batch,3] s0")
    pairs = [StatePair("h0", "h", 0), StatePair("s0", "s", 0)]
    check(Streaming(model, contract_of(model, pairs)))


def test_one_declared_one_made() -> None:
    model = scan("h0, s0", ", float[batch,3] s0", ZEROS)
    check(Streaming(model, contract_of(model, [StatePair("s0", "s", 0)])))


def test_scan_axes() -> None:
    text = f"""
    g (float[batch,sequence,3] x) => (float[batch,sequence,3] out) {{
        {ZEROS}
        h, s, out = Scan<num_scan_inputs=1, scan_input_axes=[1], scan_output_axes=[1],
                         body={BODY}>(h0, h0, x)
    }}"""
    stream_of(build(text, R=(3, 3)))


def test_after_a_stride() -> None:
    text = f"""
    g (float[batch,sequence,3] x) => (float[frames,batch,3] out, float[batch,3] s) {{
        {ZEROS}
        zero = Constant<value_ints=[0]>()
        two = Constant<value_ints=[2]>()
        one = Constant<value_ints=[1]>()
        far = Constant<value_ints=[9223372036854775807]>()
        half = Slice(x, zero, far, one, two)
        t = Transpose<perm=[1,0,2]>(half)
        h, s, out = Scan<num_scan_inputs=1, body={BODY}>(h0, h0, t)
    }}"""
    stream_of(build(text, R=(3, 3)))
