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
