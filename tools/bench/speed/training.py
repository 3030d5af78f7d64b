"""Time that training takes until 93% of test images are told right: ours, and a tutorial's way."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from tutorial_images import accuracy
from tutorial_images import train as train_plainly

from rnn_edge.idx_file import read_image_folder
from rnn_edge.tasks.images import scikit_learn_digits
from rnn_edge.training import train
from speed.turns import Row, row_of

WANTED = 0.93
OURS, OTHER = "rnn_edge.training.train", "the tutorial's recipe, plain PyTorch"
MOST_EPOCHS = 60


def measure_training(data: Path | None, folder: Path, turns: int) -> list[Row]:
    """Seconds of each, a turn for every seed. ``data`` is a folder of IDX files, or scikit-learn's
    digits; the last of the images are held for test, the same for both.

    Ours is the whole of a call, data, scores and the checkpoint's files too, at the fewest epochs
    at which each seed reaches the share that is asked for; the tutorial's are its epochs alone.
    """
    epochs = next(
        epochs
        for epochs in range(1, MOST_EPOCHS)
        if all(_ours(data, folder, epochs, seed)[1] >= WANTED for seed in range(turns))
    )
    ours, others, plain_epochs = [], [], []
    for seed in range(turns):
        seconds, count = _tutorial(data, seed)
        others.append(seconds)
        plain_epochs.append(count)
        ours.append(_ours(data, folder, epochs, seed)[0])
    source = data.name if data else "digits"
    theirs = ", ".join(map(str, plain_epochs))
    case = f"images, {source}, to {WANTED:.0%}: {epochs} epochs of ours, {theirs} of its"
    return [row_of("training", case, OURS, OTHER, np.array(ours), np.array(others), 3.0, "s")]


def _ours(data: Path | None, folder: Path, epochs: int, seed: int) -> tuple[float, float]:
    """Seconds, and the share of test images that is right."""
    start = perf_counter()
    checkpoint = train(
        "images", str(data) if data else None, output=folder / "run", epochs=epochs, seed=seed
    )
    seconds = perf_counter() - start
    return seconds, checkpoint.config["metrics"]["scores"]["model"]["accuracy"]


def _tutorial(data: Path | None, seed: int) -> tuple[float, int]:
    """Seconds and epochs of its training until the test images are told right as asked, or of
    MOST_EPOCHS where they never are."""
    both = read_image_folder(str(data))["train"] if data else scikit_learn_digits()
    images = torch.from_numpy(both.images.astype(np.float32)) / float(both.images.max())
    labels = torch.from_numpy(both.labels.astype(np.int64))
    held = round(0.1875 * len(labels))
    torch.manual_seed(seed)
    seconds, start = 0.0, perf_counter()
    trained = train_plainly(images[:-held], labels[:-held], int(labels.max()) + 1)
    for epochs, model in zip(range(1, MOST_EPOCHS + 1), trained, strict=False):
        seconds += perf_counter() - start
        if accuracy(model, images[-held:], labels[-held:]) >= WANTED:
            return seconds, epochs
        start = perf_counter()
    return seconds, MOST_EPOCHS
