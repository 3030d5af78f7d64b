"""Small bundles with known weights for tests; their answers are recomputed in numpy here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rnn_edge.bundle import Bundle, write_bundle
from rnn_edge.contract import (
    AxisLimits,
    CharacterFrontEnd,
    Contract,
    Decoder,
    FrontEnd,
    GraphContract,
    ImageFrontEnd,
    LabelDecoder,
    NextCharacterDecoder,
    SeriesFrontEnd,
    StatePair,
    TensorSpec,
    ValueDecoder,
)

HIDDEN = 3
_TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.6, 0.6, shape).astype(np.float32)


def rnn_hidden(
    x: np.ndarray, w: np.ndarray, r: np.ndarray, h: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """tanh RNN without bias over one row x[time, in]: every hidden state, and the last."""
    steps = []
    for row in x:
        h = np.tanh(w @ row + r @ h)
        steps.append(h)
    return np.stack(steps), h


def write(
    folder: Path,
    contract: GraphContract,
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    front_end: FrontEnd | None = None,
    decoder: Decoder | None = None,
    name: str = "tiny",
) -> Bundle:
    """Save the graph with its contract inside, and seal the bundle."""
    graph = helper.make_graph(
        nodes,
        name,
        [_value(spec) for spec in contract.inputs],
        [_value(spec) for spec in contract.outputs],
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    whole = Contract(name, {"model": contract}, None, front_end, decoder)
    helper.set_model_props(model, whole.metadata(contract))
    onnx.checker.check_model(model, full_check=True)
    evidence: dict[str, Any] = {"producer": "tests", "opset": 17}
    return write_bundle(
        folder, whole, evidence, lambda place: onnx.save(model, place / "model.onnx")
    )


def _value(spec: TensorSpec) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(spec.name, _TYPES[spec.dtype], list(spec.dims))


# --- values: x[batch, sequence, 2], lengths[batch] -> y[batch, 1] -----------------------------

SERIES_W = weights(1, HIDDEN, 2, seed=1)
SERIES_R = weights(1, HIDDEN, HIDDEN, seed=2)
SERIES_HEAD = weights(HIDDEN, 1, seed=3)


def series_answer(x: np.ndarray) -> np.ndarray:
    """The answer for one row x[time, 2]."""
    _, h = rnn_hidden(x, SERIES_W[0], SERIES_R[0], np.zeros(HIDDEN, np.float32))
    return h @ SERIES_HEAD


def write_series(folder: Path, *, lengths: bool = True, trained_maximum: int = 50) -> Bundle:
    inputs = [TensorSpec("x", "float32", ("batch", "sequence", 2), "measurements")]
    nodes = [helper.make_node("Transpose", ["x"], ["xt"], perm=[1, 0, 2])]
    lens = ""
    if lengths:
        inputs.append(TensorSpec("lengths", "int64", ("batch",), lengths_of="sequence"))
        nodes.append(helper.make_node("Cast", ["lengths"], ["lens"], to=TensorProto.INT32))
        lens = "lens"
    nodes += [
        helper.make_node("RNN", ["xt", "W", "R", "", lens], ["", "h"], hidden_size=HIDDEN),
        helper.make_node("Squeeze", ["h", "zero"], ["h_n"]),
        helper.make_node("MatMul", ["h_n", "head"], ["y"]),
    ]
    contract = GraphContract(
        "model.onnx",
        tuple(inputs),
        (TensorSpec("y", "float32", ("batch", 1)),),
        axes={"batch": AxisLimits(), "sequence": AxisLimits(1, 200, trained_maximum)},
    )
    constants = {"W": SERIES_W, "R": SERIES_R, "head": SERIES_HEAD, "zero": np.array([0])}
    front_end = SeriesFrontEnd(("speed", "load"), (0.0, 0.0), (1.0, 1.0))
    return write(folder, contract, nodes, constants, front_end, ValueDecoder(("heat",)), "series")


# --- labels: tokens[batch, sequence], lengths[batch] -> logits[batch, 2] ----------------------

VOCABULARY = ("<pad>", "<unk>", "a", "b", "好", " ")
LABELS = ("negative", "positive")
TEXT_TABLE = weights(len(VOCABULARY), 2, seed=4)
TEXT_W = weights(1, HIDDEN, 2, seed=5)
TEXT_R = weights(1, HIDDEN, HIDDEN, seed=6)
TEXT_HEAD = weights(HIDDEN, 2, seed=7)


def text_answer(ids: list[int]) -> np.ndarray:
    """Probabilities of LABELS for one row of ids."""
    zero = np.zeros(HIDDEN, np.float32)
    _, h = rnn_hidden(TEXT_TABLE[ids], TEXT_W[0], TEXT_R[0], zero)
    powers = np.exp(h @ TEXT_HEAD)
    return powers / powers.sum()


def write_text(folder: Path) -> Bundle:
    contract = GraphContract(
        "model.onnx",
        (
            TensorSpec("tokens", "int64", ("batch", "sequence"), "", 0, len(VOCABULARY) - 1),
            TensorSpec("lengths", "int64", ("batch",), lengths_of="sequence"),
        ),
        (TensorSpec("logits", "float32", ("batch", 2)),),
        axes={"batch": AxisLimits(), "sequence": AxisLimits(1, None, 20)},
    )
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["x"]),
        helper.make_node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        helper.make_node("Cast", ["lengths"], ["lens"], to=TensorProto.INT32),
        helper.make_node("RNN", ["xt", "W", "R", "", "lens"], ["", "h"], hidden_size=HIDDEN),
        helper.make_node("Squeeze", ["h", "zero"], ["h_n"]),
        helper.make_node("MatMul", ["h_n", "head"], ["logits"]),
    ]
    constants = {
        "table": TEXT_TABLE, "W": TEXT_W, "R": TEXT_R, "head": TEXT_HEAD, "zero": np.array([0]),
    }  # fmt: skip
    front_end = CharacterFrontEnd(VOCABULARY, unknown=1, padding=0)
    return write(folder, contract, nodes, constants, front_end, LabelDecoder(LABELS), "text")


# --- image: image[batch, 4, 3] -> logits[batch, 2] --------------------------------------------

IMAGE_W = weights(1, HIDDEN, 3, seed=8) / 255
IMAGE_R = weights(1, HIDDEN, HIDDEN, seed=9)
IMAGE_HEAD = weights(HIDDEN, 2, seed=10)


def image_answer(rows: np.ndarray) -> np.ndarray:
    """Probabilities of LABELS for one image[4, 3] of values 0 to 255."""
    zero = np.zeros(HIDDEN, np.float32)
    _, h = rnn_hidden(rows.astype(np.float32), IMAGE_W[0], IMAGE_R[0], zero)
    powers = np.exp(h @ IMAGE_HEAD)
    return powers / powers.sum()


def write_image(folder: Path) -> Bundle:
    contract = GraphContract(
        "model.onnx",
        (TensorSpec("image", "float32", ("batch", 4, 3), "", 0, 255),),
        (TensorSpec("logits", "float32", ("batch", 2)),),
    )
    nodes = [
        helper.make_node("Transpose", ["image"], ["xt"], perm=[1, 0, 2]),
        helper.make_node("RNN", ["xt", "W", "R"], ["", "h"], hidden_size=HIDDEN),
        helper.make_node("Squeeze", ["h", "zero"], ["h_n"]),
        helper.make_node("MatMul", ["h_n", "head"], ["logits"]),
    ]
    constants = {"W": IMAGE_W, "R": IMAGE_R, "head": IMAGE_HEAD, "zero": np.array([0])}
    return write(
        folder, contract, nodes, constants, ImageFrontEnd(4, 3), LabelDecoder(LABELS), "image"
    )


# --- language model: tokens[batch, sequence], h_0 -> logits[batch, sequence, 6], h_n ----------

LM_TABLE = weights(len(VOCABULARY), 4, seed=11) * 4
LM_W = weights(1, HIDDEN, 4, seed=12) * 2
LM_R = weights(1, HIDDEN, HIDDEN, seed=13)
LM_HEAD = weights(HIDDEN, len(VOCABULARY), seed=14) * 4


def language_logits(ids: list[int]) -> np.ndarray:
    """Logits[time, 6] for one row of ids from the initial state."""
    zero = np.zeros(HIDDEN, np.float32)
    steps, _ = rnn_hidden(LM_TABLE[ids], LM_W[0], LM_R[0], zero)
    return steps @ LM_HEAD


def write_language_model(folder: Path) -> Bundle:
    contract = GraphContract(
        "model.onnx",
        (
            TensorSpec("tokens", "int64", ("batch", "sequence"), "", 0, len(VOCABULARY) - 1),
            TensorSpec("h_0", "float32", (1, "batch", HIDDEN)),
        ),
        (
            TensorSpec("logits", "float32", ("batch", "sequence", len(VOCABULARY))),
            TensorSpec("h_n", "float32", (1, "batch", HIDDEN)),
        ),
        states=(StatePair("h_0", "h_n", batch_axis=1),),
        axes={"batch": AxisLimits(), "sequence": AxisLimits(1, None, 30)},
    )
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["x"]),
        helper.make_node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        helper.make_node(
            "RNN", ["xt", "W", "R", "", "", "h_0"], ["steps", "h_n"], hidden_size=HIDDEN
        ),
        helper.make_node("Squeeze", ["steps", "one"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["bt"], perm=[1, 0, 2]),
        helper.make_node("MatMul", ["bt", "head"], ["logits"]),
    ]
    constants = {"table": LM_TABLE, "W": LM_W, "R": LM_R, "head": LM_HEAD, "one": np.array([1])}
    front_end = CharacterFrontEnd(VOCABULARY, unknown=1, padding=0)
    decoder = NextCharacterDecoder(never=(0, 1))
    return write(folder, contract, nodes, constants, front_end, decoder, "language-model")


# --- an answer every step, time first: x[sequence, batch, 1] -> y[sequence, batch, 1] ---------


def write_doubling(folder: Path) -> Bundle:
    contract = GraphContract(
        "model.onnx",
        (
            TensorSpec("x", "float32", ("sequence", "batch", 1)),
            TensorSpec("lengths", "int64", ("batch",), lengths_of="sequence"),
        ),
        (TensorSpec("y", "float32", ("sequence", "batch", 1)),),
    )
    nodes = [helper.make_node("Add", ["x", "x"], ["y"])]
    front_end = SeriesFrontEnd(("value",), (0.0,), (1.0,))
    return write(folder, contract, nodes, {}, front_end, ValueDecoder(("double",)), "doubling")
