"""Write a sentence that tells what a picture shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from rnn_edge.batching import ArraySplit, Batch
from rnn_edge.contract import PictureFrontEnd, TextDecoder
from rnn_edge.drawing import draw_pictures
from rnn_edge.errors import DataError
from rnn_edge.models.captioner import Captioner
from rnn_edge.runtime.pictures import decode_picture
from rnn_edge.tasks.listed_files import content_of, listed_files
from rnn_edge.tasks.task import (
    Deployment,
    Interface,
    ModelOptions,
    Option,
    TaskData,
    TrainingOptions,
)
from rnn_edge.tasks.writing import (
    MEANINGS,
    WRITING_OPTIONS,
    WritingTask,
    check_length,
    target_ids,
    text_decoder,
    text_of,
)
from rnn_edge.vocabulary import PADDING_ID, Vocabulary

CAPTIONS = "captions.tsv"
TEST_SHARE, VALIDATION_SHARE = 0.1, 0.05
PICTURES, MOST_SHAPES = 5000, 3
# In widths of the picture: the radius of a shape, and how far it may stand from its place.
RADII, SHIFT = (0.10, 0.13), 0.02
GROUND, NOISE = (0.0, 90.0), 8.0
# Red, green and blue, and the word in each language.
COLOURS = {
    "red": ((230, 40, 40), "红色"),
    "green": ((40, 190, 60), "绿色"),
    "blue": ((50, 80, 240), "蓝色"),
    "yellow": ((240, 220, 50), "黄色"),
    "purple": ((180, 60, 210), "紫色"),
    "white": ((250, 250, 250), "白色"),
}
# How far points right of and below the middle lie from it, where a shape of size 1 ends at 1.
Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]
SHAPES: dict[str, tuple[Measure, str]] = {
    "circle": (np.hypot, "圆形"),
    "square": (lambda x, y: 1.15 * np.maximum(abs(x), abs(y)), "正方形"),
    "triangle": (lambda x, y: np.maximum(2 * y, 3**0.5 * abs(x) - y), "三角形"),
    "cross": (
        lambda x, y: np.minimum(np.maximum(3 * abs(x), abs(y)), np.maximum(abs(x), 3 * abs(y))),
        "十字形",
    ),
}


@dataclass(frozen=True)
class Shape:
    """One shape of a picture; its middle in widths of the picture, from the left and the top."""

    kind: str
    colour: str
    x: float
    y: float


class CaptionSplit(ArraySplit):
    """Pictures, float32[count, 3, height, width], and ids of their captions, filled up with 0.

    A batch's targets are as long as its longest caption; its ``count`` is its ids without filling.
    """

    def batches(self, batch_size: int, generator: torch.Generator | None = None) -> Iterator[Batch]:
        for batch in super().batches(batch_size, generator):
            lengths = (batch.targets != PADDING_ID).sum(dim=1)
            yield Batch(batch.inputs, batch.targets[:, : int(lengths.max())], int(lengths.sum()))


class Captioning(WritingTask):
    model = ModelOptions(cell="gru", hidden_size=128)
    training = TrainingOptions(epochs=14, batch_size=32, lr=4e-3, schedule="one-cycle")
    options = (
        Option("size", 48, "Height and width that pictures are scaled to.", minimum=8),
        Option("embedding_size", 32, "Size of the vector that stands for a character.", minimum=1),
        Option(
            "language",
            "english",
            "Language of the embedded captions.",
            choices=("english", "chinese"),
        ),
        Option("captions", CAPTIONS, "TSV file of the folder: a picture and its caption a line."),
        *WRITING_OPTIONS,
    )
    # A caption is written from its beginning to its end.
    causal = True
    embedded = ("shapes",)
    data_help = f"a folder of pictures with {CAPTIONS}: a file, a tab and its caption in every line"

    def load(self, data: str | None, seed: int) -> TaskData:
        source = data or self.embedded[0]
        chance = np.random.default_rng(seed)
        front_end = PictureFrontEnd(self.own["size"], self.own["size"])
        if source == "shapes":
            scenes = [scene(chance) for _ in range(PICTURES)]
            pictures = [drawn(shapes, front_end.height, chance) for shapes in scenes]
            texts = [caption(shapes, self.own["language"]) for shapes in scenes]
        else:
            pictures, texts = self._read(Path(source), front_end)
        order = chance.permutation(len(texts))
        tested = max(1, round(TEST_SHARE * len(order)))
        held = tested + max(1, round(VALIDATION_SHARE * len(order)))
        if len(order) <= held:
            raise DataError(f"{source} must hold 3 pictures or more, got {len(order)}. Add some.")
        parts = (order[held:], order[tested:held], order[:tested])
        vocabulary = Vocabulary.build(texts[place] for place in parts[0])
        train, validation, test = (_split(part, pictures, texts, vocabulary) for part in parts)
        facts = {"steps": train.targets.shape[1]}
        description = (
            f"{source}: {len(texts)} pictures, captions of up to {facts['steps'] - 1} characters; "
            f"{len(train)} to train, {len(validation)} to validate, {len(test)} to test"
        )
        interface = Interface(front_end, text_decoder(vocabulary), facts)
        return TaskData(train, validation, test, interface, description)

    def build(self, options: ModelOptions, interface: Interface) -> nn.Module:
        front_end = cast(PictureFrontEnd, interface.front_end)
        return Captioner(
            front_end.height,
            front_end.width,
            front_end.maximum,
            len(cast(TextDecoder, interface.decoder).vocabulary),
            interface.facts["steps"],
            beam=self.own["beam"],
            embedding_size=self.own["embedding_size"],
            **asdict(options),
        )

    def true_texts(self, data: TaskData) -> tuple[list[str], list[str]]:
        known, true = (
            [text_of(row[row != PADDING_ID], data.interface) for row in part.targets]
            for part in (cast(CaptionSplit, data.train), cast(CaptionSplit, data.test))
        )
        return known, true

    def plot(self, module: nn.Module, data: TaskData, folder: Path) -> None:
        written, _ = self.written(module, data)
        front_end = cast(PictureFrontEnd, data.interface.front_end)
        pictures = cast(CaptionSplit, data.test).inputs[0].numpy() / front_end.maximum
        draw_pictures(folder / "captions.png", [*pictures], written)

    def deployment(self, module: nn.Module, interface: Interface) -> Deployment:
        front_end = cast(PictureFrontEnd, interface.front_end)
        shape = (3, 3, front_end.height, front_end.width)
        picture = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        return Deployment(
            args=(front_end.maximum * picture,),
            axes=[("batch", None, None, None)],
            output_names=[*MEANINGS],
            front_end=front_end,
            decoder=interface.decoder,
            meanings={
                "picture": f"red, green and blue, values 0 to {front_end.maximum:g}",
                **MEANINGS,
            },
        )

    def _read(self, folder: Path, front_end: PictureFrontEnd) -> tuple[list[np.ndarray], list[str]]:
        """The pictures that the captions' file names. Raises DataError or InputError."""
        if not folder.is_dir():
            raise DataError(f"{folder} must be a folder of pictures, it is none. Correct the path.")
        listed = folder / self.own["captions"]
        pictures, texts = [], []
        for path, text in listed_files(listed, folder):
            check_length(len(text), self.own["max_length"], f"{listed} ({path.name})")
            pictures.append(decode_picture(front_end, content_of(path), str(path)))
            texts.append(text)
        return pictures, texts


# --- Data -------------------------------------------------------------------------------------


def scene(chance: np.random.Generator) -> tuple[Shape, ...]:
    """One to three shapes that do not overlap; two or three stand clearly beside each other.

    They come from left to right, or from above to below where the first stands above.
    """
    count = chance.integers(1, MOST_SHAPES + 1)
    along = (np.arange(count) + 0.5) / count + chance.uniform(-SHIFT, SHIFT, count)
    across = chance.uniform(0.25, 0.75, count)
    if count < MOST_SHAPES:
        # One of two stands further along than across, so that one word is the right one.
        across = 0.5 + chance.uniform(-0.12, 0.12, count)
        along += chance.uniform(-0.1, 0.1)
    if count == 2 and chance.random() < 0.5:
        along, across = across, along
    kinds, colours = (chance.choice(list(names), count) for names in (SHAPES, COLOURS))
    return tuple(
        Shape(str(kind), str(colour), float(x), float(y))
        for kind, colour, x, y in zip(kinds, colours, along, across, strict=True)
    )


def drawn(shapes: Sequence[Shape], size: int, chance: np.random.Generator) -> np.ndarray:
    """``shapes`` on a dark ground, with noise: float32[3, size, size], 0 to 255."""
    picture = np.full((3, size, size), chance.uniform(*GROUND))
    places = (np.arange(size) + 0.5) / size
    for shape in shapes:
        radius = chance.uniform(*RADII)
        across, below = np.meshgrid(places - shape.x, places - shape.y)
        far = SHAPES[shape.kind][0](across / radius, below / radius)
        # An edge as wide as a pixel.
        share = np.clip((1 - far) * radius * size + 0.5, 0, 1)
        colour = np.array(COLOURS[shape.colour][0]).reshape(3, 1, 1)
        picture += share * (colour - picture)
    picture += NOISE * chance.normal(size=picture.shape)
    return np.clip(picture, 0, 255).astype(np.float32)


def caption(shapes: Sequence[Shape], language: str) -> str:
    """What ``shapes``, as ``scene`` gives them, are, in a sentence."""
    chinese = language == "chinese"
    names = [
        f"{COLOURS[shape.colour][1]}的{SHAPES[shape.kind][1]}"
        if chinese
        else f"a {shape.colour} {shape.kind}"
        for shape in shapes
    ]
    if len(shapes) == 1:
        return names[0]
    first, second, *third = shapes
    if third:
        comma, last = ("、", "和") if chinese else (", ", " and ")
        return comma.join(names[:-1]) + last + names[-1]
    beside = abs(second.x - first.x) > abs(second.y - first.y)
    if chinese:
        return f"{names[0]}在{names[1]}{'左' if beside else '上'}边"
    return f"{names[0]} {'left of' if beside else 'above'} {names[1]}"


def _split(
    part: np.ndarray, pictures: Sequence[np.ndarray], texts: Sequence[str], vocabulary: Vocabulary
) -> CaptionSplit:
    rows: list[Tensor] = [target_ids(texts[place], vocabulary) for place in part]
    targets = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PADDING_ID)
    stacked = torch.from_numpy(np.stack([pictures[place] for place in part]))
    return CaptionSplit([stacked], targets)
