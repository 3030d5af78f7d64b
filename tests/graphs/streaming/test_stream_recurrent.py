"""RNN, GRU and LSTM nodes in chunks, with every way that they can start."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from streaming_oracle import Streaming, build, check, contract_of, stream_of

from rnn_edge.contract import StatePair

HIDDEN = 3
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def recurrent(kind: str, initial: str = "", prepare: str = "", more: str = "", **extra) -> ir.Model:
    gates = GATES[kind] * HIDDEN
    node = (
        f"y, h, c = LSTM<hidden_size={HIDDEN}>"
        if kind == "LSTM"
        else (f"y, h = {kind}<hidden_size={HIDDEN}>")
    )
    text = f"""
    g (float[batch,sequence,4] x{more}) => (float[batch,sequence,{HIDDEN}] out) {{
        xt = Transpose<perm=[1,0,2]>(x)
        {prepare}
        {node}(xt, W, R, B{initial})
        one = Constant<value_ints=[1]>()
        yy = Squeeze(y, one)
        out = Transpose<perm=[1,0,2]>(yy)
    }}"""
    return build(text, W=(1, gates, 4), R=(1, gates, HIDDEN), B=(1, 2 * gates), **extra)


@pytest.mark.parametrize("kind", GATES)
def test_zero_state(kind: str) -> None:
    streaming = stream_of(recurrent(kind))
    assert streaming.rule.reset is None
    assert not streaming.rule.in_step
    assert len(streaming.form.states) == (2 if kind == "LSTM" else 1)


EXPAND = """
    sizes = Shape<start=0, end=1>(x)
    one_ = Constant<value_ints=[1]>()
    three = Constant<value_ints=[3]>()
    shape = Concat<axis=0>(one_, sizes, three)
    h0 = Expand(start, shape)
"""


@pytest.mark.parametrize("kind", GATES)
def test_learned_state_needs_reset(kind: str) -> None:
    both = ", , h0, h0" if kind == "LSTM" else ", , h0"
    streaming = stream_of(recurrent(kind, both, EXPAND, start=(1, 1, HIDDEN)))
    assert streaming.rule.reset == "reset"


@pytest.mark.parametrize("kind", GATES)
def test_state_of_zeros_needs_no_reset(kind: str) -> None:
    both = ", , h0, h0" if kind == "LSTM" else ", , h0"
    zeros = np.zeros((1, 1, HIDDEN), np.float32)
    assert stream_of(recurrent(kind, both, EXPAND, start=zeros)).rule.reset is None


CONTEXT = """
    flat = MatMul(context, V)
    warm = Tanh(flat)
    zero = Constant<value_ints=[0]>()
    h0 = Unsqueeze(warm, zero)
"""


@pytest.mark.parametrize("kind", GATES)
def test_state_from_context(kind: str) -> None:
    both = ", , h0, h0" if kind == "LSTM" else ", , h0"
    more = ", float[batch,5] context"
    streaming = stream_of(recurrent(kind, both, CONTEXT, more, V=(5, HIDDEN)))
    assert streaming.rule.reset == "reset"


@pytest.mark.parametrize("kind", ["GRU", "RNN"])
def test_declared_state(kind: str) -> None:
    text = f"""
    g (float[sequence,batch,4] x, float[1,batch,{HIDDEN}] h0)
      => (float[sequence,1,batch,{HIDDEN}] y, float[1,batch,{HIDDEN}] h) {{
        y, h = {kind}<hidden_size={HIDDEN}>(x, W, R, B, , h0)
    }}"""
    gates = GATES[kind] * HIDDEN
    model = build(text, W=(1, gates, 4), R=(1, gates, HIDDEN), B=(1, 2 * gates))
    streaming = check(Streaming(model, contract_of(model, [StatePair("h0", "h", 1)])))
    assert [pair.input for pair in streaming.form.states] == ["h0"]


def test_final_states_are_those_so_far() -> None:
    text = f"""
    g (float[sequence,batch,4] x) => (float[batch,{HIDDEN}] last, float[1,batch,{HIDDEN}] c) {{
        y, h, c = LSTM<hidden_size={HIDDEN}>(x, W, R, B)
        zero = Constant<value_ints=[0]>()
        last = Squeeze(h, zero)
    }}"""
    stream_of(build(text, W=(1, 12, 4), R=(1, 12, HIDDEN), B=(1, 24)))


def test_two_layers_and_a_head() -> None:
    text = """
    g (float[batch,sequence,4] x) => (float[batch,sequence,2] out) {
        xt = Transpose<perm=[1,0,2]>(x)
        one = Constant<value_ints=[1]>()
        y1, h1 = GRU<hidden_size=3, linear_before_reset=1>(xt, W1, R1, B1)
        s1 = Squeeze(y1, one)
        y2, h2, c2 = LSTM<hidden_size=3>(s1, W2, R2, B2)
        s2 = Squeeze(y2, one)
        joined = Add(s1, s2)
        back = Transpose<perm=[1,0,2]>(joined)
        out = MatMul(back, V)
    }"""
    weights = {"W1": (1, 9, 4), "R1": (1, 9, 3), "B1": (1, 18), "W2": (1, 12, 3)}
    stream_of(build(text, **weights, R2=(1, 12, 3), B2=(1, 24), V=(3, 2)))


def test_lengths_that_are_full() -> None:
    text = f"""
    g (float[sequence,batch,4] x, int64[batch] lengths)
      => (float[sequence,1,batch,{HIDDEN}] y, float[1,batch,{HIDDEN}] h) {{
        short = Cast<to=6>(lengths)
        y, h = GRU<hidden_size={HIDDEN}>(x, W, R, B, short)
    }}"""
    model = build(text, W=(1, 9, 4), R=(1, 9, HIDDEN), B=(1, 18))
    streaming = check(Streaming(model, contract_of(model, lengths={"lengths": "sequence"})))
    assert "lengths" not in [spec.name for spec in streaming.form.inputs]


NODES = """
    one = Constant<value_ints=[1]>()
    open = Constant<value_ints=[-1]>()
    three = Constant<value_ints=[3]>()
    four = Constant<value_ints=[4]>()
    rows = Shape<start=0, end=1>(x)
    frames = Shape<start=1, end=2>(x)
    all = Mul(rows, four)
    target = Concat<axis=0>(frames, all, {features})
    shape = Concat<axis=0>(one, all, three)
"""


def nodes_of_a_map(order: list[int], out: list[int], initial: str = "") -> ir.Model:
    """A GRU over the four nodes of each sequence, each a row of its own; ``order`` of the axes."""
    numbers = NODES.replace("{features}", "two")
    text = f"""
    g (float[batch,sequence,4,2] x) => (float[batch,sequence,4,{HIDDEN}] y) {{
        two = Constant<value_ints=[2]>()
        {numbers}
        t = Transpose<perm={order}>(x)
        merged = Reshape(t, target)
        {"h0 = Expand(start, shape)" if initial else ""}
        z, h = GRU<hidden_size={HIDDEN}>(merged, W, R, B{initial})
        flat = Squeeze(z, one)
        split = Concat<axis=0>(frames, {"rows, four" if order[1] == 0 else "four, rows"}, three)
        apart = Reshape(flat, split)
        y = Transpose<perm={out}>(apart)
    }}"""
    model = build(text, W=(1, 9, 2), R=(1, 9, HIDDEN), B=(1, 18), start=(1, 1, HIDDEN))
    # The name that exporters give to such an axis.
    for node in model.graph:
        if node.outputs[0].name in ("merged", "flat"):
            rest = [2] if node.outputs[0].name == "merged" else [HIDDEN]
            node.outputs[0].shape = ir.Shape(["sequence", "4*batch", *rest])
        if node.outputs[0].name == "h0":
            node.outputs[0].shape = ir.Shape([1, "4*batch", HIDDEN])
    return model


@pytest.mark.parametrize(
    ("order", "out", "dims"),
    [
        ([1, 0, 2, 3], [1, 0, 2, 3], (1, "batch", 4, HIDDEN)),
        ([1, 2, 0, 3], [2, 0, 1, 3], (1, 4, "batch", HIDDEN)),
    ],
)
@pytest.mark.parametrize("initial", ["", ", , h0"])
def test_several_rows_of_each_sequence(
    order: list[int], out: list[int], dims: tuple[int | str, ...], initial: str
) -> None:
    """Which rows are of one sequence is in the shape of the state: each starts anew alone."""
    streaming = stream_of(nodes_of_a_map(order, out, initial))
    (pair,) = streaming.form.states
    assert pair.batch_axis == dims.index("batch")
    assert streaming.form.input(pair.input).dims == dims
    assert streaming.form.output(pair.output).dims == dims
    assert (streaming.rule.reset is None) == (not initial)
