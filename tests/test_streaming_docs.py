"""What docs/streaming.md shows is what happens."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from rnn_edge.cli.main import program

TEXT = (Path(__file__).parents[1] / "docs" / "streaming.md").read_text(encoding="utf-8")
NET, USE = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


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


def test_pipe_gives_as_many_answers_as_are_shown(folder: Path) -> None:
    (line,) = re.findall(r"\$ printf '(.*)' \| rnn-edge run detector --stream", TEXT)
    given = line.replace(r"\n", "\n")
    found = CliRunner().invoke(program, ["run", str(folder / "detector"), "--stream"], input=given)
    shown = TEXT.partition("run detector --stream\n")[2].partition("```")[0]
    assert len(found.stdout.splitlines()) == len(shown.splitlines()) == 2
