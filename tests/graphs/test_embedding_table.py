"""Layers of one row that read a table: the same numbers, and only where a table is small."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import numpy_helper, parser

from rnn_edge.contract import GraphContract, StatePair, StreamRule, TensorSpec
from rnn_edge.graphs.generation.embedding_table import fold_embeddings
from rnn_edge.graphs.streaming.stream import Stream

IDS, HIDDEN = 50, 2
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
STATES = [(1, 1, HIDDEN), (1, 1, HIDDEN)]


def step(kind: str, width: int, bias: bool = True, view: str = "e", lbr: bool = False) -> Stream:
    """One step of a layer that reads an embedding of ``width``; ``view`` is what it reads."""
    gates, both = GATES[kind] * HIDDEN, kind == "LSTM"
    more = ", float[1,1,2] c" if both else ""
    ends = ", float[1,1,2] cn" if both else ""
    option = ", linear_before_reset=1" if lbr else ""
    text = f"""<ir_version: 10, opset_import: ["": 20]>
    g (int64[1,1] ids, float[1,1,2] h{more}) => (float[1,1,2] hn{ends}) {{
        e = Gather(E, ids)
        turned = Transpose<perm=[1,0,2]>(e)
        twice = Add(e, e)
        y, hn{", cn" if both else ""} = {kind}<hidden_size=2{option}>(
            {view}, W, R, {"B" if bias else ""}, , h{", c" if both else ""})
    }}"""
    model = parser.parse_model(text)
    random = np.random.default_rng(0)
    shapes = {"E": (IDS, width), "W": (1, gates, width), "R": (1, gates, HIDDEN)}
    shapes |= {"B": (1, 2 * gates)} if bias else {}
    for name, shape in shapes.items():
        array = random.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    names = ("h", "c") if both else ("h",)
    inputs = [TensorSpec("ids", "int64", (1, 1))]
    inputs += [TensorSpec(name, "float32", (1, 1, HIDDEN)) for name in names]
    outputs = [TensorSpec(f"{name}n", "float32", (1, 1, HIDDEN)) for name in names]
    pairs = tuple(StatePair(name, f"{name}n", 1) for name in names)
    contract = GraphContract(
        "step.onnx", tuple(inputs), tuple(outputs), pairs, {}, StreamRule("sequence")
    )
    return Stream(ir.from_proto(model), contract)


def run(stream: Stream, id: int) -> list[np.ndarray]:
    proto = ir.to_proto(stream.model).SerializeToString()
    session = onnxruntime.InferenceSession(proto, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(1)
    feed = {
        spec.name: np.full(spec.dims, id)
        if spec.name == "ids"
        else random.standard_normal(spec.dims).astype(np.float32)
        for spec in stream.contract.inputs
    }
    return session.run(None, feed)


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize(
    ("bias", "view", "lbr"), [(True, "e", False), (True, "turned", True), (False, "e", False)]
)
def test_a_row_of_the_table_is_what_the_layer_reads(
    kind: str, bias: bool, view: str, lbr: bool
) -> None:
    plain = step(kind, 9, bias, view, lbr and kind == "GRU")
    folded = fold_embeddings(plain, "ids")
    assert [name for name in folded.model.graph.initializers if name.endswith("table")]
    assert "E" not in {value.name for node in folded.model.graph for value in node.inputs if value}
    assert folded.contract.inputs[0].dims == (1,)
    for id in (0, 7, IDS - 1):
        for found, expected in zip(run(folded, id), run(plain, id), strict=True):
            np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("view", ["twice", "e"])
def test_what_is_no_plain_embedding_or_would_be_large_stays(view: str) -> None:
    plain = step("GRU", 9 if view == "twice" else 1, view=view)
    folded = fold_embeddings(plain, "ids")
    assert not [name for name in folded.model.graph.initializers if name.endswith("table")]
    assert folded.contract.inputs[0].dims == (1, 1)
    for found, expected in zip(run(folded, 3), run(plain, 3), strict=True):
        np.testing.assert_array_equal(found, expected)
