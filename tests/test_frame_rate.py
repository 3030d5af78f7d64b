"""How many frames a second brings: said at the export, read by what needs it."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor, nn

import rnn_edge
from rnn_edge.cli.main import program
from rnn_edge.errors import ContractError
from rnn_edge.profiling import profile_stream

RATE = 8000
NET = """
from torch import nn

class Ear(nn.Module):
    def __init__(self):
        super().__init__()
        self.core = nn.GRU(1, 3, batch_first=True)

    def forward(self, x):
        return self.core(x)[0]
"""


class Ear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.core = nn.GRU(1, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.core(x)[0]


@pytest.fixture(scope="module")
def ear(tmp_path_factory: pytest.TempPathFactory) -> rnn_edge.Bundle:
    folder = tmp_path_factory.mktemp("rate") / "ear"
    axes = [("batch", "samples", None)]
    return rnn_edge.export(Ear(), torch.zeros(2, 9, 1), folder, axes=axes, frame_rate=RATE)


def write_wav(path: Path, rate: int) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.arange(30, dtype="<i2").tobytes())
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(program, list(map(str, arguments)))


def test_it_is_in_every_contract_of_a_stream_and_in_the_readme(ear: rnn_edge.Bundle) -> None:
    rules = [ear.graph(name).stream for name in ("stream", "step")]
    assert [rule.frame_rate if rule else None for rule in rules] == [RATE, RATE]
    lone = rnn_edge.StreamSession(ear.path / "stream.onnx").contract.stream
    assert (lone.frame_rate if lone else None) == RATE
    text = (ear.path / "README.md").read_text(encoding="utf-8")
    assert "hold the next 1 or more steps of `samples`, 8000 a second." in text


def test_a_wav_file_of_another_rate_is_refused(ear: rnn_edge.Bundle, tmp_path: Path) -> None:
    asked = ["run", ear.path, "--stream", write_wav(tmp_path / "x.wav", 44100)]
    done = run(*asked)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "must have 8000 frames a second, as the model takes them, it has 44100" in done.stderr
    assert len(run(*asked, "--frame-rate", 44100).stdout.splitlines()) == 30
    assert run(*asked[:3], write_wav(tmp_path / "y.wav", RATE)).exit_code == 0


def test_the_rate_of_a_wav_file_goes_with_one_only(ear: rnn_edge.Bundle, tmp_path: Path) -> None:
    for asked in (["--stream"], []):
        done = run("run", ear.path, *asked, "--frame-rate", 8000)
        assert "--frame-rate must be left out" in done.stderr


@pytest.mark.parametrize(("given", "rate"), [(None, RATE), (100.0, 100.0)])
def test_the_real_time_factor_follows_it(
    ear: rnn_edge.Bundle, given: float | None, rate: float
) -> None:
    found = profile_stream(
        ear, chunks=(1,), streams=(1,), calls=20, seconds=0.0, frame_rate=given
    ).to_dict()
    (push,) = found["pushes"]
    assert found["frame_rate"] == rate
    assert push["real_time_factor"] == pytest.approx(push["p50_us"] * rate / 1e6)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_a_rate_must_be_a_positive_number(tmp_path: Path, rate: float) -> None:
    with pytest.raises(ContractError, match="frame_rate must be a number above 0, got"):
        rnn_edge.export(Ear(), torch.zeros(2, 9, 1), tmp_path / "b", axes=[None], frame_rate=rate)
    assert not (tmp_path / "b").exists()


def test_commands_take_it(ear: rnn_edge.Bundle, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    declared = "--input=x:float32[batch,sequence,1]"
    asked = ["export", f"{tmp_path / 'net.py'}:Ear", declared, "-o", tmp_path / "b", "--stream"]
    done = run(*asked, "--frame-rate", 50)
    assert "chunks along sequence of 50 frames a second" in done.stdout, done.output
    manifest = json.loads((tmp_path / "b" / "bundle.json").read_text(encoding="utf-8"))
    assert manifest["contract"]["graphs"]["stream"]["stream"]["frame_rate"] == 50
    asked = ["stream", ear.path / "model.onnx", "-o", tmp_path / "s.onnx", "--frame-rate", 60]
    assert run(*asked).exit_code == 0
    rule = rnn_edge.StreamSession(tmp_path / "s.onnx").contract.stream
    assert (rule.frame_rate if rule else None) == 60
