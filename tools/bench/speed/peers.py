"""The libraries beside ours: those that are not installed are named and left out."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn

PEERS = ("openvino", "jax")


def installed(peer: str) -> bool:
    return importlib.util.find_spec(peer) is not None


@contextmanager
def onednn(enabled: bool) -> Iterator[None]:
    before = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = enabled  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = before


def export_stock(
    module: nn.Module, args: tuple[Any, ...], path: Path, *, dynamic: bool = False, **names: Any
) -> onnxruntime.InferenceSession:
    """torch.onnx.export as its documentation shows, and a session with one thread.

    Pinned to one core, a session's own choice of threads would be three times slower.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamic:
            names["dynamic_shapes"] = ({0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO},)
        torch.onnx.export(module, args, path, dynamo=True, verbose=False, **names)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def open_openvino(path: Path, precision: str) -> Any:
    """A request of OpenVINO on one thread."""
    openvino: Any = importlib.import_module("openvino")
    options = {
        "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": precision,
        "ENABLE_CPU_PINNING": False,
    }  # fmt: skip
    return openvino.Core().compile_model(path, "CPU", options).create_infer_request()


def fill_and_infer(request: Any, array: np.ndarray) -> Callable[[], np.ndarray]:
    """Its fastest call: a tensor that stays is written, infer() is given nothing."""
    openvino: Any = importlib.import_module("openvino")
    tensor = openvino.Tensor(array.copy())
    request.set_input_tensor(0, tensor)
    target = tensor.data

    def run() -> np.ndarray:
        target[...] = array
        request.infer()
        found: np.ndarray = request.get_output_tensor(0).data.copy()
        return found

    return run


def numpy_step(module: nn.RNNBase) -> Any:
    """One step of one layer in numpy: (x[1, size], states) -> (h[1, hidden], states)."""
    weights = {name: value.detach().numpy() for name, value in module.named_parameters()}
    wx, wh = weights["weight_ih_l0"].T.copy(), weights["weight_hh_l0"].T.copy()
    bx, bh = weights["bias_ih_l0"], weights["bias_hh_l0"]

    def sigmoid(z: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-z))

    def lstm(x: np.ndarray, states: Any) -> Any:
        h, c = states
        i, f, g, o = np.split(x @ wx + bx + h @ wh + bh, 4, 1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        return h, (h, c)

    def gru(x: np.ndarray, states: Any) -> Any:
        (h,) = states
        (xr, xz, xn), (hr, hz, hn) = np.split(x @ wx + bx, 3, 1), np.split(h @ wh + bh, 3, 1)
        z = sigmoid(xz + hz)
        h = (1 - z) * np.tanh(xn + sigmoid(xr + hr) * hn) + z * h
        return h, (h,)

    return lstm if isinstance(module, nn.LSTM) else gru
