"""The kinds of front ends and of decoders: what a person has, and what a person reads.

``rnn_edge.contract`` gives them all by name too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

# --- Front ends: what a person has -> the graph's inputs -------------------------------------


@dataclass(frozen=True)
class CharacterFrontEnd:
    """Text to token ids, one a character: the id is the place in ``vocabulary``.

    A character that is not in the vocabulary gets ``unknown``; rows are filled up with ``padding``.
    """

    vocabulary: tuple[str, ...]
    unknown: int
    padding: int
    kind: str = "characters"


@dataclass(frozen=True)
class ByteFrontEnd:
    """Text to token ids, one a byte of its UTF-8: the byte's value and ``offset``.

    There is no byte that is unknown; rows are filled up with ``padding``.
    """

    offset: int = 0
    padding: int = 0
    kind: str = "bytes"


@dataclass(frozen=True)
class SeriesFrontEnd:
    """Numbers, one row a time step and one column a feature, as they are measured.

    The graph itself normalises with ``mean`` and ``std``; they stand here to be read.
    """

    columns: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    kind: str = "series"


@dataclass(frozen=True)
class ImageFrontEnd:
    """A grey image, bright on dark, values 0 to ``maximum``; its rows are the time steps.

    The graph itself scales the values.
    """

    height: int
    width: int
    maximum: float = 255.0
    kind: str = "image"


@dataclass(frozen=True)
class AudioFrontEnd:
    """Samples of one channel, from -1 to 1, ``rate`` of them a second.

    The graph itself computes features; ``features`` says which, where they were put in front of a
    module that reads features. Sound of another rate must be resampled before.
    """

    rate: int
    features: str | None = None
    kind: str = "audio"


@dataclass(frozen=True)
class ClipFrontEnd:
    """Grey frames of a moving picture, values 0 to ``maximum``, scaled to one size.

    The graph itself scales the values.
    """

    height: int
    width: int
    maximum: float = 255.0
    kind: str = "clip"


@dataclass(frozen=True)
class PictureFrontEnd:
    """A picture in red, green and blue, values 0 to ``maximum``, scaled to one size.

    The graph takes the colours one after the other, [3, height, width], and scales the values.
    """

    height: int
    width: int
    maximum: float = 255.0
    kind: str = "picture"


FrontEnd = (
    CharacterFrontEnd
    | ByteFrontEnd
    | SeriesFrontEnd
    | ImageFrontEnd
    | AudioFrontEnd
    | ClipFrontEnd
    | PictureFrontEnd
)


# --- Decoders: the graph's first output -> what a person reads -------------------------------


@dataclass(frozen=True)
class LabelDecoder:
    """Logits over ``labels`` on the last axis; softmax gives the probabilities."""

    labels: tuple[str, ...]
    kind: str = "labels"


@dataclass(frozen=True)
class ValueDecoder:
    """Numbers in the units of ``columns``."""

    columns: tuple[str, ...]
    kind: str = "values"


@dataclass(frozen=True)
class NextCharacterDecoder:
    """Logits of the next character at every step, over the front end's vocabulary.

    ``never`` lists ids that are not to be sampled (padding, unknown). Of a model that writes tunes
    in ABC notation, ``styles`` are those that ``R:`` may name, and an empty line ends a tune.
    """

    never: tuple[int, ...] = ()
    styles: tuple[str, ...] = ()
    kind: str = "next-character"


@dataclass(frozen=True)
class TagDecoder:
    """Places among ``labels``, integers, one a step of the input.

    Labels may mark spans: B-X begins one of kind X, I-X goes on with it, O stands outside.
    """

    labels: tuple[str, ...]
    kind: str = "tags"

    @staticmethod
    def spans(labels: Sequence[str]) -> list[tuple[str, int, int]]:
        """Kind, first step and end of each span; of other labels than B-, I-, O each run."""
        found: list[tuple[str, int, int]] = []
        for place, label in enumerate(labels):
            kind = label[2:] if label.startswith(("B-", "I-")) else label
            goes_on = found and found[-1][0] == kind and found[-1][2] == place
            if goes_on and not label.startswith("B-"):
                found[-1] = (kind, found[-1][1], place + 1)
            elif label != "O":
                found.append((kind, place, place + 1))
        return found


@dataclass(frozen=True)
class CtcDecoder:
    """Log-probabilities of ``labels`` at every frame: connectionist temporal classification.

    Of the likeliest label of each frame, those that repeat the frame before and those that are
    ``blank`` are left out; the others are the text. A frame stands for ``stride`` steps of the
    input.
    """

    labels: tuple[str, ...]
    blank: int = 0
    stride: int = 1
    kind: str = "ctc"


@dataclass(frozen=True)
class TextDecoder:
    """Places in ``vocabulary``, integers, the characters of a text; ``end`` stands behind it.

    An output ``log_probabilities`` of the same shape holds each place's, given those before it.

    With ``start`` the model gives logits of the next place instead, after what it is about and the
    places before: a text begins with ``start``, is ``steps`` places long at most, holds none of
    ``never``, and is the likeliest that ``beams`` texts in view find.
    """

    vocabulary: tuple[str, ...]
    end: int
    start: int | None = None
    never: tuple[int, ...] = ()
    steps: int = 200
    beams: int = 1
    kind: str = "text"


Decoder = LabelDecoder | ValueDecoder | NextCharacterDecoder | TagDecoder | CtcDecoder | TextDecoder


def is_written(decoder: Decoder | None) -> TypeGuard[NextCharacterDecoder | TextDecoder]:
    """Whether texts are written place by place: the model gives logits of the next one."""
    if isinstance(decoder, TextDecoder):
        return decoder.start is not None
    return isinstance(decoder, NextCharacterDecoder)


FRONT_ENDS: dict[str, type[FrontEnd]] = {
    "characters": CharacterFrontEnd,
    "bytes": ByteFrontEnd,
    "series": SeriesFrontEnd,
    "image": ImageFrontEnd,
    "audio": AudioFrontEnd,
    "clip": ClipFrontEnd,
    "picture": PictureFrontEnd,
}
DECODERS: dict[str, type[Decoder]] = {
    "labels": LabelDecoder,
    "values": ValueDecoder,
    "next-character": NextCharacterDecoder,
    "tags": TagDecoder,
    "ctc": CtcDecoder,
    "text": TextDecoder,
}
