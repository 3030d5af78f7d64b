"""The tools that build and run host programs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HOSTS = Path(__file__).parents[2] / "build" / "hosts"
# Set where everything of tools/install-hosts must be there, so that nothing is skipped in silence.
REQUIRED = bool(os.environ.get("RNN_EDGE_REQUIRE_HOSTS"))


def need(*tools: str) -> None:
    """Skip, or fail where they are required, unless these commands or files are there."""
    missing = [tool for tool in tools if not (shutil.which(tool) or (HOSTS / tool).exists())]
    if missing and REQUIRED:
        pytest.fail(f"{', '.join(missing)} must be there. Run tools/install-hosts.")
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: tools/install-hosts")


def call(
    *command: str | Path, cwd: Path, text: str | None = None, fails: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a command; it must succeed, or fail with one line and no crash where ``fails``."""
    child = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        input=text,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    if fails:
        assert child.returncode == 1, child
        assert child.stderr.startswith("Error: "), child.stderr
        assert child.stderr.count("\n") == 1, child.stderr
    else:
        assert child.returncode == 0, child.stderr + child.stdout
    return child
