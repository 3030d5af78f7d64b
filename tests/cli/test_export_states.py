"""`rnn-edge export --state h=h_n` pairs an input with the output that feeds it."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

import rnn_edge
from rnn_edge.cli.main import program

NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.core = nn.LSTM(3, 4, batch_first=True)

    def forward(self, x, h, c):
        y, (h_n, c_n) = self.core(x, (h, c))
        return {"y": y, "h_n": h_n, "c_n": c_n}
"""


def run(folder: Path, *options: str) -> Result:
    source = folder / "net.py"
    source.write_text(NET, encoding="utf-8")
    inputs = ["x:float32[batch,sequence,3]", "h:float32[1,batch,4]", "c:float32[1,batch,4]"]
    given = [f"--input={text}" for text in inputs]
    arguments = ["export", f"{source}:Net", *given, *options, "-o", str(folder / "bundle")]
    return CliRunner().invoke(program, arguments)


def test_states_are_in_the_contract(tmp_path: Path) -> None:
    result = run(tmp_path, "--state", "h=h_n", "--state", "c=c_n")
    assert result.exit_code == 0, result.output
    graph = rnn_edge.Bundle.load(tmp_path / "bundle").graph()
    pairs = [(pair.input, pair.output, pair.batch_axis) for pair in graph.states]
    assert pairs == [("h", "h_n", 1), ("c", "c_n", 1)]


def test_unknown_state_is_refused(tmp_path: Path) -> None:
    result = run(tmp_path, "--state", "g=h_n")
    assert result.exit_code == 1
    assert "states must name inputs or outputs" in result.output
    assert not (tmp_path / "bundle").exists()


def test_state_must_be_a_pair(tmp_path: Path) -> None:
    result = run(tmp_path, "--state", "h")
    assert result.exit_code == 2
    assert "must be INPUT=OUTPUT, such as h=h_n, got 'h'" in result.output
