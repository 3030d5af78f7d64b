"""The model repository: read by Triton's own protobuf definitions, its rules played through.

What stands for the server here knows the configuration alone: it batches requests of one shape
along the first axis, keeps the states of each sequence, and sets the control where one starts.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import stream_bundles
import torch
from google.protobuf import text_format
from onnx import helper
from toolchain import HOSTS, call, need
from torch import Tensor, nn

import rnn_edge
from rnn_edge.bundle import Bundle
from rnn_edge.contract import GraphContract, StatePair, StreamRule
from rnn_edge.errors import InputError
from rnn_edge.integration import integrate

DEFINITIONS = "triton/tritonclient/grpc/model_config_pb2.py"
NUMPY = {"TYPE_FP32": np.float32, "TYPE_INT64": np.int64, "TYPE_BOOL": np.bool_}


@cache
def definitions() -> Any:
    """The module that Triton's own compiler made; its package would want a whole client."""
    need(DEFINITIONS)
    spec = importlib.util.spec_from_file_location("model_config_pb2", HOSTS / DEFINITIONS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spec.loader.exec_module(module)
    return module


@dataclass
class Server:
    """One model of a repository, on the CPU."""

    folder: Path
    states: dict[int, dict[str, np.ndarray]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        text = (self.folder / "config.pbtxt").read_text(encoding="utf-8")
        self.config = text_format.Parse(text, definitions().ModelConfig())
        assert self.config.name == self.folder.name
        self.session = onnxruntime.InferenceSession(self.folder / "1" / "model.onnx")
        declared = {
            *(each.name for each in self.config.input),
            *(each.name for each in self.config.sequence_batching.control_input),
            *(each.input_name for each in self.config.sequence_batching.state),
        }
        assert declared == {each.name for each in self.session.get_inputs()}

    def infer(self, requests: Sequence[tuple[int, bool, np.ndarray]]) -> list[list[np.ndarray]]:
        """Requests ``(sequence, starts, chunk of one row)`` in one batch."""
        batching = self.config.sequence_batching
        assert len(requests) <= self.config.max_batch_size
        for sequence, starts, _ in requests:
            if starts:
                self.states[sequence] = {s.input_name: self.start(s) for s in batching.state}
        (given,) = self.config.input
        feed: dict[str, Any] = {given.name: np.concatenate([chunk for *_, chunk in requests])}
        for control in batching.control_input:
            (rule,) = control.control
            flags = [rule.bool_false_true[starts] for _, starts, _ in requests]
            feed[control.name] = np.array(flags).reshape(-1, 1)
        for state in batching.state:
            rows = [self.states[sequence][state.input_name] for sequence, *_ in requests]
            feed[state.input_name] = np.stack(rows)
        wanted = [each.name for each in self.config.output]
        after = [state.output_name for state in batching.state]
        found = self.session.run([*wanted, *after], feed)
        for row, (sequence, *_) in enumerate(requests):
            for state, array in zip(batching.state, found[len(wanted) :], strict=True):
                assert list(array.shape[1:]) == list(state.dims)
                self.states[sequence][state.input_name] = array[row]
        return [
            [array[row : row + 1] for array in found[: len(wanted)]] for row in range(len(requests))
        ]

    def start(self, state: Any) -> np.ndarray:
        (initial,) = state.initial_state
        dtype = NUMPY[definitions().DataType.Name(initial.data_type)]
        assert list(initial.dims) == list(state.dims)
        if initial.zero_data:
            return np.zeros(initial.dims, dtype)
        content = (self.folder / "initial_state" / initial.data_file).read_bytes()
        return np.frombuffer(content, dtype).reshape(initial.dims)


class Net(nn.Module):
    """Causal convolution, two layers of LSTM, time in front of the batch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(8)
        self.conv = nn.Conv1d(3, 5, 3)
        self.core = nn.LSTM(5, 6, 2)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(nn.functional.pad(x.permute(1, 2, 0), (2, 0)))
        logits: Tensor = self.head(self.core(y.permute(2, 0, 1))[0])
        return logits


def test_interleaved_sequences_equal_eager_torch(tmp_path: Path) -> None:
    module = Net().eval()
    axes = [("sequence", "batch", None)]
    bundle = rnn_edge.export(module, torch.randn(6, 2, 3), tmp_path / "net", axes=axes)
    integrate(bundle, "triton", tmp_path / "repository")
    server = Server(tmp_path / "repository" / "net")
    x = torch.randn(3, 9, 3)
    with torch.no_grad():
        expected = module(x.transpose(0, 1)).transpose(0, 1).numpy()
    answers: dict[int, list[np.ndarray]] = {0: [], 1: [], 2: []}
    # (sequences of the batch, frames each): one joins late, one starts anew on a used number.
    server.infer([(2, True, torch.randn(1, 4, 3).numpy())])
    places = dict.fromkeys(answers, 0)
    for sequences, size in (((0,), 1), ((0, 1), 2), ((2, 1), 3), ((0, 2, 1), 4), ((0, 2), 2)):
        batch = [
            (s, places[s] == 0, x[s : s + 1, places[s] : places[s] + size].numpy())
            for s in sequences
        ]
        for sequence, (answer,) in zip(sequences, server.infer(batch), strict=True):
            answers[sequence].append(answer)
            places[sequence] += size
    assert places == {0: 9, 1: 9, 2: 9}
    for sequence, parts in answers.items():
        whole = np.concatenate(parts, 1)[0]
        np.testing.assert_allclose(whole, expected[sequence], atol=2e-6)


EMPTY = """
import sys, onnxruntime
import numpy as np
session = onnxruntime.InferenceSession(sys.argv[1])
feed = {
    each.name: np.zeros(
        [2 if n == 0 else dim if isinstance(dim, int) else 0 for n, dim in enumerate(each.shape)],
        {"tensor(float)": np.float32, "tensor(bool)": np.bool_}[each.type],
    )
    for each in session.get_inputs()
}
try:
    session.run(None, feed)
except Exception as error:
    print(error)
"""


def test_a_request_without_frames_is_an_error_and_no_crash(tmp_path: Path) -> None:
    bundle = rnn_edge.export(
        nn.GRU(3, 4, batch_first=True).eval(), torch.randn(2, 5, 3), tmp_path / "net",
        axes=[("batch", "sequence", None)],
    )  # fmt: skip
    integrate(bundle, "triton", tmp_path / "repository")
    path = tmp_path / "repository" / "net" / "1" / "model.onnx"
    told = call(sys.executable, "-c", EMPTY, path, cwd=tmp_path).stdout
    assert "input must be at least [1, 1, 0]" in told


def test_a_state_starts_from_what_the_contract_says(tmp_path: Path) -> None:
    """y = 0.5 + the sum of all frames so far."""
    spec = stream_bundles.spec
    contract = GraphContract(
        "stream.onnx",
        (spec("x", "batch", "sequence"), spec("sum_0", "batch", 1)),
        (spec("y", "batch", "sequence"), spec("sum_n", "batch", 1)),
        (StatePair("sum_0", "sum_n", 0, 0.5),),
        stream=StreamRule("sequence"),
    )
    nodes = [
        helper.make_node("CumSum", ["x", "along"], ["sums"]),
        helper.make_node("Add", ["sums", "sum_0"], ["y"]),
        helper.make_node("Gather", ["y", "last"], ["sum_n"], axis=1),
    ]
    constants = {"along": np.array(1), "last": np.array([-1])}
    graphs = {"stream": (contract, nodes), "model": (replace(contract, file="model.onnx"), nodes)}
    bundle = stream_bundles.write(tmp_path / "sum", graphs, constants)
    integrate(bundle, "triton", tmp_path / "repository")
    server = Server(tmp_path / "repository" / "stream")
    ones = np.ones((1, 2), np.float32)
    assert server.infer([(4, True, ones)])[0][0].tolist() == [[1.5, 2.5]]
    assert server.infer([(4, False, ones)])[0][0].tolist() == [[3.5, 4.5]]
    assert server.infer([(4, True, ones)])[0][0].tolist() == [[1.5, 2.5]]


def test_what_a_server_cannot_batch_is_refused(
    bundle_of: Callable[[str], Bundle], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="must hold a stream graph"):
        integrate(bundle_of("tagger"), "triton", tmp_path / "out")
    counter = stream_bundles.write_counter(tmp_path / "counter")
    with pytest.raises(InputError, match=r"count_in.* has none"):
        integrate(counter, "triton", tmp_path / "out")
    assert not (tmp_path / "out").exists()
