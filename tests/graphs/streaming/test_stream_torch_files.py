"""Files that torch.onnx.export wrote itself, by either exporter."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx_ir as ir
import pytest
import torch
from streaming_oracle import Streaming, check
from torch import Tensor, nn

from rnn_edge.graphs.streaming import derive_step


class Recurrent(nn.Module):
    def __init__(self, kind: str, layers: int = 1, conv: bool = False, state: bool = False):
        super().__init__()
        self.rnn = getattr(nn, kind)(5, 6, layers, batch_first=True)
        self.head = nn.Linear(6, 3)
        self.conv = nn.Conv1d(5, 5, 3) if conv else None
        self.state = state

    def forward(self, x: Tensor) -> Tensor:
        if self.conv is not None:
            padded = nn.functional.pad(x.transpose(1, 2), (2, 0))
            x = torch.relu(self.conv(padded)).transpose(1, 2)
        given = None
        if self.state:
            given = torch.zeros(self.rnn.num_layers, x.size(0), 6)
            given = (given, given) if isinstance(self.rnn, nn.LSTM) else given
        return self.head(self.rnn(x, given)[0])


MODULES = {
    "lstm": lambda: Recurrent("LSTM"),
    "two layers of gru": lambda: Recurrent("GRU", 2),
    "lstm with a state of zeros": lambda: Recurrent("LSTM", state=True),
    "convolution and gru": lambda: Recurrent("GRU", conv=True),
}


def write(module: nn.Module, path: Path, dynamo: bool) -> ir.Model:
    example, names = torch.randn(2, 7, 5), ("batch", "sequence")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            sizes = ({place: torch.export.Dim(name) for place, name in enumerate(names)},)
            torch.onnx.export(
                module, (example,), path, dynamo=True, verbose=False,
                input_names=["x"], output_names=["y"], dynamic_shapes=sizes,
            )  # fmt: skip
        else:
            axes = dict(enumerate(names))
            torch.onnx.export(
                module, (example,), path, dynamo=False, input_names=["x"], output_names=["y"],
                dynamic_axes={"x": axes, "y": axes},
            )  # fmt: skip
    model = ir.load(path)
    ir.external_data.load_to_model(model)
    return model


@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
@pytest.mark.parametrize("name", MODULES)
def test_streams(name: str, dynamo: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = write(MODULES[name]().eval(), tmp_path / "model.onnx", dynamo)
    time = (model.graph.inputs[0].shape or [])[1]
    # That exporter may have fixed the axis after all.
    free = not isinstance(time, int)
    streaming = Streaming(model) if free else Streaming(model, axis="x.1")
    if free:
        check(streaming)
    for chunks in ([1] * 7, [7], [3, 4]):
        streaming.compare(2, chunks, 0)
    assert streaming.rule.latency == 0
    assert streaming.rule.reset is None
    kept = {node.op_type for node in derive_step(streaming.stream).model.graph}
    assert not kept & {"Transpose", "Shape", "Expand", "Squeeze"}
