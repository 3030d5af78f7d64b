"""The images task: its data, its report, what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

import rnn_edge
from rnn_edge.batching import ArraySplit
from rnn_edge.contract import ImageFrontEnd, LabelDecoder
from rnn_edge.errors import DataError
from rnn_edge.tasks.images import Images, augment
from rnn_edge.tasks.task import TaskData


def write_idx(path: Path, array: npt.NDArray[np.uint8]) -> None:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())


def write_folder(
    folder: Path, labels: npt.NDArray[np.uint8], prefix: str = "", size: tuple[int, int] = (4, 3)
) -> str:
    """Images whose pixels all are ten times their label."""
    pixels = np.broadcast_to(10 * labels[:, None, None], (len(labels), *size)).astype(np.uint8)
    write_idx(folder / f"{prefix}images", pixels)
    write_idx(folder / f"{prefix}labels", labels)
    return str(folder)


def count(data: TaskData) -> tuple[int, int, int]:
    assert data.validation is not None
    return len(data.train), len(data.validation), len(data.test)


CYCLE = np.arange(100, dtype=np.uint8) % 5


def test_the_default_is_scikit_learns_digits() -> None:
    data = Images().load(None, seed=0)
    assert sum(count(data)) == 1797
    assert data.interface.front_end == ImageFrontEnd(8, 8, 16.0)
    assert data.interface.decoder == LabelDecoder(tuple("0123456789"))


def test_the_last_images_are_held_for_test(tmp_path: Path) -> None:
    data = Images(test_size=0.2).load(write_folder(tmp_path, CYCLE), seed=0)
    assert count(data) == (76, 4, 20)
    assert isinstance(data.test, ArraySplit)
    assert data.test.targets.tolist() == CYCLE[80:].tolist()


def test_1500_of_8000_images_are_held_by_default(tmp_path: Path) -> None:
    labels = np.arange(8000, dtype=np.int64) % 10
    data = Images().load(write_folder(tmp_path, labels.astype(np.uint8), size=(1, 1)), seed=0)
    assert count(data)[2] == 1500


def test_test_files_are_the_test_split(tmp_path: Path) -> None:
    write_folder(tmp_path, CYCLE, "train-")
    data = Images().load(write_folder(tmp_path, CYCLE[:10], "t10k-"), seed=0)
    assert count(data) == (95, 5, 10)


def test_images_keep_their_labels(tmp_path: Path) -> None:
    data = Images(augment=False).load(write_folder(tmp_path, CYCLE), seed=0)
    for split in (data.train, data.validation, data.test):
        assert split is not None
        for batch in split.batches(64, torch.Generator()):
            assert torch.equal(batch.inputs[0].amax(dim=(1, 2)), 10.0 * batch.targets)


def test_the_seed_decides_which_images_validate(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, CYCLE)
    one, same, other = (Images().load(folder, seed=seed).validation for seed in (0, 0, 1))
    assert isinstance(one, ArraySplit)
    assert isinstance(same, ArraySplit)
    assert isinstance(other, ArraySplit)
    assert torch.equal(one.targets, same.targets)
    assert not torch.equal(one.targets, other.targets)


class Predicts(torch.nn.Module):
    """Says ``label[i]`` where the pixels are 10 i."""

    def __init__(self, *label: int) -> None:
        super().__init__()
        self.label = torch.tensor(label)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        chosen = self.label[(image[:, 0, 0] / 10).long()]
        return torch.nn.functional.one_hot(chosen, 5).float()


def test_the_report_counts_truth_in_rows_and_predictions_in_columns(tmp_path: Path) -> None:
    task = Images(test_size=0.2)
    data = task.load(write_folder(tmp_path, CYCLE), seed=0)
    report = task.report(Predicts(0, 1, 2, 3, 1), data)
    assert report.scores["model"] == {"accuracy": 0.8}
    (table,) = report.tables
    assert table.rows[4] == ("4", 0, 4, 0, 0, 0)
    assert table.rows[1] == ("1", 0, 4, 0, 0, 0)


def test_the_baseline_is_the_most_frequent_training_class(tmp_path: Path) -> None:
    labels = np.array([2] * 60 + [0, 1, 2, 3] * 10, dtype=np.uint8)
    task = Images(test_size=0.2)
    scores = task.report(
        Predicts(0, 1, 2, 3, 4), task.load(write_folder(tmp_path, labels), seed=0)
    ).scores
    assert scores["always 2"] == {"accuracy": 0.25}


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (np.zeros(50, np.uint8), {}, "must be of two classes or more"),
        (np.arange(50, dtype=np.uint8), {}, "must be known from training, got 49"),
        (CYCLE, {"test_size": 0.0}, "test_size must leave some of the 100 images"),
        (CYCLE, {"test_size": 1.5}, "test_size must leave some"),
        (CYCLE, {"test_size": float("nan")}, "test_size must leave some"),
        (CYCLE[:1], {}, "test_size must leave some"),
    ],
)
def test_unusable_folders_are_refused(
    tmp_path: Path, labels: npt.NDArray[np.uint8], options: dict[str, float], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        Images(**options).load(write_folder(tmp_path, labels), seed=0)


def test_test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, CYCLE, "train-")
    with pytest.raises(DataError, match="must be of one size, got 4 x 3 and 5 x 3"):
        Images().load(write_folder(tmp_path, CYCLE, "t10k-", size=(5, 3)), seed=0)


def test_training_learns_digits_and_draws_the_confusion(tmp_path: Path) -> None:
    checkpoint = rnn_edge.train(
        "images", output=tmp_path / "run", epochs=4, batch_size=16, augment=False, plot=True
    )
    assert checkpoint.config["metrics"]["scores"]["model"]["accuracy"] > 0.7
    assert (tmp_path / "run" / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_augmentation_moves_pixels_a_little_and_follows_its_generator() -> None:
    image = torch.zeros(20, 28, 28)
    image[:, 13:15, 13:15] = 255.0
    one, same = (augment(image, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(one, same)
    weights = one / one.sum(dim=(1, 2), keepdim=True)
    places = torch.arange(28.0) - 13.5
    row, column = weights.sum(dim=2) @ places, weights.sum(dim=1) @ places
    for moved in (row, column):
        assert moved.abs().max() < 4.5
        assert moved.std() > 0.5


def test_the_deployment_gives_raw_pixels_to_the_module() -> None:
    task = Images(pooling=False)
    data = task.load(None, seed=0)
    module = task.build(task.model, data.interface)
    deployment = task.deployment(module, data.interface)
    (pixels,) = deployment.args
    assert module(pixels).shape == (3, 10)
    assert 8 < pixels.max() <= 16
    assert deployment.axes == [("batch", "sequence", None)]
