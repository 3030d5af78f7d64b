"""rnn-edge export, verify and profile of a person's own module, as they type it."""

from __future__ import annotations

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save_file
from torch import nn

import rnn_edge
from rnn_edge.cli.main import program

NET = """
print("loading")
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

class Tagger(nn.Module):
    def __init__(self, hidden=6):
        super().__init__()
        self.core = nn.LSTM(4, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 3)

    def forward(self, x, lengths):
        print("running")
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, _ = pad_packed_sequence(self.core(packed)[0], batch_first=True)
        return self.head(y)

class Speaker(nn.Module):
    def __init__(self):
        super().__init__()
        self.names = nn.Embedding(9, 5)
        self.core = nn.LSTM(5, 5, batch_first=True)

    def forward(self, batch, state=None, *, gain=None):
        y, (h, c) = self.core(self.names(batch["tokens"]), state)
        return {"y": y if gain is None else gain * y, "h": h, "c": c}

def build():
    return Tagger(7)

def undecided():
    class Undecided(Tagger):
        def forward(self, x, lengths):
            if x.sum() > 0:
                return super().forward(x, lengths)
            return self.head(self.core(x)[0])[:, 0]
    return Undecided()

if __name__ == "__main__":
    raise SystemExit("the program part ran")
"""
TAGGER = ("--input", "x:float32[batch,sequence,4]", "--input", "lengths:int64[batch]")
SPEAKER = (
    *("--input", "batch.tokens:int64[batch,sequence]<9"),
    *("--input", "state.0:float32[1,batch,5]", "--input", "state.1:float32[1,batch,5]"),
)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(program, [*map(str, arguments)])


@pytest.fixture
def folder(place: Path) -> Path:
    (place / "net.py").write_text(NET)
    return place


def original(name: str) -> nn.Module:
    """A module of net.py with weights of its own, loaded without rnn-edge."""
    spec = spec_from_file_location("net_of_the_test", "net.py")
    assert spec is not None
    assert spec.loader is not None
    namespace = module_from_spec(spec)
    spec.loader.exec_module(namespace)
    torch.manual_seed(5)
    module: nn.Module = getattr(namespace, name)()
    return module.eval()


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_export_gives_the_answers_of_the_module_with_its_weights(folder: Path) -> None:
    module = original("build")
    torch.save({"state_dict": nn.DataParallel(module).state_dict()}, "net.pt")
    result = call(
        "export", "net.py:build", "--weights", "net.pt", *TAGGER, "--output-name", "logits"
    )
    assert result.exit_code == 0, result.output
    assert "Wrote exported/net (" in result.stdout
    x, lengths = random(3, 11, 4), np.array([4, 9, 1])
    (found,) = rnn_edge.Session("exported/net").run({"x": x, "lengths": lengths})
    expected = module(torch.from_numpy(x), torch.from_numpy(lengths)).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    outputs = rnn_edge.Bundle.load("exported/net").graph().outputs
    assert [str(spec) for spec in outputs] == ["logits: float32[batch, longest, 3]"]


def test_nested_arguments_become_inputs_named_after_their_place(folder: Path) -> None:
    module = original("Speaker")
    save_file(module.state_dict(), "speaker.safetensors")
    result = call(
        *("export", "net.py:Speaker", "--weights", "speaker.safetensors", *SPEAKER, "-o", "out")
    )
    assert result.exit_code == 0, result.output
    tokens, h, c = np.array([[3, 8, 0, 1]]), random(1, 1, 5), random(1, 1, 5)
    found = rnn_edge.Session("out").run({"batch_tokens": tokens, "state_0": h, "state_1": c})
    state = torch.from_numpy(h), torch.from_numpy(c)
    expected = module({"tokens": torch.from_numpy(tokens)}, state)
    for array, name in zip(found, ("y", "h", "c"), strict=True):
        np.testing.assert_allclose(array, expected[name].detach(), rtol=1e-5, atol=1e-6)
    first = rnn_edge.Bundle.load("out").graph().inputs[0]
    assert (first.minimum, first.maximum) == (0, 8)


def test_only_the_result_is_on_stdout(folder: Path) -> None:
    result = call("export", "net.py:Tagger", *TAGGER, "--json")
    assert json.loads(result.stdout)["bundle"] == "exported/net"
    assert "loading" in result.stderr
    assert "running" in result.stderr


def test_verify_takes_the_module_and_notices_other_weights(folder: Path) -> None:
    torch.save(original("build").state_dict(), "net.pt")
    assert call("export", "net.py:build", "--weights", "net.pt", *TAGGER).exit_code == 0
    same = call(
        *("verify", "exported/net", "--module", "net.py:build", "--weights", "net.pt", "--json")
    )
    assert json.loads(same.stdout)["parity"]["oracle"] == "float64 torch"
    other = call("verify", "exported/net", "--module", "net.py:build")
    assert other.exit_code == 1
    assert "must be within" in other.stderr


def test_verify_takes_nested_arguments_as_they_were_declared(folder: Path) -> None:
    assert call("export", "net.py:Speaker", *SPEAKER).exit_code == 0
    result = call("verify", "exported/net", "--module", "net.py:Speaker", *SPEAKER)
    assert result.exit_code == 0, result.output
    assert "against float64 torch" in result.stdout


def test_profile_measures_the_module_beside_the_bundle(folder: Path) -> None:
    torch.save(original("build").state_dict(), "net.pt")
    assert call("export", "net.py:build", "--weights", "net.pt", *TAGGER).exit_code == 0
    result = call(
        *("profile", "exported/net", "--against", "torch", "--module", "net.py:build"),
        *("--weights", "net.pt", "--calls", 2, "--batches", 1, "--sequences", 3, "--json"),
    )
    assert result.exit_code == 0, result.output
    engines = {latency["engine"] for latency in json.loads(result.stdout)["latency"]}
    assert {"onnxruntime", "torch"} <= engines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("net.py:build", *TAGGER, "--weights", "none.pt"), "none.pt must be a file of weights"),
        (
            ("net.py:Tagger", *TAGGER, "--weights", "wide.pt"),
            "core.weight_ih_l0 in wide.pt must be",
        ),
        (("net.py:bild", *TAGGER), "net.py must define bild"),
        (("net.py:build", *TAGGER[:2]), "missing a required argument: 'lengths'"),
        (("net.py:undecided", *TAGGER), "got a branch on a value in `if x.sum() > 0:` at net.py:"),
        (("none.py:build", *TAGGER), "none.py must be a Python file"),
    ],
)
def test_faults_give_one_line_and_no_folder(
    arguments: tuple[str, ...], message: str, folder: Path
) -> None:
    torch.save(original("build").state_dict(), "wide.pt")
    result = call("export", *arguments)
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert result.stderr.endswith(line + "\n")
    assert message in line
    assert not Path("exported").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("export", "net.py:build"),
        ("export", "net.py:build", "--input", "x:float[batch]"),
        ("export", "checkpoints/sine", *TAGGER),
        ("verify", "exported/net", "--weights", "net.pt"),
        ("verify", "exported/net", "--module", "checkpoints/sine", "--weights", "net.pt"),
        ("profile", "exported/net", "--weights", "net.pt"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(
    arguments: tuple[str, ...], folder: Path
) -> None:
    assert call(*arguments).exit_code == 2
