"""Bytes become texts inside a graph as Python's decoder has them, in any parts."""

from __future__ import annotations

import codecs

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from rnn_edge.graphs.pipelines.byte_texts import text_of_bytes
from rnn_edge.graphs.writing import Weights, Writer, name_apart, variable

# Whole characters of every length and at every bound, cut, overlong, too large, out of place.
PIECES = [
    *("a \x00\x7f\u0080\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff").encode().split(b" "),
    *(b"\xc3", b"\xe5\xa5", b"\xf0\x9f\x98", b"\xf0\x9f", b"\xed\xa0\x80", b"\xc0\x80"),
    *(b"\xe0\x80\x80", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\x80", b"\xff", b"\xed\x9f"),
]  # fmt: skip


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    graph = ir.Graph([], [], nodes=[], opset_imports={"": 20}, name="bytes")
    writer = Writer(Weights(graph))
    kind = ir.DataType.INT64
    given = [
        variable("values", kind, ["batch", "steps"]),
        variable("counts", kind, ["batch"]),
        variable("before", kind, ["batch", 3]),
    ]
    graph.inputs.extend(given)
    text, rest = text_of_bytes(writer, *given)
    for value, name, dtype in ((text, "text", ir.DataType.STRING), (rest, "rest", kind)):
        value.name, value.type = name, ir.TensorType(dtype)
        graph.outputs.append(value)
    graph.extend(writer.nodes)
    model = ir.Model(graph, ir_version=10)
    name_apart(model)
    return onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())


def run(
    session: onnxruntime.InferenceSession, rows: list[bytes], before: np.ndarray | None = None
) -> tuple[list[str], np.ndarray]:
    values = np.full((len(rows), max(1, *map(len, rows))), 7)
    for row, content in enumerate(rows):
        values[row, : len(content)] = list(content)
    counts = np.array([len(row) for row in rows])
    held = np.full((len(rows), 3), -1) if before is None else before
    text, rest = session.run(None, {"values": values, "counts": counts, "before": held})
    return text.tolist(), rest


def decoded(content: bytes) -> tuple[str, list[int]]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text, (left, _) = decoder.decode(content), decoder.getstate()
    return text, [-1] * (3 - len(left)) + list(left)


def random_rows(count: int) -> list[bytes]:
    random = np.random.default_rng(5)
    pieces = [b"".join(PIECES[n] for n in random.integers(0, len(PIECES), 6)) for _ in range(count)]
    noise = [random.integers(0x78, 0x100, 9).astype(np.uint8).tobytes() for _ in range(count)]
    return [b"", *PIECES, *pieces, *noise]


def test_texts_are_those_of_the_decoder(session: onnxruntime.InferenceSession) -> None:
    rows = random_rows(400)
    texts, rest = run(session, rows)
    right = [decoded(row) for row in rows]
    assert texts == [text for text, _ in right]
    assert rest.tolist() == [left for _, left in right]
    # Each alone.
    for row in rows[:40]:
        (text,), (left,) = run(session, [row])
        assert (text, left.tolist()) == decoded(row)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_parts_that_go_on_give_the_whole(size: int, session: onnxruntime.InferenceSession) -> None:
    rows = random_rows(60)
    held, texts = None, [""] * len(rows)
    for start in range(0, max(map(len, rows)), size):
        more, held = run(session, [row[start : start + size] for row in rows], held)
        texts = [text + part for text, part in zip(texts, more, strict=True)]
    assert held is not None
    right = [decoded(row) for row in rows]
    assert texts == [text for text, _ in right]
    assert held.tolist() == [left for _, left in right]


def test_what_is_no_byte_is_nothing(session: onnxruntime.InferenceSession) -> None:
    feed = {"values": np.array([[300, 97, -5, 98]]), "counts": np.array([4])}
    text, _ = session.run(None, feed | {"before": np.full((1, 3), -1)})
    assert text.tolist() == ["ab"]
