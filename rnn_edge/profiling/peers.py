"""Other ways to run the same model: ONNX Runtime and OpenVINO as their own pages show them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnn_edge.errors import RnnEdgeError
from rnn_edge.extras import import_extra
from rnn_edge.profiling.engines import bind
from rnn_edge.profiling.latency import Arrays, Engine
from rnn_edge.runtime.providers import short_message

if TYPE_CHECKING:
    from torch import nn


class PeerError(RnnEdgeError):
    """A peer cannot run this model."""


class StockEngine(Engine):
    """The module by torch.onnx.export for the sizes at hand, and session.run, nothing set.

    The documentation's example has no dynamic axes; so each size has a file of its own here.
    """

    name = "stock"

    def __init__(self, module: nn.Module, threads: int, folder: Path) -> None:
        self._module, self._threads, self._folder = module.eval(), threads, folder
        self._sessions: dict[tuple[tuple[int, ...], ...], Any] = {}

    def prepare(self, feed: Arrays) -> tuple[Any, dict[str, np.ndarray]]:
        shapes = tuple(array.shape for array in feed.values())
        if shapes not in self._sessions:
            self._sessions[shapes] = self._export(feed)
        session = self._sessions[shapes]
        names = [entry.name for entry in session.get_inputs()]
        return session, {name: feed[name] for name in names}

    def call(self, prepared: tuple[Any, dict[str, np.ndarray]]) -> list[np.ndarray]:
        session, feed = prepared
        answers: list[np.ndarray] = session.run(None, feed)
        return answers

    def answers(self, returned: list[np.ndarray]) -> list[np.ndarray]:
        return returned

    def _export(self, feed: Arrays) -> Any:
        torch = import_extra("torch")
        tensors = {name: torch.from_numpy(array.copy()) for name, array in feed.items()}
        path = self._folder / f"stock_{len(self._sessions)}.onnx"
        logger = logging.getLogger("torch.onnx")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch.onnx.export(
                    self._module, (), path, kwargs=bind(self._module, tensors), dynamo=True,
                    verbose=False, input_names=list(feed),
                )  # fmt: skip
        except Exception as error:  # noqa: BLE001 (the exporter raises anything)
            raise PeerError(
                "torch.onnx.export must take the module to be measured, it does not: "
                f"{short_message(error, 160)}"
            ) from None
        finally:
            logger.setLevel(level)
        return _open(path, self._threads)


class PlainEngine(Engine):
    """The bundle's own file in a session with nothing set but the threads."""

    name = "stock"

    def __init__(self, path: Path, threads: int) -> None:
        self._session = _open(path, threads)

    def call(self, prepared: Arrays) -> list[np.ndarray]:
        answers: list[np.ndarray] = self._session.run(None, prepared)
        return answers

    def answers(self, returned: list[np.ndarray]) -> list[np.ndarray]:
        return returned


class OpenVinoEngine(Engine):
    """The bundle's file in OpenVINO, by its fastest call: its own tensors are written and read."""

    name = "openvino"

    def __init__(self, path: Path, threads: int) -> None:
        self._openvino = import_extra("openvino")
        options = {
            "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False,
            "INFERENCE_PRECISION_HINT": "f32",
        }  # fmt: skip
        try:
            model = self._openvino.Core().compile_model(path, "CPU", options)
        except RuntimeError as error:
            raise PeerError(
                f"OpenVINO must take {path.name}, it does not: {short_message(error, 160)}"
            ) from None
        self._request = model.create_infer_request()
        self._names = [entry.any_name for entry in model.inputs]
        self._count = len(model.outputs)
        self._targets: dict[str, np.ndarray] = {}

    def prepare(self, feed: Arrays) -> Arrays:
        """Tensors of these shapes to write into, kept while the shapes stay."""
        for name in self._names:
            target = self._targets.get(name)
            if target is None or target.shape != feed[name].shape:
                tensor = self._openvino.Tensor(np.ascontiguousarray(feed[name]).copy())
                self._request.set_tensor(name, tensor)
                self._targets[name] = tensor.data
        return feed

    def call(self, prepared: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        for name, target in self._targets.items():
            target[...] = prepared[name]
        self._request.infer()
        return [self._request.get_output_tensor(n).data.copy() for n in range(self._count)]

    def answers(self, returned: list[np.ndarray]) -> list[np.ndarray]:
        return returned


def _open(path: Path, threads: int) -> Any:
    runtime = import_extra("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
