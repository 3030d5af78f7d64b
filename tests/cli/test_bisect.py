"""`rnn-edge verify --bisect` finds the layer and the step at which a graph was broken."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import numpy_helper

from rnn_edge.cli.main import program

NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.GRU(3, 4, batch_first=True)
        self.second = nn.LSTM(4, 4, num_layers=2, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.second(self.first(x)[0])[0])
"""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(program, [str(argument) for argument in arguments])


@pytest.fixture
def exported(tmp_path: Path) -> tuple[Path, str]:
    source = tmp_path / "net.py"
    source.write_text(NET, encoding="utf-8")
    given = "x:float32[batch,sequence,3]"
    folder = tmp_path / "bundle"
    result = run("export", f"{source}:Net", "--input", given, "-o", folder)
    assert result.exit_code == 0, result.output
    return folder, f"{source}:Net"


def swap_gates(model: onnx.ModelProto, layer: str) -> None:
    """Exchange the first two gates of the input weights of ``layer``."""
    (weight,) = [one for one in model.graph.initializer if one.name == f"{layer}.W"]
    array = numpy_helper.to_array(weight).copy()
    array[:, :8] = np.concatenate([array[:, 4:8], array[:, :4]], 1)
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))


def break_bundle(folder: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    """Change model.onnx, and write its checksum anew."""
    path, about = folder / "model.onnx", folder / "bundle.json"
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    document = json.loads(about.read_text(encoding="utf-8"))
    document["files"]["model.onnx"] = {
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    about.write_text(json.dumps(document), encoding="utf-8")


@pytest.mark.parametrize("layer", ["first.layer_0", "second.layer_0", "second.layer_1"])
def test_wrong_gate_order_is_located(exported: tuple[Path, str], layer: str) -> None:
    folder, source = exported
    break_bundle(folder, lambda model: swap_gates(model, layer))
    result = run("verify", folder, "--module", source, "--bisect", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    wrong = [each for each in found["layers"] if each["first_wrong_step"] is not None]
    assert wrong[0]["layer"] == layer
    assert wrong[0]["first_wrong_step"] == 0
    assert wrong[0]["error"] > 100 * wrong[0]["tolerance"]


def test_wrong_recurrence_shows_at_the_second_step(exported: tuple[Path, str]) -> None:
    """The first step has no state yet: a broken R is seen one step later."""

    def negate(model: onnx.ModelProto) -> None:
        (weight,) = [one for one in model.graph.initializer if one.name == "second.layer_0.R"]
        array = -numpy_helper.to_array(weight)
        weight.CopyFrom(numpy_helper.from_array(array, weight.name))

    folder, source = exported
    break_bundle(folder, negate)
    result = run("verify", folder, "--module", source, "--bisect")
    assert result.exit_code == 1
    assert "First off in second.layer_0 at step 1." in result.stdout
    assert "output" in result.stderr


def test_fault_behind_the_layers_and_sound_bundle(exported: tuple[Path, str]) -> None:
    folder, source = exported
    sound = run("verify", folder, "--module", source, "--bisect")
    assert sound.exit_code == 0, sound.output
    assert "and so are the outputs" in sound.stdout

    def forget_bias(model: onnx.ModelProto) -> None:
        (bias,) = [one for one in model.graph.initializer if one.name == "head.bias"]
        bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + 1, bias.name))

    break_bundle(folder, forget_bias)
    result = run("verify", folder, "--module", source, "--bisect")
    assert result.exit_code == 1
    assert "comes after them, or between" in result.stdout


def test_bisect_needs_the_module(exported: tuple[Path, str]) -> None:
    result = run("verify", exported[0], "--bisect")
    assert result.exit_code == 2
    assert "--module" in result.output


BEHIND_A_LOOP = """
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.norm = nn.RNNCell(3, 4), nn.LayerNorm(4)
        self.core = nn.LSTM(4, 4, num_layers=2, bidirectional=True, batch_first=True)

    def forward(self, x, lengths):
        h, steps = x.new_zeros(x.shape[0], 4), []
        for t in range(x.shape[1]):
            h = self.norm(self.cell(x[:, t], h))
            steps.append(h)
        y = pack_padded_sequence(torch.stack(steps, 1), lengths, True, enforce_sorted=False)
        return pad_packed_sequence(self.core(y)[0], True)[0]
"""


def test_layer_of_packed_sequences_behind_a_loop_is_located(tmp_path: Path) -> None:
    source, folder = tmp_path / "net.py", tmp_path / "bundle"
    source.write_text(BEHIND_A_LOOP, encoding="utf-8")
    inputs = ["--input", "x:float32[batch,sequence,3]", "--input", "lengths:int64[batch]"]
    result = run("export", f"{source}:Net", *inputs, "-o", folder)
    assert result.exit_code == 0, result.output

    def turn(model: onnx.ModelProto) -> None:
        """Give the way back of the second layer the weights of its way forth."""
        (node,) = [one for one in model.graph.node if one.name == "core.layer_1"]
        (weight,) = [one for one in model.graph.initializer if one.name == node.input[2]]
        array = numpy_helper.to_array(weight).copy()
        array[1] = array[0]
        weight.CopyFrom(numpy_helper.from_array(array, weight.name))

    break_bundle(folder, turn)
    result = run("verify", folder, "--module", f"{source}:Net", "--bisect", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    wrong = {each["layer"]: each["first_wrong_step"] for each in found["layers"]}
    assert wrong["core.layer_0"] is None
    assert wrong["core.layer_1"] == 0
