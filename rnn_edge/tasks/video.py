"""Tell what happens in a moving picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn

from rnn_edge.batching import SequenceSplit
from rnn_edge.contract import AxisLimits, ClipFrontEnd, LabelDecoder
from rnn_edge.errors import DataError
from rnn_edge.models.clip_classifier import ClipClassifier
from rnn_edge.runtime.clips import decode_clip, read_frames
from rnn_edge.tasks.classification import (
    LABEL_SMOOTHING,
    ClassificationTask,
    labels_of,
    split_by_label,
)
from rnn_edge.tasks.task import (
    Deployment,
    Interface,
    ModelOptions,
    Option,
    TaskData,
    TrainingOptions,
)

CLIPS_A_MOTION, FEWEST_FRAMES, MOST_FRAMES = 150, 8, 20
RADII, BRIGHTNESS, NOISE = (0.10, 0.16), (100.0, 255.0), 12.0
# In widths of the picture: what a motion covers, and the radius of a circle.
WAYS, CIRCLE = (0.35, 0.6), (0.18, 0.28)
Path2D = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


class Video(ClassificationTask):
    """Accuracy and confusion matrix; the baseline is always to say the most frequent label."""

    model = ModelOptions(cell="gru", hidden_size=64, bidirectional=True, dropout=0.1)
    training = TrainingOptions(
        epochs=12, batch_size=32, lr=4e-3, weight_decay=1e-2, schedule="one-cycle", keep="last"
    )
    options = (
        Option("size", 24, "Height and width that frames are scaled to.", minimum=4),
        LABEL_SMOOTHING,
    )
    embedded = ("motions",)
    data_help = "a folder with a folder for each label, of GIFs or of folders of frames"

    def load(self, data: str | None, seed: int) -> TaskData:
        source = data or self.embedded[0]
        front_end = ClipFrontEnd(self.own["size"], self.own["size"])
        if source == "motions":
            chance = np.random.default_rng(seed)
            names = tuple(MOTIONS)
            labels = np.repeat(np.arange(len(names)), CLIPS_A_MOTION)
            clips = [moving(names[label], front_end.height, chance) for label in labels]
        else:
            names, labels, clips = read_clips(Path(source), front_end)
        parts = split_by_label(labels, names, source, seed)
        rows = [torch.from_numpy(clip) for clip in clips]
        train, validation, test = (
            SequenceSplit([rows[place] for place in part], torch.from_numpy(labels[part]))
            for part in parts
        )
        longest = max(len(clip) for clip in clips)
        description = (
            f"{source}: {len(clips)} clips of up to {longest} frames, labels {', '.join(names)}; "
            f"{len(train)} to train, {len(validation)} to validate, {len(test)} to test"
        )
        facts = {"longest": int(train.lengths.max())}
        interface = Interface(front_end, LabelDecoder(names), facts)
        return TaskData(train, validation, test, interface, description)

    def build(self, options: ModelOptions, interface: Interface) -> nn.Module:
        front_end = cast(ClipFrontEnd, interface.front_end)
        return ClipClassifier(
            front_end.height,
            front_end.width,
            len(labels_of(interface)),
            front_end.maximum,
            **asdict(options),
        )

    def deployment(self, module: nn.Module, interface: Interface) -> Deployment:
        front_end = cast(ClipFrontEnd, interface.front_end)
        shape = (3, 6, front_end.height, front_end.width)
        frames = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        return Deployment(
            args=(front_end.maximum * frames, torch.tensor([6, 1, 4])),
            axes=[("batch", "sequence", None, None), ("batch",)],
            output_names=["logits"],
            front_end=front_end,
            decoder=interface.decoder,
            limits={"sequence": AxisLimits(trained_maximum=interface.facts["longest"])},
            meanings={
                "frames": f"grey pictures, values 0 (black) to {front_end.maximum:g}",
                "lengths": "frames of each row, at least 1",
                "logits": "one number a label; softmax gives probabilities",
            },
        )


# --- Data -------------------------------------------------------------------------------------


def straight(x: float, y: float) -> Path2D:
    """Along (x, y), over 0 to 1."""
    return lambda t: (x * (t - 0.5), y * (t - 0.5), np.ones_like(t))


def circle(turns: float) -> Path2D:
    """Around the middle, clockwise on a screen where ``turns`` is positive."""
    return lambda t: (
        np.cos(2 * np.pi * turns * t),
        np.sin(2 * np.pi * turns * t),
        np.ones_like(t),
    )


# Time from 0 to 1 -> place right of and below the middle, and size.
MOTIONS: dict[str, Path2D] = {
    "left": straight(-1, 0),
    "right": straight(1, 0),
    "up": straight(0, -1),
    "down": straight(0, 1),
    "clockwise": circle(1),
    "anticlockwise": circle(-1),
    "growing": lambda t: (0 * t, 0 * t, 0.6 + 1.2 * t),
    "shrinking": lambda t: (0 * t, 0 * t, 1.8 - 1.2 * t),
    "shaking": lambda t: (0.25 * np.sin(6 * np.pi * t), 0 * t, np.ones_like(t)),
    "blinking": lambda t: (0 * t, 0 * t, (np.sin(6 * np.pi * t + 0.5) > 0).astype(float)),
}
# How far points lie from the middle of a shape of size 1.
SHAPES: tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], ...] = (
    np.hypot,
    lambda x, y: np.maximum(np.abs(x), np.abs(y)),
    lambda x, y: np.abs(x) + np.abs(y),
)


def moving(motion: str, size: int, chance: np.random.Generator) -> np.ndarray:
    """A bright shape that moves as named: float32[frames, size, size], 0 to 255, with noise.

    The shape, its size and brightness, the way and the number of frames are random.
    """
    t = np.linspace(0, 1, chance.integers(FEWEST_FRAMES, MOST_FRAMES + 1))
    x, y, scale = MOTIONS[motion](t)
    way = chance.uniform(*(CIRCLE if "clockwise" in motion else WAYS))
    x, y = (0.5 + way * part + chance.uniform(-0.1, 0.1) for part in (x, y))
    radius = chance.uniform(*RADII) * np.maximum(scale, 1e-6)
    shape = SHAPES[chance.integers(len(SHAPES))]
    places = (np.arange(size) + 0.5) / size
    across = places[np.newaxis, np.newaxis] - x[:, np.newaxis, np.newaxis]
    below = places[np.newaxis, :, np.newaxis] - y[:, np.newaxis, np.newaxis]
    depth = radius[:, np.newaxis, np.newaxis] - shape(*np.broadcast_arrays(across, below))
    # An edge as wide as a pixel; a shape of no size is not there.
    bright = np.clip(depth * size + 0.5, 0, 1) * (scale > 0)[:, np.newaxis, np.newaxis]
    noise = NOISE * chance.normal(size=bright.shape)
    return np.clip(chance.uniform(*BRIGHTNESS) * bright + noise, 0, 255).astype(np.float32)


def read_clips(
    folder: Path, front_end: ClipFrontEnd
) -> tuple[tuple[str, ...], np.ndarray, list[np.ndarray]]:
    """Label names, int64[clips] places among them, and the clips.

    Raises DataError for a folder without two labels or more, InputError naming a file that is no
    picture.
    """
    found = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if len(found) < 2:
        raise DataError(
            f"{folder} must be a folder with a folder of clips for each of two labels or more, "
            f"it has {len(found)}. Sort the clips into folders."
        )
    labels, clips = [], []
    for label, place in enumerate(found):
        inside = sorted(
            path for path in place.iterdir() if path.is_dir() or path.suffix.lower() == ".gif"
        )
        for path in inside:
            clips.append(
                read_frames(front_end, path)
                if path.is_dir()
                else decode_clip(front_end, path.read_bytes(), str(path))
            )
            labels.append(label)
        if not inside:
            raise DataError(
                f"{place} must hold GIFs or folders of frames, it holds none. Add clips."
            )
    return tuple(place.name for place in found), np.array(labels, np.int64), clips
