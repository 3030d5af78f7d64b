"""The graph for single frames gives what the whole gives, without moving axes about."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from streaming_oracle import Streaming, build, contract_of, open_session
from test_stream_recurrent import CONTEXT, EXPAND, GATES, recurrent
from test_stream_scans import BODY, ZEROS

from rnn_edge.contract import StatePair
from rnn_edge.graphs.streaming import derive_step

MOVING = {"Transpose", "Shape", "Expand", "Concat", "Scan", "Squeeze", "Unsqueeze"}


def step_of(model: ir.Model, rows: int | None = None, **options) -> Streaming:
    """The checked step graph, frame after frame, in the place of the stream's."""
    streaming = Streaming(model, **options)
    step = derive_step(streaming.stream, rows)
    assert [s.name for s in step.contract.inputs] == [s.name for s in streaming.form.inputs]
    assert step.contract.states == streaming.form.states
    assert step.contract.file == "step.onnx"
    streaming.session, streaming.stream = open_session(step.model), step
    for batch, frames in ((1, 1), (3, 9), (1, 13)):
        if rows in (None, batch):
            streaming.compare(batch, [1] * frames, frames)
    return streaming


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("rows", [None, 1])
def test_plain_layer(kind: str, rows: int | None) -> None:
    left = step_of(recurrent(kind), rows).operators()
    assert not MOVING & set(left)
    assert left.count("Reshape") == (2 if rows is None else 0)


@pytest.mark.parametrize("kind", GATES)
def test_learned_and_context_states(kind: str) -> None:
    both = ", , h0, h0" if kind == "LSTM" else ", , h0"
    step_of(recurrent(kind, both, EXPAND, start=(1, 1, 3)))
    step_of(recurrent(kind, both, CONTEXT, ", float[batch,5] context", V=(5, 3)))


def test_stack_with_a_head_keeps_nothing_but_layers() -> None:
    text = """
    g (float[batch,sequence,4] x) => (float[batch,sequence,2] out, float[batch,3] last) {
        xt = Transpose<perm=[1,0,2]>(x)
        one = Constant<value_ints=[1]>()
        y1, h1 = GRU<hidden_size=3>(xt, W1, R1, B1)
        s1 = Squeeze(y1, one)
        y2, h2, c2 = LSTM<hidden_size=3>(s1, W2, R2, B2)
        s2 = Squeeze(y2, one)
        back = Transpose<perm=[1,0,2]>(s2)
        out = MatMul(back, V)
        minus = Constant<value_int=-1>()
        last = Gather<axis=1>(back, minus)
    }"""
    weights = {"W1": (1, 9, 4), "R1": (1, 9, 3), "B1": (1, 18), "W2": (1, 12, 3)}
    model = build(text, **weights, R2=(1, 12, 3), B2=(1, 24), V=(3, 2))
    left = step_of(model).operators()
    assert not MOVING & set(left)


@pytest.mark.parametrize("axes", ["", "scan_input_axes=[1], scan_output_axes=[1],"])
def test_scan_becomes_its_body(axes: str) -> None:
    frames = "batch,sequence" if axes else "sequence,batch"
    text = f"""
    g (float[{frames},3] x) => (float[{frames},3] out, float[batch,3] s) {{
        {ZEROS if axes else ZEROS.replace("start=0, end=1", "start=1, end=2")}
        h, s, out = Scan<num_scan_inputs=1, {axes} body={BODY}>(h0, h0, x)
    }}"""
    streaming = step_of(build(text, R=(3, 3)))
    assert "Scan" not in streaming.operators()


def test_two_scans_of_one_body() -> None:
    text = f"""
    g (float[sequence,batch,3] x) => (float[sequence,batch,3] out) {{
        {ZEROS.replace("start=0, end=1", "start=1, end=2")}
        h, s, first = Scan<num_scan_inputs=1, body={BODY}>(h0, h0, x)
        h_, s_, out = Scan<num_scan_inputs=1, body={BODY}>(h0, h0, first)
    }}"""
    assert "Scan" not in step_of(build(text, R=(3, 3))).operators()


def test_declared_state() -> None:
    text = f"""
    g (float[sequence,batch,3] x, float[batch,3] h0, float[batch,3] s0)
      => (float[sequence,batch,3] out, float[batch,3] h, float[batch,3] s) {{
        h, s, out = Scan<num_scan_inputs=1, body={BODY}>(h0, s0, x)
    }}"""
    model = build(text, R=(3, 3))
    states = [StatePair("h0", "h", 0), StatePair("s0", "s", 0)]
    step_of(model, contract=contract_of(model, states))


@pytest.mark.parametrize("attributes", ["pads=[2,0]", "strides=[2], pads=[2,0]", "pads=[1,1]"])
def test_convolution(attributes: str) -> None:
    text = f"""
    g (float[batch,4,sequence] x) => (float[batch,5,frames] out) {{
        out = Conv<{attributes}>(x, W, B)
    }}"""
    step_of(build(text, W=(5, 4, 3), B=(5,)))


def test_running_mean_needs_its_counter() -> None:
    text = """
    g (float[batch,sequence,4] x) => (float[batch,sequence,4] out) {
        one = Constant<value_ints=[1]>()
        unit = Constant<value_int=1>()
        nought = Constant<value_int=0>()
        sum = CumSum(x, unit)
        frames = Shape<start=1, end=2>(x)
        length = Squeeze(frames)
        places = Range(nought, length, unit)
        numbers = Add(places, unit)
        count = Cast<to=1>(numbers)
        column = Unsqueeze(count, one)
        out = Div(sum, column)
    }"""
    step_of(build(text))


def test_sizes_in_the_contract() -> None:
    streaming = step_of(recurrent("GRU"), 1)
    contract = streaming.stream.contract
    assert contract.input("x").dims == (1, 1, 4)
    assert all(1 in spec.dims[:2] for spec in contract.outputs)
    graph = streaming.stream.model.graph
    assert not any(isinstance(dim, ir.SymbolicDim) for dim in graph.inputs[0].shape or [])
    feed = {
        spec.name: np.zeros([int(dim) for dim in spec.dims], spec.dtype) for spec in contract.inputs
    }
    assert open_session(streaming.stream.model).run(None, feed)[0].shape == (1, 1, 3)
