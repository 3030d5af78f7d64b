"""What works on a machine that has less, and the one line that names what to install."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BUNDLE = Path(__file__).parents[2] / "exported" / "sine"
ONNXRUNTIME = ("onnxruntime",)
ALL_BUT_CPU = (
    "torch", "onnx", "onnx_ir", "onnxscript", "lightning", "pandas", "sklearn", "matplotlib",
    "safetensors", "soundfile",
)  # fmt: skip

PROGRAM = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
sys.argv = ["rnn-edge", *{arguments!r}]
from rnn_edge.cli.main import main
main()
"""


def call(absent: tuple[str, ...], *arguments: object) -> subprocess.CompletedProcess[str]:
    code = PROGRAM.format(absent=absent, arguments=[str(argument) for argument in arguments])
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", BUNDLE, "series.csv"),
        ("verify", BUNDLE),
        ("inspect", BUNDLE),
        ("inspect", BUNDLE / "model.onnx"),
        ("train", "--help"),
        ("profile", BUNDLE, "--help"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_onnxruntime_alone_is_enough(
    arguments: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("series.csv").write_text("sine\n0.1\n0.2\n0.3\n")
    done = call(ALL_BUT_CPU, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_profiling_needs_onnxruntime_alone() -> None:
    done = call(
        ALL_BUT_CPU, "profile", BUNDLE, "--batches", 1, "--sequences", 2, "--calls", 5, "--json"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("absent", "arguments", "extra"),
    [
        (ALL_BUT_CPU, ("train", "forecast"), "train"),
        (ALL_BUT_CPU, ("run", BUNDLE, "series.csv", "--plot", "plot.png"), "train"),
        (ONNXRUNTIME, ("run", BUNDLE, "series.csv"), "cpu"),
        (ONNXRUNTIME, ("verify", BUNDLE), "cpu"),
        (ONNXRUNTIME, ("profile", BUNDLE), "cpu"),
    ],
    ids=["train", "plot", "run", "verify", "profile"],
)
def test_missing_extra_is_named_in_one_line(
    absent: tuple[str, ...],
    arguments: tuple[object, ...],
    extra: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("series.csv").write_text("sine\n0.1\n0.2\n0.3\n")
    done = call(absent, *arguments)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert f"pip install 'rnn-edge[{extra}]'" in done.stderr


def test_exporting_a_checkpoint_names_the_extra(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        '{"format": "rnn-edge-checkpoint", "format_version": 1, "task": "forecast", "own": {}}'
    )
    done = call(ALL_BUT_CPU, "export", tmp_path)
    assert done.returncode == 1
    assert "pip install 'rnn-edge[train]'" in done.stderr.splitlines()[-1]
