"""forward() may import files that lie beside its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from rnn_edge.cli.main import program

NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.core = nn.GRU(3, 4, batch_first=True)

    def forward(self, x):
        from scaling_beside import scale
        return scale(self.core(x)[0])
"""


def run(*arguments: object) -> int:
    return CliRunner().invoke(program, [str(argument) for argument in arguments]).exit_code


def test_export_and_verify_import_in_forward(tmp_path: Path) -> None:
    source, folder = f"{tmp_path / 'net.py'}:Net", tmp_path / "bundle"
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    (tmp_path / "scaling_beside.py").write_text("def scale(x):\n    return 2 * x\n")
    before = list(sys.path)
    assert run("export", source, "--input", "x:float32[batch,sequence,3]", "-o", folder) == 0
    assert run("verify", folder, "--module", source) == 0
    assert sys.path == before
    assert "scaling_beside" not in sys.modules
    with pytest.raises(ModuleNotFoundError):
        __import__("scaling_beside")
