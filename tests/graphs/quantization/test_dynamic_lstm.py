"""LSTM nodes that compute with int8, and weights stored with fewer bits, against numpy."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from torch import nn

from rnn_edge.graphs.quantization import QuantizeLstms, StoreWeights

FEATURES, HIDDEN = 12, 64
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
# Of answers within -1 to 1, whose weights have 127 steps.
NEAR = 0.02


def build(kind: str, layer: nn.Module, *, lengths: bool = False) -> ir.Model:
    """One node with torch's weights over x[time, batch, features]."""
    order = {"LSTM": [0, 3, 1, 2], "GRU": [1, 0, 2], "RNN": [0]}[kind]
    weights = {}
    for name, source in (("W", "weight_ih_l0"), ("R", "weight_hh_l0")):
        parts = np.split(getattr(layer, source).detach().numpy(), GATES[kind])
        weights[name] = np.concatenate([parts[gate] for gate in order])[None]
    x = ir.val("x", ir.DataType.FLOAT, ["time", "batch", FEATURES])
    lens = ir.val("lens", ir.DataType.INT32, ["batch"]) if lengths else None
    values = {n: ir.val(n, const_value=ir.tensor(a, name=n)) for n, a in weights.items()}
    more = {"linear_before_reset": 1} if kind == "GRU" else {}
    node = ir.node(
        kind,
        [x, values["W"], values["R"], *([None, lens] if lengths else [])],
        {"hidden_size": HIDDEN, **more},
        num_outputs=2,
    )
    outputs = list(node.outputs)
    for value, name in zip(outputs, ("y", "h"), strict=True):
        value.name, value.type = name, ir.TensorType(ir.DataType.FLOAT)
    outputs[0].shape = ir.Shape(["time", 1, "batch", HIDDEN])
    outputs[1].shape = ir.Shape([1, "batch", HIDDEN])
    graph = ir.Graph(
        [x, *([lens] if lens else [])],
        outputs,
        nodes=[node],
        initializers=list(values.values()),
        opset_imports={"": 18},
    )
    return ir.Model(graph, ir_version=9)


def run(model: ir.Model, **feed: np.ndarray) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    data = ir.to_proto(model).SerializeToString()
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run(None, feed)


def frames(time: int, batch: int) -> np.ndarray:
    random = np.random.default_rng(time)
    return random.standard_normal((time, batch, FEATURES)).astype(np.float32)


@pytest.fixture
def layer() -> nn.LSTM:
    torch.manual_seed(0)
    return nn.LSTM(FEATURES, HIDDEN, bias=False)


@pytest.mark.parametrize(("time", "batch"), [(1, 1), (17, 3)])
def test_int8_layer_is_near_torch(layer, time, batch):
    model = build("LSTM", layer)
    layers = QuantizeLstms(HIDDEN)
    layers(model)
    assert layers.changed == 1
    assert set(model.graph.initializers) == {
        f"{name}.{part}" for name in "WR" for part in ("int8", "scale", "zero_point")
    }
    x = frames(time, batch)
    with torch.no_grad():
        expected = layer(torch.from_numpy(x))[0].numpy()
    np.testing.assert_allclose(run(model, x=x)[0][:, 0], expected, atol=NEAR)


def test_padding_does_not_reach_the_scales(layer):
    model = build("LSTM", layer, lengths=True)
    QuantizeLstms(HIDDEN)(model)
    lengths = np.array([9, 2, 5], np.int32)
    x = frames(9, 3)
    y = run(model, x=x, lens=lengths)
    for row, length in enumerate(lengths):
        x[length:, row] = 1e6
    for one, other in zip(y, run(model, x=x, lens=lengths), strict=True):
        np.testing.assert_array_equal(one, other)
    with torch.no_grad():
        alone = layer(torch.from_numpy(x[:5, 2:3]))[0].numpy()
    np.testing.assert_allclose(y[0][:5, 0, 2:3], alone, atol=NEAR)


def test_small_layer_is_left_alone(layer):
    model = build("LSTM", layer)
    layers = QuantizeLstms(HIDDEN + 1)
    assert not layers(model).modified
    assert layers.changed == 0


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize(("form", "near"), [("int8", NEAR), ("float16", 1e-3)])
def test_stored_weights_are_restored(kind, form, near):
    torch.manual_seed(0)
    layer = getattr(nn, kind)(FEATURES, HIDDEN, bias=False)
    model = build(kind, layer)
    before = len(ir.to_proto(model).SerializeToString())
    weights = StoreWeights(form)
    weights(model)
    # An RNN's input weights are too few to be worth it.
    assert weights.changed == (1 if kind == "RNN" else 2)
    after = len(ir.to_proto(model).SerializeToString())
    assert after < before * (0.6 if form == "float16" else 0.45)
    x = frames(11, 2)
    with torch.no_grad():
        expected = layer(torch.from_numpy(x))[0].numpy()
    np.testing.assert_allclose(run(model, x=x)[0][:, 0], expected, atol=near)
