"""A run that is broken off and resumed ends where an unbroken one ends; Ctrl-C keeps the work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import rnn_edge
from rnn_edge.checkpoint import Checkpoint
from rnn_edge.errors import CheckpointError, TrainingError

SMALL = {"hidden_size": 4, "batch_size": 128, "dropout": 0.3, "num_layers": 2}
# Everything that has a state of its own: schedule, average, best epoch, early stopping.
STATEFUL = {"schedule": "one-cycle", "averaging": 0.9, "patience": 50, "keep": "best"}

INTERRUPTED_RUN = """
import sys
from rnn_edge.cli.main import main
sys.argv = ["rnn-edge", "train", "forecast", *sys.argv[1:]]
main()
"""


def weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    return checkpoint.module.state_dict()


def same_weights(one: Checkpoint, other: Checkpoint) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


class StopAfter:
    """Presses Ctrl-C at the end of the given number of steps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
        from rnn_edge.training.interruption import Interruption

        original = Interruption.on_train_batch_end

        def press(callback: Interruption, trainer: object, *rest: object) -> None:
            if trainer.global_step == steps:  # type: ignore[attr-defined]
                os.kill(os.getpid(), signal.SIGINT)
            original(callback, trainer, *rest)

        monkeypatch.setattr(Interruption, "on_train_batch_end", press)


def test_same_seed_gives_bitwise_equal_weights(tmp_path: Path) -> None:
    options = {"epochs": 2, **SMALL, **STATEFUL}
    one = rnn_edge.train("forecast", output=tmp_path / "one", **options)
    other = rnn_edge.train("forecast", output=tmp_path / "other", **options)
    assert same_weights(one, other)


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    one = rnn_edge.train("forecast", output=tmp_path / "one", epochs=1, **SMALL)
    other = rnn_edge.train("forecast", output=tmp_path / "other", epochs=1, seed=1, **SMALL)
    assert not same_weights(one, other)


def test_training_leaves_the_random_state_of_the_process_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    rnn_edge.train("forecast", output=tmp_path / "one", epochs=1, **SMALL)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("data", ["sine", "progressions"])
def test_an_interrupted_and_resumed_run_equals_an_unbroken_one(tmp_path: Path, data: str) -> None:
    options = {"epochs": 6, **SMALL, **STATEFUL}
    unbroken = rnn_edge.train("forecast", data, output=tmp_path / "unbroken", **options)
    with pytest.MonkeyPatch.context() as patch:
        StopAfter(patch, steps=-(-steps_of(data) * 7 // 2))
        with pytest.raises(KeyboardInterrupt):
            rnn_edge.train("forecast", data, output=tmp_path / "broken", **options)
    reached = json.loads((tmp_path / "broken" / "config.json").read_text())
    assert (reached["finished"], reached["epochs"]) == (False, 3)
    resumed = rnn_edge.train("forecast", resume=tmp_path / "broken")
    assert same_weights(resumed, unbroken)
    assert resumed.config["metrics"] == unbroken.config["metrics"]


def steps_of(data: str) -> int:
    """Steps of an epoch: 536 windows of the sine, 2,968 progressions, 128 in a batch."""
    return {"sine": 5, "progressions": 24}[data]


def test_a_finished_run_can_be_prolonged(tmp_path: Path) -> None:
    short = {**SMALL, "schedule": "constant"}
    long = rnn_edge.train("forecast", output=tmp_path / "long", epochs=4, **short)
    rnn_edge.train("forecast", output=tmp_path / "short", epochs=2, **short)
    prolonged = rnn_edge.train("forecast", resume=tmp_path / "short", epochs=4)
    assert same_weights(prolonged, long)
    assert len((tmp_path / "short" / "history.csv").read_text().splitlines()) == 5


def test_resuming_refuses_other_options(tmp_path: Path) -> None:
    rnn_edge.train("forecast", output=tmp_path / "run", epochs=1, **SMALL)
    with pytest.raises(TrainingError, match=r"keep its options.*got hidden_size"):
        rnn_edge.train("forecast", resume=tmp_path / "run", hidden_size=8)


def test_resuming_refuses_another_task(tmp_path: Path) -> None:
    rnn_edge.train("forecast", output=tmp_path / "run", epochs=1, **SMALL)
    with pytest.raises(TrainingError, match="task must be forecast"):
        rnn_edge.train("images", resume=tmp_path / "run")


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_resuming_refuses_a_broken_state_and_keeps_the_folder(
    tmp_path: Path, content: bytes | None
) -> None:
    rnn_edge.train("forecast", output=tmp_path / "run", epochs=1, **SMALL)
    state = tmp_path / "run" / "trainer.ckpt"
    state.write_bytes(state.read_bytes()[:-100] if content is None else content)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(CheckpointError, match=r"trainer\.ckpt must be"):
        rnn_edge.train("forecast", resume=tmp_path / "run", epochs=3)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_resuming_without_a_state_says_so(tmp_path: Path) -> None:
    rnn_edge.train("forecast", output=tmp_path / "run", epochs=1, **SMALL)
    (tmp_path / "run" / "trainer.ckpt").unlink()
    with pytest.raises(CheckpointError, match=r"must hold trainer\.ckpt to be resumed"):
        rnn_edge.train("forecast", resume=tmp_path / "run", epochs=3)


def test_ctrl_c_keeps_what_was_reached_and_exits_with_130(tmp_path: Path) -> None:
    output = tmp_path / "run"
    command = [sys.executable, "-c", INTERRUPTED_RUN, "--epochs", "100000", "-o", str(output)]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    first = process.stderr.readline()
    assert first.startswith("epoch 1/100000"), first
    pressed = time.monotonic()
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    # Stopping takes well under a second; the rest is drawing the curve on a busy machine.
    assert time.monotonic() - pressed < 20
    assert stdout == ""
    assert f"--resume {output}" in stderr
    assert "Traceback" not in stderr
    checkpoint = rnn_edge.load_checkpoint(output)
    assert checkpoint.config["finished"] is False
    assert checkpoint.config["epochs"] >= 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_ctrl_c_at_the_end_of_an_epoch_keeps_history_and_state_together(tmp_path: Path) -> None:
    from rnn_edge.training.evaluation import ResumableState

    original = ResumableState.on_train_epoch_end

    def press(callback: ResumableState, *arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        original(callback, *arguments)

    options = {"epochs": 3, **SMALL, **STATEFUL}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResumableState, "on_train_epoch_end", press)
        with pytest.raises(KeyboardInterrupt, match="--resume"):
            rnn_edge.train("forecast", output=tmp_path / "broken", **options)
    assert json.loads((tmp_path / "broken" / "config.json").read_text())["epochs"] == 1
    unbroken = rnn_edge.train("forecast", output=tmp_path / "unbroken", **options)
    assert same_weights(rnn_edge.train("forecast", resume=tmp_path / "broken"), unbroken)


def test_ctrl_c_in_the_first_epoch_keeps_the_weights_of_the_last_step(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        StopAfter(patch, steps=3)
        with pytest.raises(KeyboardInterrupt):
            rnn_edge.train("forecast", output=tmp_path / "run", epochs=2, **SMALL)
    with pytest.MonkeyPatch.context() as patch:
        StopAfter(patch, steps=1)
        with pytest.raises(KeyboardInterrupt, match=r"other\.$"):  # nothing to resume from
            rnn_edge.train("forecast", output=tmp_path / "other", epochs=2, **SMALL)
    one, other = (rnn_edge.load_checkpoint(tmp_path / name) for name in ("run", "other"))
    assert one.config["epochs"] == 0
    assert not same_weights(one, other)
