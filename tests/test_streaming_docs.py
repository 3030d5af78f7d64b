"""What docs/streaming.md shows is what happens."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from rnn_edge.cli.main import program

TEXT = (Path(__file__).parents[1] / "docs" / "streaming.md").read_text(encoding="utf-8")
NET, USE, ENHANCER = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    (folder / "net.py").write_text(NET, encoding="utf-8")
    source, target = f"{folder / 'net.py'}:Detector", str(folder / "detector")
    asked = ["export", source, "--input", "x:float32[batch,sequence,3]", "-o", target]
    assert CliRunner().invoke(program, asked).exit_code == 0
    return folder


def test_python_prints_what_is_shown(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", USE], cwd=folder, capture_output=True, text=True, check=True
    )
    after = TEXT.partition(USE)[2]
    assert done.stdout == re.findall(r"```text\n(.*?)```", after, re.DOTALL)[0]


def test_a_causal_convolution_and_a_gru_answer_as_shown(folder: Path) -> None:
    (folder / "enhancer.py").write_text(ENHANCER, encoding="utf-8")
    source, target = f"{folder / 'enhancer.py'}:enhancer", str(folder / "enhancer")
    asked = ["export", source, "--input", "x:float32[batch,sequence,3]", "-o", target]
    assert CliRunner().invoke(program, [*asked, "--frame-rate", "100"]).exit_code == 0
    line, shown = re.findall(
        r"\$ printf '(.*)' \| rnn-edge run enhancer --stream\n(.*?)```", TEXT, re.DOTALL
    )[0]
    given = line.replace(r"\n", "\n")
    found = CliRunner().invoke(program, ["run", target, "--stream"], input=given)
    rows = [
        [[float(n) for n in row.split(",")] for row in t.split()] for t in (shown, found.stdout)
    ]
    np.testing.assert_allclose(rows[1], rows[0], rtol=0, atol=1e-4)


def test_pipe_gives_as_many_answers_as_are_shown(folder: Path) -> None:
    (line,) = re.findall(r"\$ printf '(.*)' \| rnn-edge run detector --stream", TEXT)
    given = line.replace(r"\n", "\n")
    found = CliRunner().invoke(program, ["run", str(folder / "detector"), "--stream"], input=given)
    shown = TEXT.partition("run detector --stream\n")[2].partition("```")[0]
    assert len(found.stdout.splitlines()) == len(shown.splitlines()) == 2
