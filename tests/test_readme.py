"""What the README shows is what happens."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import rnn_edge
from rnn_edge.cli.main import COMMANDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_first_python_example_prints_what_the_readme_says(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", blocks("python")[0]],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == blocks("text")[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command: str) -> None:
    assert f"rnn-edge {command}" in README


@pytest.mark.parametrize(
    "path", sorted({*re.findall(r"\]\(([^)#]+)\)", README)}), ids=lambda path: path
)
def test_every_link_leads_somewhere(path: str) -> None:
    assert (ROOT / path).is_file()


def test_committed_bundle_gives_the_right_answers_here() -> None:
    bundle = rnn_edge.Bundle.load(ROOT / "exported" / "sine")
    assert len(rnn_edge.verify(bundle).cases) == len(bundle.golden_sets()) > 0
