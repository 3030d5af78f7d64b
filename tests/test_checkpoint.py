"""What a checkpoint folder holds, and what happens when it does not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import rnn_edge
from rnn_edge.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from rnn_edge.contract import SeriesFrontEnd, ValueDecoder
from rnn_edge.errors import CheckpointError


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("checkpoints") / "sine"
    return rnn_edge.train("forecast", output=folder, epochs=1, hidden_size=4)


@pytest.fixture
def folder(trained: Checkpoint, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained.path, tmp_path / "copy"))


def edit_json(path: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def edit_weights(path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = load_file(path)
    change(weights)
    save_file(weights, path)


def test_the_folder_holds_the_named_files(trained: Checkpoint) -> None:
    assert sorted(path.name for path in trained.path.iterdir()) == [
        "config.json",
        "curve.png",
        "front_end.json",
        "history.csv",
        "model.safetensors",
        "trainer.ckpt",
    ]


def test_loading_gives_back_module_and_interface(trained: Checkpoint, folder: Path) -> None:
    loaded = load_checkpoint(folder)
    values, lengths = torch.randn(2, 5, 1), torch.tensor([5, 3])
    assert torch.equal(loaded.module(values, lengths), trained.module(values, lengths))
    assert not loaded.module.training
    assert loaded.front_end == trained.front_end
    assert isinstance(loaded.front_end, SeriesFrontEnd)
    assert loaded.decoder == ValueDecoder(("sine",))


def test_loading_leaves_the_random_state_alone(folder: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    load_checkpoint(folder)
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("head.bias"), "it lacks head.bias"),
        (lambda weights: weights.update(extra=torch.zeros(1)), "it also has extra"),
        (
            lambda weights: weights.update({"head.bias": torch.zeros(2)}),
            r"head.bias in .* must be float32\[1\].*got float32\[2\]",
        ),
        (
            lambda weights: weights.update({"head.bias": torch.zeros(1, dtype=torch.int64)}),
            r"head.bias in .* must be float32\[1\].*got int64\[1\]",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(folder: Path, change: Any, message: str) -> None:
    edit_weights(folder / "model.safetensors", change)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config.update(task="juggle"), "task must be one of .* got 'juggle'"),
        (lambda config: config.update(format_version=99), "version 99"),
        (lambda config: config.update(format="else"), "'else'"),
        (lambda config: config.pop("model"), "KeyError: 'model'"),
        (lambda config: config["model"].update(hidden_size=0), "hidden_size must be at least 1"),
        (lambda config: config["model"].update(hidden_size=10**15), "must describe a model"),
        (lambda config: config["model"].update(surprise=1), "surprise"),
        (lambda config: config["model"].update(cell="transformer"), "cell must be one of"),
        (lambda config: config["own"].update(surprise=1), "surprise"),
        (lambda config: config.update(own=None), "must describe a model"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(folder: Path, change: Any, message: str) -> None:
    edit_json(folder / "config.json", change)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "front_end.json", "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe{", b"[1, 2]", None])
def test_a_broken_or_missing_file_is_refused(
    folder: Path, name: str, content: bytes | None
) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(folder)


def test_a_front_end_of_another_kind_is_refused(folder: Path) -> None:
    edit_json(folder / "front_end.json", lambda stored: stored["front_end"].update(kind="smell"))
    with pytest.raises(CheckpointError, match="kind of front_end must be one of"):
        load_checkpoint(folder)


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"must be a folder with a config\.json"):
        load_checkpoint(tmp_path)


def test_a_failure_while_writing_keeps_the_old_folder(trained: Checkpoint, folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail(_: Path) -> None:
        raise KeyError("in the middle")

    with pytest.raises(KeyError):
        save_checkpoint(folder, trained.module, trained.interface, {}, fail)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["copy"]


@pytest.mark.parametrize("make", [lambda path: path.write_text("mine"), lambda path: path.mkdir()])
def test_training_does_not_replace_what_is_no_checkpoint(tmp_path: Path, make: Any) -> None:
    output = tmp_path / "taken"
    make(output)
    if output.is_dir():
        (output / "diary.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="must be a new folder"):
        rnn_edge.train("forecast", output=output, epochs=1, hidden_size=2)
    assert output.exists()


def test_an_unwritable_place_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="must be a place to write a folder"):
        rnn_edge.train("forecast", output=tmp_path / "file" / "run", epochs=10**6)


def test_the_deployment_fits_the_module(trained: Checkpoint) -> None:
    deployment = trained.deployment()
    assert trained.module(*deployment.args).shape == (3, 1)
    assert [len(axes) for axes in deployment.axes] == [arg.dim() for arg in deployment.args]
    assert deployment.limits["sequence"].trained_maximum == 4
