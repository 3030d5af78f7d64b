"""A long run is saved midway, so that a killed one can be resumed, and is not changed by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import rnn_edge
from rnn_edge import checkpoint
from rnn_edge.training import evaluation, trainer

SMALL = {"epochs": 3, "hidden_size": 4, "batch_size": 128, "averaging": 0.9, "keep": "best"}


@pytest.fixture
def saves(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, int]]:
    """Of each folder written, whether the run was over, and the epochs it had."""
    found: list[tuple[bool, int]] = []

    def save(*arguments: Any) -> None:
        config = arguments[3]
        found.append((config["finished"], config["epochs"]))
        checkpoint.save_checkpoint(*arguments)

    monkeypatch.setattr(trainer, "save_checkpoint", save)
    return found


def test_a_long_run_is_saved_midway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saves: list[tuple[bool, int]]
) -> None:
    monkeypatch.setattr(evaluation, "SECONDS_BETWEEN_SAVES", -1.0)
    rnn_edge.train("forecast", output=tmp_path / "run", **SMALL)
    assert saves == [(False, 1), (False, 2), (False, 3), (True, 3)]


def test_a_checkpoint_of_another_run_stays_until_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saves: list[tuple[bool, int]]
) -> None:
    rnn_edge.train("forecast", output=tmp_path / "run", **SMALL)
    monkeypatch.setattr(evaluation, "SECONDS_BETWEEN_SAVES", -1.0)
    rnn_edge.train("forecast", output=tmp_path / "run", **SMALL)
    assert saves == [(True, 3), (True, 3)]


def test_saving_midway_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rarely = rnn_edge.train("forecast", output=tmp_path / "rarely", **SMALL).module.state_dict()
    monkeypatch.setattr(evaluation, "SECONDS_BETWEEN_SAVES", -1.0)
    often = rnn_edge.train("forecast", output=tmp_path / "often", **SMALL).module.state_dict()
    assert all(torch.equal(rarely[name], often[name]) for name in rarely)


def test_the_kept_weights_are_those_of_the_epoch_best_on_validation_data(tmp_path: Path) -> None:
    options = {**SMALL, "lr": 0.3, "averaging": 0.0, "schedule": "constant", "epochs": 6}
    run = rnn_edge.train("forecast", output=tmp_path / "run", **options)
    lines = (tmp_path / "run" / "history.csv").read_text().splitlines()
    place = lines[0].split(",").index("validation_mse")
    scores = [float(line.split(",")[place]) for line in lines[1:]]
    assert scores.index(min(scores)) + 1 == run.config["kept_epoch"] < 6
    validation = run.task.load(None, seed=0).validation
    assert validation is not None
    assert run.task.evaluate(run.module, validation)["mse"] == pytest.approx(min(scores))
