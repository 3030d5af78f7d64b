"""The reset input: only where it is needed, unless it is asked for."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from streaming_oracle import Streaming, build, check, contract_of

from rnn_edge.contract import GraphContract, StatePair


def gru() -> tuple[ir.Model, GraphContract]:
    model = build(
        """g (float[sequence,batch,4] x) => (float[sequence,1,batch,3] y) {
            y = GRU<hidden_size=3>(x, W, R, B)
        }""", W=(1, 9, 4), R=(1, 9, 3), B=(1, 18),
    )  # fmt: skip
    return model, contract_of(model)


def declared() -> tuple[ir.Model, GraphContract]:
    model = build(
        """g (float[sequence,batch,4] x, float[1,batch,3] h0)
          => (float[sequence,1,batch,3] y, float[1,batch,3] h) {
            y, h = GRU<hidden_size=3>(x, W, R, B, , h0)
        }""", W=(1, 9, 4), R=(1, 9, 3), B=(1, 18),
    )  # fmt: skip
    return model, contract_of(model, [StatePair("h0", "h", 1, 0.5)])


def convolution() -> tuple[ir.Model, GraphContract]:
    model = build(
        """g (float[batch,4,sequence] x) => (float[batch,5,sequence] y) {
            y = Conv<pads=[2,0]>(x, W)
        }""", W=(5, 4, 3),
    )  # fmt: skip
    return model, contract_of(model)


def running_sum() -> tuple[ir.Model, GraphContract]:
    model = build(
        """g (float[batch,sequence,4] x) => (float[batch,sequence,4] y) {
            unit = Constant<value_int=1>()
            y = CumSum(x, unit)
        }"""
    )
    return model, contract_of(model)


@pytest.mark.parametrize("make", [gru, declared, convolution, running_sum])
def test_reset_clears_what_is_left(make) -> None:
    model, contract = make()
    assert Streaming(model, contract).rule.reset is None
    streaming = Streaming(model, contract, reset=True)
    assert streaming.rule.reset == "reset"
    given = streaming.draw(3, 5, 0)
    initial = {pair.input: pair.initial for pair in contract.states}
    given.update({n: np.full_like(given[n], value) for n, value in initial.items()})
    random = np.random.default_rng(5)
    dirty = {
        name: random.standard_normal(array.shape).astype(array.dtype)
        for name, array in streaming.start(given).items()
    }
    left = dict(dirty)
    again = np.array([True, False, True])
    found = streaming.step(given, dirty, 0, 5, again)
    plain = Streaming(model, contract)
    kept = plain.step(given, left, 0, 5, None)
    expected = streaming.answer(given)
    for spec in contract.outputs:
        axis = spec.dims.index("batch")
        for row, wanted in ((0, expected), (1, kept), (2, expected)):
            np.testing.assert_allclose(
                np.take(found[spec.name], row, axis), np.take(wanted[spec.name], row, axis),
                rtol=2e-5, atol=2e-6,
            )  # fmt: skip


def test_frame_that_lends_its_shape_alone_is_not_kept() -> None:
    """zeros_like(x[:, 0]), as loops start."""
    text = """
    g (float[batch,sequence,3] x) => (float[sequence,batch,3] y) {
        number = Constant<value_int=0>()
        first = Gather<axis=1>(x, number)
        shape = Shape(first)
        h0 = ConstantOfShape(shape)
        t = Transpose<perm=[1,0,2]>(x)
        h, y = Scan<num_scan_inputs=1, body=b (float[batch,3] h, float[batch,3] f)
          => (float[batch,3] h2, float[batch,3] o) { s = Add(h, f) h2 = Tanh(s) o = Mul(h2, f) }
          >(h0, t)
    }"""
    streaming = check(Streaming(build(text)))
    assert streaming.rule.reset is None
    assert len(streaming.form.states) == 1


def test_rows_of_a_fixed_batch() -> None:
    text = """
    g (float[sequence,2,4] x) => (float[sequence,1,2,3] y) {
        y = GRU<hidden_size=3>(x, W, R, B, , h0)
    }"""
    streaming = Streaming(build(text, W=(1, 9, 4), R=(1, 9, 3), B=(1, 18), h0=(1, 2, 3)))
    assert streaming.form.input("reset").dims == (2,)
    given = {"x": np.random.default_rng(0).standard_normal((7, 2, 4)).astype(np.float32)}
    states, parts = streaming.start(given), []
    for place, size in ((0, 3), (3, 4)):
        parts.append(streaming.step(given, states, place, size, np.full(2, place == 0))["y"])
    np.testing.assert_allclose(
        np.concatenate(parts), streaming.answer(given)["y"], rtol=1e-5, atol=1e-6
    )
