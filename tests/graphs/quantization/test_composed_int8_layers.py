"""Layers and heads as products by int8 weights, against ONNX Runtime's float32 nodes and numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from rnn_edge.graphs.quantization import ComposeHeads, ComposeLayers
from rnn_edge.graphs.quantization.known_sizes import known_sizes

HIDDEN = 64
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
EVERY = dict.fromkeys(GATES, 1)
# Of answers within -1 to 1: activations and weights have 127 steps.
NEAR = 0.02


def constant(name: str, array: np.ndarray) -> ir.Value:
    return ir.val(name, const_value=ir.tensor(array, name=name))


def build(kind: str, features: int, dims: list[Any], **options: Any) -> ir.Model:
    """One node over x and its states; ``lengths`` and ``row`` are further inputs on wish."""
    lengths, row = options.pop("lengths", False), options.pop("row", False)
    ways = 2 if options.get("direction") == "bidirectional" else 1
    random = np.random.default_rng(features)
    gates, spread = GATES[kind] * HIDDEN, HIDDEN**-0.5
    shapes = {"w": (ways, gates, features), "r": (ways, gates, HIDDEN), "b": (ways, 2 * gates)}
    values = {
        name: constant(name, random.uniform(-spread, spread, shape).astype(np.float32))
        for name, shape in shapes.items()
    }
    x = ir.val("x", ir.DataType.FLOAT, [*dims, features])
    lens = ir.val("lens", ir.DataType.INT32, [dims[1]]) if lengths else None
    names = ["h_0", "c_0"] if kind == "LSTM" else ["h_0"]
    states = [ir.val(name, ir.DataType.FLOAT, [ways, dims[1], HIDDEN]) for name in names]
    nodes, given = [], []
    if row:
        given = [ir.val("row", ir.DataType.FLOAT, [1, gates])]
        rest = constant("rest", values.pop("b").const_value.numpy()[:, gates:])
        values["rest"] = rest
        nodes.append(ir.node("Concat", [*given, rest], {"axis": 1}))
        values_b = nodes[0].outputs[0]
    else:
        values_b = values["b"]
    node = ir.node(
        kind,
        [x, values["w"], values["r"], values_b, lens, *states],
        {"hidden_size": HIDDEN, **options},
        num_outputs=2 + (kind == "LSTM"),
    )
    nodes.append(node)
    for output, name in zip(node.outputs, ("y", "h_n", "c_n"), strict=False):
        output.name, output.type = name, ir.TensorType(ir.DataType.FLOAT)
        output.shape = ir.Shape([ways, dims[1], HIDDEN])
    node.outputs[0].shape = ir.Shape([dims[0], ways, dims[1], HIDDEN])
    graph = ir.Graph(
        [x, *([lens] if lens else []), *given, *states],
        node.outputs,
        nodes=nodes,
        initializers=list(values.values()),
        opset_imports={"": 18},
    )
    return ir.Model(graph, ir_version=9)


def run(model: ir.Model, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    data = ir.to_proto(model).SerializeToString()
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run(None, feed)


def feed_for(model: ir.Model, time: int, batch: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(time)
    sizes = {"time": time, "batch": batch}
    return {
        value.name: random.uniform(-1, 1, [sizes.get(str(d), d) for d in value.shape]).astype("f4")
        for value in model.graph.inputs
        if value.dtype == ir.DataType.FLOAT
    }


def kinds(model: ir.Model) -> set[str]:
    return {node.op_type for node in model.graph.all_nodes()}


def check(model: ir.Model, feed: dict[str, np.ndarray], layers: ComposeLayers) -> None:
    expected = run(model, feed)
    layers(model)
    assert layers.changed == 1
    assert kinds(model).isdisjoint(GATES)
    for found, wanted in zip(run(model, feed), expected, strict=True):
        assert 0 < np.abs(found - wanted).max() < NEAR


# Frames that share a product with the state, that have one of their own, and that stay float32.
@pytest.mark.parametrize("features", [64, 40, 3])
@pytest.mark.parametrize("kind", ["RNN", "GRU", "GRU reset behind", "LSTM"])
def test_one_step_is_near_the_float32_node(kind: str, features: int) -> None:
    more = {"linear_before_reset": 1} if "behind" in kind else {}
    kind = kind.split()[0]
    batch = 1 if kind == "LSTM" else 3
    model = build(kind, features, [1, batch], **more)
    check(model, feed_for(model, 1, batch), ComposeLayers(EVERY, {}))
    assert "Scan" not in kinds(model)


@pytest.mark.parametrize("kind", GATES)
def test_a_row_that_was_looked_up_takes_the_place_of_the_input_s_product(kind: str) -> None:
    more = {"linear_before_reset": 1} if kind == "GRU" else {}
    model = build(kind, 1, [1, 1], row=True, **more)
    model.graph.initializers["w"].const_value = ir.tensor(
        np.zeros((1, GATES[kind] * HIDDEN, 1), np.float32), name="w"
    )
    check(model, feed_for(model, 1, 1), ComposeLayers(EVERY, {}))


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("time", "batch"), [(1, 1), (17, 3)])
def test_sequences_become_a_scan(direction: str, time: int, batch: int) -> None:
    model = build("GRU", 40, ["time", "batch"], direction=direction, linear_before_reset=1)
    check(model, feed_for(model, time, batch), ComposeLayers({}, EVERY))
    assert "Scan" in kinds(model)


def test_rows_end_at_their_lengths_and_padding_changes_nothing() -> None:
    model = build("GRU", 64, ["time", "batch"], lengths=True, linear_before_reset=1)
    lengths = np.array([9, 0, 4], np.int32)
    feed = {**feed_for(model, 9, 3), "lens": lengths}
    check(model, feed, ComposeLayers({}, EVERY))
    before = run(model, feed)
    for row, length in enumerate(lengths):
        feed["x"][length:, row] = 1e6
    for one, other in zip(before, run(model, feed), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not before[0][4:, 0, 2].any()


def test_a_row_is_the_same_in_any_batch() -> None:
    model = build("GRU", 64, ["time", "batch"], linear_before_reset=1)
    ComposeLayers({}, EVERY)(model)
    feed = feed_for(model, 7, 4)
    together = run(model, feed)[0]
    alone = run(model, {name: array[:, 2:3] for name, array in feed.items()})[0]
    np.testing.assert_allclose(alone, together[:, :, 2:3], atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("GRU", {"direction": "reverse", "lengths": True}),
        ("GRU", {"clip": 3.0}),
        ("GRU", {"activations": ["HardSigmoid", "Tanh"]}),
        ("LSTM", {}),
    ],
)
def test_what_has_no_int8_form_over_sequences_stays(kind: str, options: dict[str, Any]) -> None:
    model = build(kind, 40, ["time", "batch"], **options)
    layers = ComposeLayers(EVERY, EVERY)
    assert not layers(model).modified
    assert kind in kinds(model)


def test_small_layers_and_several_rows_of_an_lstm_stay() -> None:
    small = ComposeLayers({"GRU": 10**6}, {"GRU": 10**6})
    assert not small(build("GRU", 40, [1, 1])).modified
    assert not ComposeLayers(EVERY, {})(build("LSTM", 40, [1, "batch"])).modified


def deep(node: ir.Node, inputs: list[ir.Value], count: int) -> ir.Model:
    """``node`` in as many Ifs, which are always true; its constants stand in the main graph."""
    yes = constant("yes", np.array(True))
    values = [value for value in node.inputs if value and value.const_value]
    output, nodes = node.outputs[0], [node]
    for _ in range(count):
        branches = {"then_branch": ir.Graph([], [output], nodes=nodes, name="then")}
        blank = constant(f"blank{len(values)}", np.zeros((1, 1), np.float32))
        values.append(blank)
        other = ir.node("Identity", [blank])
        branches["else_branch"] = ir.Graph([], other.outputs, nodes=[other], name="else")
        nodes = [ir.node("If", [yes], branches)]
        output = nodes[0].outputs[0]
    output.name, output.type = "y", ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph(
        inputs, [output], nodes=nodes, initializers=[yes, *values], opset_imports={"": 18}
    )
    return ir.Model(graph, ir_version=9)


@pytest.mark.parametrize(("bodies", "changed"), [(0, 1), (1, 1), (2, 0)])
def test_weights_that_the_runtime_would_not_pack_stay_float32(bodies: int, changed: int) -> None:
    weights = np.random.default_rng(0).standard_normal((256, 150)).astype(np.float32)
    x = ir.val("x", ir.DataType.FLOAT, [1, 256])
    model = deep(ir.node("MatMul", [x, constant("w", weights)]), [x], bodies)
    heads = ComposeHeads()
    heads(model)
    assert heads.changed == changed
    given = np.ones((1, 256), np.float32)
    np.testing.assert_allclose(run(model, {"x": given})[0], given @ weights, atol=1)


@pytest.mark.parametrize(("bodies", "changed"), [(0, 1), (1, 0)])
def test_a_scan_is_a_body_of_its_own(bodies: int, changed: int) -> None:
    random = np.random.default_rng(0)
    shapes = {"w": (1, 3 * HIDDEN, 40), "r": (1, 3 * HIDDEN, HIDDEN)}
    values = [constant(n, random.uniform(-0.1, 0.1, s).astype("f4")) for n, s in shapes.items()]
    x = ir.val("x", ir.DataType.FLOAT, ["time", 1, 40])
    layers = ComposeLayers({}, EVERY)
    layers(deep(ir.node("GRU", [x, *values], {"hidden_size": HIDDEN}), [x], bodies))
    assert layers.changed == changed


def head(kind: str, weights: np.ndarray, bias: np.ndarray) -> ir.Model:
    x = ir.val("x", ir.DataType.FLOAT, ["rows", weights.shape[1]])
    if kind == "Gemm":
        nodes = [ir.node("Gemm", [x, constant("w", weights), constant("b", bias)], {"transB": 1})]
    else:
        nodes = [ir.node("MatMul", [x, constant("w", weights.T.copy())])]
        nodes.append(ir.node("Add", [constant("b", bias), nodes[0].outputs[0]]))
    output = nodes[-1].outputs[0]
    output.name, output.type = "y", ir.TensorType(ir.DataType.FLOAT)
    output.shape = ir.Shape(["rows", len(weights)])
    values = [value for node in nodes for value in node.inputs if value and value.const_value]
    graph = ir.Graph([x], [output], nodes=nodes, initializers=values, opset_imports={"": 18})
    return ir.Model(graph, ir_version=9)


# 200 columns do not fill their blocks.
@pytest.mark.parametrize(("kind", "columns"), [("MatMul", 200), ("Gemm", 256)])
def test_heads_compute_with_int8(kind: str, columns: int) -> None:
    random = np.random.default_rng(columns)
    weights = random.standard_normal((150, columns)).astype(np.float32)
    bias = random.standard_normal(150).astype(np.float32)
    model = head(kind, weights, bias)
    heads = ComposeHeads()
    heads(model)
    assert heads.changed == 1
    assert [node.op_type for node in model.graph] == ["MatMulNBits"]
    assert {"w", "b"}.isdisjoint(model.graph.initializers)
    for rows in (1, 7):
        x = random.standard_normal((rows, columns)).astype(np.float32)
        wanted = x.astype(np.float64) @ weights.T + bias
        error = np.abs(run(model, {"x": x})[0] - wanted).max() / wanted.std()
        assert 1e-6 < error < 0.05


def test_small_heads_stay() -> None:
    model = head("MatMul", np.zeros((10, 64), np.float32), np.zeros(10, np.float32))
    assert not ComposeHeads()(model).modified


def test_sizes_are_followed_through_what_stands_before_a_layer() -> None:
    token = ir.val("token", ir.DataType.INT64, [1, "batch"])
    table = constant("table", np.zeros((9, 5), np.float32))
    gathered = ir.node("Gather", [table, token])
    turned = ir.node("Transpose", [gathered.outputs[0]], {"perm": [1, 0, 2]})
    flat = ir.node("Reshape", [turned.outputs[0], constant("shape", np.array([-1, 5]))])
    both = ir.node("Unsqueeze", [flat.outputs[0], constant("axes", np.array([0]))])
    joined = ir.node("Concat", [both.outputs[0], both.outputs[0]], {"axis": 2})
    assert known_sizes(gathered.outputs[0]) == (1, None, 5)
    assert known_sizes(turned.outputs[0]) == (None, 1, 5)
    assert known_sizes(joined.outputs[0]) == (1, None, 10)
    assert known_sizes(ir.node("Range", []).outputs[0]) is None
