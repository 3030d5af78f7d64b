"""The set-up scripts: sound shell, every dependency pinned, one line for a wrong interpreter."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMMANDS = ["tools/quickstart", "tools/test", "tools/install-hosts", ".ci/run"]
SCRIPTS = [*COMMANDS, "tools/environment.sh"]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    lines = (ROOT / "tools" / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonical(name): version for name, version in pairs}


def direct_dependencies() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"]]
    groups += [names for extra, names in project["optional-dependencies"].items() if extra != "gpu"]
    names = {re.split(r"[\[<>=!~ ]", name)[0] for group in groups for name in group}
    return {canonical(name) for name in names} - {"rnn-edge"}


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_is_sound_bash(script: str) -> None:
    subprocess.run(["bash", "-n", ROOT / script], check=True)


@pytest.mark.parametrize("script", COMMANDS)
def test_script_can_be_executed_and_stops_at_the_first_error(script: str) -> None:
    path = ROOT / script
    assert os.access(path, os.X_OK)
    assert "\nset -euo pipefail\n" in path.read_text()


def test_constraints_pin_every_direct_dependency() -> None:
    assert direct_dependencies() - set(pins()) == set()


def test_constraints_hold_public_versions_only() -> None:
    assert "rnn-edge" not in pins()
    for name, version in pins().items():
        assert re.fullmatch(r"[0-9][0-9a-z.]*", version), f"{name}=={version}"


@pytest.mark.parametrize("script", ["tools/quickstart", "tools/test"])
def test_old_python_is_refused_in_one_line(script: str, tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.9.2" && exit\nexit 1\n')
    old.chmod(0o755)
    refused_in_one_line(script, old, "3.9.2")


@pytest.mark.parametrize("script", ["tools/quickstart", "tools/test"])
def test_missing_python_is_refused_in_one_line(script: str, tmp_path: Path) -> None:
    refused_in_one_line(script, tmp_path / "no-python", "not found")


def refused_in_one_line(script: str, python: Path, reason: str) -> None:
    child = subprocess.run(
        [ROOT / script],
        env={**os.environ, "PYTHON": str(python)},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert child.returncode == 1
    assert child.stderr.startswith("Error: PYTHON must be ")
    assert reason in child.stderr
    assert child.stderr.count("\n") == 1
