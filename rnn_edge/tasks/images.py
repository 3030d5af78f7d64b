"""Tell what an image shows, row by row: a digit, say."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnn_edge.batching import ArraySplit
from rnn_edge.contract import AxisLimits, ImageFrontEnd, LabelDecoder
from rnn_edge.errors import DataError
from rnn_edge.extras import import_extra
from rnn_edge.idx_file import LabelledImages, read_image_folder
from rnn_edge.models.image_classifier import ImageClassifier
from rnn_edge.tasks.classification import LABEL_SMOOTHING, ClassificationTask
from rnn_edge.tasks.task import (
    Deployment,
    Interface,
    ModelOptions,
    Option,
    TaskData,
    TrainingOptions,
)

VALIDATION_SHARE = 0.05
# Random changes of a training image: degrees, share of its size, share of its width.
ROTATION, SCALING, SHIFT, SHEAR = 12.0, 0.12, 0.08, 0.15


class Images(ClassificationTask):
    """Accuracy and confusion matrix; the baseline is always to say the most frequent class."""

    model = ModelOptions(cell="lstm", hidden_size=64, bidirectional=True, dropout=0.2)
    training = TrainingOptions(
        epochs=14,
        batch_size=100,
        lr=1e-2,
        weight_decay=1e-2,
        schedule="one-cycle",
        keep="last",
    )
    recipes: ClassVar = {"digits": {"epochs": 60, "batch_size": 32, "dropout": 0.1}}
    options = (
        Option("augment", True, "Rotate, scale, shift and shear training images a little."),
        LABEL_SMOOTHING,
        Option("pooling", True, "Judge by all rows' states together, not by the last alone."),
        Option("test_size", 0.1875, "Share held for test, the last images, if no files are."),
    )
    embedded = ("digits",)
    data_help = "a folder of MNIST-style IDX files, gzipped or not"

    def load(self, data: str | None, seed: int) -> TaskData:
        source = data or self.embedded[0]
        if source == "digits":
            parts, maximum = self._held_out("digits", scikit_learn_digits()), 16.0
        else:
            read = read_image_folder(source)
            parts = (
                (read["train"], read["test"])
                if "test" in read
                else self._held_out(source, read["train"])
            )
            maximum = 255.0
        refuse_unusable(source, *parts)
        return self._task_data(Path(source).name, *parts, maximum, seed)

    def _held_out(self, source: str, both: LabelledImages) -> tuple[LabelledImages, LabelledImages]:
        share = self.own["test_size"]
        held = round(share * len(both.labels)) if 0 < share < 1 else 0
        if not 0 < held < len(both.labels):
            raise DataError(
                f"test_size must leave some of the {len(both.labels)} images of {source} to train "
                f"on and some to test on, got {share}. Choose a share between 0 and 1."
            )
        return (
            LabelledImages(both.images[:-held], both.labels[:-held]),
            LabelledImages(both.images[-held:], both.labels[-held:]),
        )

    def _task_data(
        self, source: str, train: LabelledImages, test: LabelledImages, maximum: float, seed: int
    ) -> TaskData:
        height, width = train.images.shape[1:]
        labels = tuple(str(label) for label in range(int(train.labels.max()) + 1))
        order = np.random.default_rng(seed).permutation(len(train.labels))
        held = max(1, round(VALIDATION_SHARE * len(order)))
        parts = (
            _split(train, order[held:], augment if self.own["augment"] else None),
            _split(train, order[:held]),
            _split(test, np.arange(len(test.labels))),
        )
        return TaskData(
            *parts,
            Interface(ImageFrontEnd(height, width, maximum), LabelDecoder(labels)),
            f"{source}: images of {height} x {width}, {len(parts[0])} to train, "
            f"{len(parts[1])} to validate, {len(parts[2])} to test",
        )

    def build(self, options: ModelOptions, interface: Interface) -> nn.Module:
        front_end, decoder = _image_and_labels(interface)
        return ImageClassifier(
            front_end.width,
            len(decoder.labels),
            front_end.maximum,
            **asdict(options),
            pooling=self.own["pooling"],
        )

    def deployment(self, module: nn.Module, interface: Interface) -> Deployment:
        front_end, _ = _image_and_labels(interface)
        generator = torch.Generator().manual_seed(0)
        example = torch.rand(3, front_end.height, front_end.width, generator=generator)
        return Deployment(
            args=(example * front_end.maximum,),
            axes=[("batch", "sequence", None)],
            output_names=["logits"],
            front_end=interface.front_end,
            decoder=interface.decoder,
            limits={"sequence": AxisLimits(1, trained_maximum=front_end.height)},
            meanings={
                "image": f"rows from the top, bright on dark, values 0 to {front_end.maximum:g}",
                "logits": "one number a class; softmax gives probabilities",
            },
        )


def scikit_learn_digits() -> LabelledImages:
    """1,797 handwritten digits of 8 x 8, values 0 to 16."""
    digits = import_extra("sklearn.datasets").load_digits()
    return LabelledImages(digits.images.astype(np.uint8), digits.target.astype(np.uint8))


def refuse_unusable(source: str, train: LabelledImages, test: LabelledImages) -> None:
    if train.images.shape[1:] != test.images.shape[1:]:
        sizes = " and ".join(" x ".join(map(str, part.images.shape[1:])) for part in (train, test))
        raise DataError(f"images of {source} must be of one size, got {sizes}. Convert them.")
    if len(np.unique(train.labels)) < 2:
        raise DataError(
            f"labels of {source} must be of two classes or more, got only "
            f"{train.labels[0]} to train on. Add images of other classes."
        )
    if test.labels.max() > train.labels.max():
        raise DataError(
            f"labels of {source} must be known from training, got {test.labels.max()} in the test "
            "images only. Add such images to train on."
        )


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turn, scale, shift and shear each of float32[count, height, width] by chance, 0 around."""
    count, height, width = images.shape
    chance = 2 * torch.rand(6, count, generator=generator) - 1
    angle, scale_x, scale_y, shift_x, shift_y, shear = chance
    angle = angle * math.radians(ROTATION)
    scale_x, scale_y = 1 + SCALING * scale_x, 1 + SCALING * scale_y
    shear = SHEAR * shear
    # Rows of the map from a place in the new image to one in the old; shifts are in half sizes.
    maps = torch.stack(
        [
            torch.stack([scale_x * angle.cos(), shear - angle.sin(), 2 * SHIFT * shift_x], dim=1),
            torch.stack([angle.sin(), scale_y * angle.cos(), 2 * SHIFT * shift_y], dim=1),
        ],
        dim=1,
    )
    places = F.affine_grid(maps, [count, 1, height, width], align_corners=False)
    return F.grid_sample(images.unsqueeze(1), places, align_corners=False).squeeze(1)


def _split(part: LabelledImages, places: np.ndarray[Any, Any], augment: Any = None) -> ArraySplit:
    images = torch.from_numpy(part.images[places]).float()
    return ArraySplit((images,), torch.from_numpy(part.labels[places]).long(), augment)


def _image_and_labels(interface: Interface) -> tuple[ImageFrontEnd, LabelDecoder]:
    front_end, decoder = interface.front_end, interface.decoder
    assert isinstance(front_end, ImageFrontEnd)
    assert isinstance(decoder, LabelDecoder)
    return front_end, decoder
