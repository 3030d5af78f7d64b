"""`rnn-edge integrate` tells what it has written."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from rnn_edge.cli.main import program

SINE = Path(__file__).parents[2] / "exported" / "sine"


def test_files_are_told_with_their_sizes(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    command = ["integrate", str(SINE), "--host", "ort-mobile", "-o", str(folder)]
    result = CliRunner().invoke(program, command)
    assert result.exit_code == 0, result.output
    rows = dict(line.split("\t") for line in result.output.splitlines() if "\t" in line)
    assert int(rows["model.ort"]) == (folder / "model.ort").stat().st_size
    golden = folder.glob("test_data_set_*/*")
    assert int(rows["test_data_set_*"]) == sum(path.stat().st_size for path in golden)
    assert not [name for name in rows if name.endswith(".pb")]
    told = json.loads(CliRunner().invoke(program, [*command, "--json"]).output)
    assert "test_data_set_0/input_0.pb" in told["files"]
