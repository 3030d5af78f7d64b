"""Streams whose first steps give fewer frames, in the programs that wrap the generated C."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from toolchain import call, need
from torch import Tensor, nn

import rnn_edge
from rnn_edge.bundle import Bundle
from rnn_edge.integration import integrate

# Two rows of 24 frames, which no export has seen.
SHAPE = (2, 24, 3)


class Downsampled(nn.Module):
    """A frame for every 4; the first after 9, and an answer for each frame read as well."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv1d(3, 4, 5, stride=2), nn.ReLU(), nn.Conv1d(4, 3, 3, 2))
        self.core = nn.LSTM(3, 5, batch_first=True)
        self.even = nn.GRU(3, 2, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y: Tensor = self.core(self.conv(x.transpose(1, 2)).transpose(1, 2))[0]
        each: Tensor = self.even(x)[0]
        return y, each


@pytest.fixture(scope="module")
def module() -> nn.Module:
    torch.manual_seed(6)
    return Downsampled().eval()


@pytest.fixture(scope="module")
def bundle(module: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("first") / "slow"
    axes = [("batch", "sequence", None)]
    names = ["slow", "each"]
    return rnn_edge.export(
        module, (torch.randn(2, 40, 3),), folder, axes=axes, output_names=names, stream=True
    )


def check(lines: str, module: nn.Module, sound: Tensor) -> None:
    """``lines``: rows of frames in JSON, then how many frames each step of each row gave."""
    slow, each, counts = map(json.loads, lines.splitlines())
    with torch.no_grad():
        right = module(sound)
    for row in range(SHAPE[0]):
        np.testing.assert_allclose(np.reshape(slow[row], (-1, 5)), right[0][row], atol=2e-6)
        np.testing.assert_allclose(np.reshape(each[row], (-1, 2)), right[1][row], atol=2e-6)
    assert counts == [[0, 0, *[1] * 4]] * 2


RUST = """
use slow::Model;

#[test]
fn replay() {{
    let rows: [[[f32; 12]; 6]; 2] = {rows};
    let mut model = Model::new();
    let (mut slow, mut each, mut counts) = (vec![], vec![], vec![]);
    for row in rows {{
        let answers = model.run(&row).unwrap();
        let given = answers.iter().flat_map(|a| a.slow[..5 * a.frames_of_slow].to_vec());
        slow.push(given.collect::<Vec<_>>());
        each.push(answers.iter().flat_map(|a| a.each).collect::<Vec<_>>());
        counts.push(answers.iter().map(|a| a.frames_of_slow).collect::<Vec<_>>());
    }}
    println!("\\n@{{slow:?}}\\n@{{each:?}}\\n@{{counts:?}}");
}}
"""


def test_rust_tells_how_many_frames_a_step_gave(
    module: nn.Module, bundle: Bundle, tmp_path: Path
) -> None:
    need("rustc", "cargo", "cc")
    folder, sound = tmp_path / "crate", torch.randn(SHAPE)
    integrate(bundle, "rust", folder)
    (folder / "tests").mkdir()
    rows = json.dumps(sound.reshape(2, 6, 12).tolist())
    (folder / "tests" / "replay.rs").write_text(RUST.format(rows=rows))
    cargo = ("env", "RUSTFLAGS=-D warnings", f"CARGO_HOME={tmp_path / 'cargo'}", "cargo")
    options = ("--offline", "-q")
    told = call(*cargo, "test", *options, "--test", "replay", "--", "--nocapture", cwd=folder)
    lines = [line[1:] for line in told.stdout.splitlines() if line.startswith("@")]
    check("\n".join(lines), module, sound)
    assert "worst error" in call(*cargo, "run", *options, "--bin", "self_test", cwd=folder).stdout


JAVA = """
package slow;

import java.util.*;

public final class Replay {
    public static void main(String[] numbers) {
        Iterator<String> given = List.of(numbers).iterator();
        List<List<Float>> slow = new ArrayList<>(), each = new ArrayList<>();
        List<List<Integer>> counts = new ArrayList<>();
        try (Model model = new Model()) {
            for (int row = 0; row < 2; row++) {
                float[][] frames = new float[6][12];
                for (float[] step : frames) {
                    for (int i = 0; i < 12; i++) {
                        step[i] = Float.parseFloat(given.next());
                    }
                }
                slow.add(new ArrayList<>());
                each.add(new ArrayList<>());
                counts.add(new ArrayList<>());
                for (Model.Answer answer : model.run(frames)) {
                    for (int i = 0; i < 5 * answer.framesOfSlow(); i++) {
                        slow.get(row).add(answer.slow()[i]);
                    }
                    for (float value : answer.each()) {
                        each.get(row).add(value);
                    }
                    counts.get(row).add(answer.framesOfSlow());
                }
            }
        }
        System.out.printf("%s%n%s%n%s%n", slow, each, counts);
    }
}
"""


def test_java_tells_how_many_frames_a_step_gave(
    module: nn.Module, bundle: Bundle, tmp_path: Path
) -> None:
    need("javac", "java", "make", "cc")
    folder, sound = tmp_path / "java", torch.randn(SHAPE)
    integrate(bundle, "java", folder)
    (folder / "src" / "slow" / "Replay.java").write_text(JAVA)
    told = call("make", "-s", "CFLAGS=-O1 -Werror", "JAVAC=javac -Werror", "check", cwd=folder)
    assert "worst error" in told.stdout
    numbers = map(str, sound.flatten().tolist())
    options = ("-Djava.library.path=build", "-cp", "build/classes")
    check(call("java", *options, "slow.Replay", *numbers, cwd=folder).stdout, module, sound)
