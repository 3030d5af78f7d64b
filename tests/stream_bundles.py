"""Small bundles of stream graphs with known weights; their answers are recomputed in numpy here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import tiny_bundles
from onnx import TensorProto, helper, numpy_helper

from rnn_edge.bundle import Bundle, write_bundle
from rnn_edge.contract import (
    METADATA_KEY,
    AxisLimits,
    Contract,
    GraphContract,
    StatePair,
    StreamRule,
    TensorSpec,
)

FEATURES, HIDDEN = 2, 3
_TYPES = {
    "float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "bool": TensorProto.BOOL,
}  # fmt: skip


def spec(name: str, *dims: int | str, dtype: str = "float32", **more: float) -> TensorSpec:
    return TensorSpec(name, dtype, dims, **more)  # type: ignore[arg-type]


def write(
    folder: Path,
    graphs: dict[str, tuple[GraphContract, list[onnx.NodeProto]]],
    constants: dict[str, np.ndarray],
) -> Bundle:
    """Save the graphs with their contracts inside, and seal the bundle."""

    def fill(place: Path) -> None:
        for contract, nodes in graphs.values():
            onnx.save(_model(contract, nodes, constants), place / contract.file)

    whole = Contract("stream", {name: contract for name, (contract, _) in graphs.items()})
    return write_bundle(folder, whole, {"producer": "tests", "opset": 17}, fill)


def _model(
    contract: GraphContract, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]
) -> onnx.ModelProto:
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "stream",
        [_value(tensor) for tensor in contract.inputs],
        [_value(tensor) for tensor in contract.outputs],
        [numpy_helper.from_array(v, key) for key, v in constants.items() if key in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: contract.to_json()})
    onnx.checker.check_model(model, full_check=True)
    return model


def _value(tensor: TensorSpec) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, _TYPES[tensor.dtype], list(tensor.dims))


def _as_step(contract: GraphContract) -> GraphContract:
    def one(tensor: TensorSpec) -> TensorSpec:
        return replace(tensor, dims=tuple(1 if d == "sequence" else d for d in tensor.dims))

    return replace(
        contract,
        file="step.onnx",
        inputs=tuple(map(one, contract.inputs)),
        outputs=tuple(map(one, contract.outputs)),
    )


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


# --- LSTM and GRU: x[batch, sequence, 2] -> y[batch, sequence, 3], last[batch, 3] ----------------

GATES = {"LSTM": 4, "GRU": 3}
MAXIMUM = 100.0


def cell_weights(kind: str, layer: int = 0) -> dict[str, np.ndarray]:
    rows, width, seed = GATES[kind] * HIDDEN, FEATURES if layer == 0 else HIDDEN, 20 + 3 * layer
    weights = tiny_bundles.weights
    return {
        "W": weights(1, rows, width, seed=seed),
        "R": weights(1, rows, HIDDEN, seed=seed + 1),
        "B": weights(1, 2 * rows, seed=seed + 2),
    }


def write_recurrent(
    folder: Path,
    kind: str,
    *,
    reset: bool = False,
    step: bool = False,
    batch: int | str = "batch",
    axes: dict[str, AxisLimits] | None = None,
) -> Bundle:
    """States ``core.h_0`` (and ``core.c_0``); with ``reset``, the graph itself starts rows anew."""
    names = ["h", "c"] if kind == "LSTM" else ["h"]
    nodes = [helper.make_node("Transpose", ["x"], ["xt"], perm=[1, 0, 2])]
    inputs = [spec("x", batch, "sequence", FEATURES, maximum=MAXIMUM)]
    initial = {name: f"core.{name}_0" for name in names}
    if reset:
        inputs.append(spec("begin", batch, dtype="bool"))
        nodes.append(helper.make_node("Unsqueeze", ["begin", "row"], ["flags"]))
        for name in names:
            nodes.append(
                helper.make_node("Where", ["flags", "nought", f"core.{name}_0"], [f"{name}_in"])
            )
            initial[name] = f"{name}_in"
    results = [f"core.{name}_n" for name in names]
    nodes += [
        helper.make_node(
            kind,
            ["xt", "W", "R", "B", "", *(initial[name] for name in names)],
            ["Y", *results],
            hidden_size=HIDDEN,
            **({"linear_before_reset": 1} if kind == "GRU" else {}),
        ),
        helper.make_node("Squeeze", ["Y", "one"], ["ys"]),
        helper.make_node("Transpose", ["ys"], ["y"], perm=[1, 0, 2]),
        helper.make_node("Squeeze", ["core.h_n", "zero"], ["last"]),
    ]
    contract = GraphContract(
        "stream.onnx",
        (*inputs, *(spec(f"core.{name}_0", 1, batch, HIDDEN) for name in names)),
        (
            spec("y", batch, "sequence", HIDDEN),
            spec("last", batch, HIDDEN),
            *(spec(name, 1, batch, HIDDEN) for name in results),
        ),
        tuple(StatePair(f"core.{name}_0", f"core.{name}_n", 1) for name in names),
        axes or {"batch": AxisLimits(), "sequence": AxisLimits()},
        StreamRule("sequence", reset="begin" if reset else None),
    )
    constants = {
        **cell_weights(kind), "zero": np.array([0]), "one": np.array([1]),
        "row": np.array([0, 2]), "nought": np.zeros((1, 1, HIDDEN), np.float32),
    }  # fmt: skip
    graphs = {"stream": (contract, nodes)}
    if step:
        graphs["step"] = (_as_step(contract), nodes)
    return write(folder, graphs, constants)


def recurrent_answer(kind: str, x: np.ndarray) -> np.ndarray:
    """y[time, 3] for one row x[time, 2], in float64."""
    w, r, b = (array[0].astype(np.float64) for array in cell_weights(kind).values())
    bw, br = np.split(b, 2)
    h, c, steps = np.zeros(HIDDEN), np.zeros(HIDDEN), []
    for frame in x.astype(np.float64):
        left, right = w @ frame + bw, r @ h + br
        if kind == "LSTM":
            i, o, f, g = np.split(left + right, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            (z, k, n), (zr, kr, nr) = np.split(left, 3), np.split(right, 3)
            z, k = sigmoid(z + zr), sigmoid(k + kr)
            h = (1 - z) * np.tanh(n + k * nr) + z * h
        steps.append(h)
    return np.array(steps)


# --- a counter that all rows share: x[batch, sequence] -> y = x * (steps so far), count ----------


def write_counter(folder: Path) -> Bundle:
    """y[batch, t] = x[batch, t] * (frames before t); the count of frames is a shared state."""
    contract = GraphContract(
        "stream.onnx",
        (spec("x", "batch", "sequence"), spec("count_in", 1)),
        (spec("y", "batch", "sequence"), spec("count_out", 1)),
        (StatePair("count_in", "count_out", None),),
        stream=StreamRule("sequence", in_step=True),
    )
    nodes = [
        helper.make_node("Shape", ["x"], ["frames"], start=1, end=2),
        helper.make_node("Squeeze", ["frames"], ["scalar"]),
        helper.make_node("Range", ["nought", "scalar", "unit"], ["places"]),
        helper.make_node("Cast", ["places"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["real", "count_in"], ["factors"]),
        helper.make_node("Mul", ["x", "factors"], ["y"]),
        helper.make_node("Cast", ["frames"], ["added"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["count_in", "added"], ["count_out"]),
    ]
    constants = {"nought": np.array(0), "unit": np.array(1)}
    return write(folder, {"stream": (contract, nodes)}, constants)


# --- a centred convolution, one frame of look-ahead, and a gain as context ----------------------

KERNEL = np.array([[[0.5, -1.0, 2.0]]], np.float32)


def write_convolution(folder: Path) -> Bundle:
    """y[t] = gain * conv(x)[t], zeros before the start, one frame late: nothing at frame one.

    ``past`` holds the two frames before the chunk; ``count`` (shared) tells the first frame.
    """
    contract = GraphContract(
        "stream.onnx",
        (
            spec("x", "batch", 1, "sequence"),
            spec("gain", "batch", 1, 1),
            spec("past_in", "batch", 1, 2),
            spec("count_in", 1, dtype="int64"),
        ),
        (
            spec("y", "batch", 1, "ready"),
            spec("total", "batch"),
            spec("past_out", "batch", 1, 2),
            spec("count_out", 1, dtype="int64"),
        ),
        (StatePair("past_in", "past_out", 0), StatePair("count_in", "count_out", None)),
        stream=StreamRule("sequence", latency=1, in_step=True),
    )
    nodes = [
        helper.make_node("Concat", ["past_in", "x"], ["all"], axis=2),
        helper.make_node("Conv", ["all", "kernel"], ["raw"]),
        helper.make_node("Mul", ["raw", "gain"], ["scaled"]),
        # The first frame of a stream gives the answer of a frame before it: cut it off.
        helper.make_node("Sub", ["one", "count_in"], ["fresh"]),
        helper.make_node("Max", ["fresh", "zero"], ["cut"]),
        helper.make_node("Slice", ["scaled", "cut", "far", "two"], ["y"]),
        helper.make_node("Slice", ["all", "tail", "far", "two"], ["past_out"]),
        helper.make_node("Shape", ["x"], ["frames"], start=2, end=3),
        helper.make_node("Add", ["count_in", "frames"], ["count_out"]),
        helper.make_node("ReduceSum", ["x", "sums"], ["total"], keepdims=0),
    ]
    constants = {
        "kernel": KERNEL, "zero": np.array([0]), "one": np.array([1]), "two": np.array([2]),
        "far": np.array([1 << 40]), "tail": np.array([-2]), "sums": np.array([1, 2]),
    }  # fmt: skip
    return write(folder, {"stream": (contract, nodes)}, constants)


def convolution_answer(x: np.ndarray, gain: float) -> np.ndarray:
    """y[time - 1] for one row x[time]: all frames but the last, which waits for its successor."""
    padded = np.concatenate([[0.0], x.astype(np.float64)])
    return gain * np.array([padded[t : t + 3] @ KERNEL[0, 0] for t in range(len(x) - 1)])
