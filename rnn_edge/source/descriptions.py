"""What stands before and after a person's own module, in words and in files."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from rnn_edge.contract import (
    AudioFrontEnd,
    ByteFrontEnd,
    CharacterFrontEnd,
    CtcDecoder,
    Decoder,
    FrontEnd,
    LabelDecoder,
    NextCharacterDecoder,
    TagDecoder,
    TextDecoder,
)
from rnn_edge.errors import InputError
from rnn_edge.scales import Scales, read_scales
from rnn_edge.sound_features import BYTES, SAMPLES, SERIES, SoundFeatures, read_sound_features
from rnn_edge.text_file import read_text

Described = TypeVar("Described")

DECODERS = ("labels", "values", "tags", "ctc", "text", "next-character")
PADDING, UNKNOWN, BLANK, START, END = "<pad>", "<unk>", "<blank>", "<start>", "<end>"
# Characters that a line cannot hold, or that would not be seen in it.
_ESCAPES = {"\\n": "\n", "\\r": "\r", "\\t": "\t", "\\s": " ", "\\\\": "\\"}


def read_entries(path: Path) -> tuple[str, ...]:
    """One entry a line, the first is number 0; \\n, \\r, \\t, \\s (space) and \\\\ as escapes."""
    lines = read_text(path).removesuffix("\n").split("\n")
    entries = tuple(_ESCAPES.get(line, line) for line in lines)
    repeated = next((entry for entry in entries if entry and entries.count(entry) > 1), None)
    if repeated is not None:
        raise InputError(f"entries of {path} must differ, got {repeated!r} twice. Remove one.")
    return entries


def read_vocabulary(path: Path) -> CharacterFrontEnd:
    """Characters by id; <pad>, or else 0, fills up, and <unk>, or else a space, or else 0, is what
    others are read as. Raises InputError.
    """
    entries = read_entries(path)
    special = (PADDING, UNKNOWN, START, END)
    wrong = next((e for e in entries if len(e) != 1 and e not in special), None)
    if wrong is not None:
        raise InputError(
            f"{path} must hold one character a line, or one of {', '.join(special)}, got "
            f"{wrong!r}. Correct it."
        )
    known = {entry: place for place, entry in enumerate(entries)}
    unknown = known.get(UNKNOWN, known.get(" ", 0))
    return CharacterFrontEnd(entries, unknown, known.get(PADDING, 0))


def read_decoder(
    kind: str | None,
    labels: Path | None,
    front_end: object,
    steps: int | None = None,
    beams: int | None = None,
) -> Decoder | Scales | None:
    """The decoder of ``kind`` with the names in ``labels``; of next characters, the front end's.

    Of values a name may have its scale, as name,mean,std. Of a text that begins with <start>,
    ``steps`` is how long it may be, ``beams`` how many are in view. Raises InputError for what is
    missing.
    """
    if (steps or beams) and (kind != "text" or labels is None or START not in read_entries(labels)):
        raise InputError(
            f"--steps and --beams go with --decoder text and names that hold {START}, which begins "
            "a text. Leave them out, or add it in its place."
        )
    if kind == "next-character":
        if not isinstance(front_end, CharacterFrontEnd):
            return NextCharacterDecoder()  # of bytes, or ids: the export knows how many there are
        # Where a character fills up, or stands for unknown ones, it may come.
        never = [n for n, e in enumerate(front_end.vocabulary) if e in (PADDING, UNKNOWN, START)]
        return NextCharacterDecoder(tuple(never))
    if labels is None:
        if kind is not None:
            raise InputError(f"a decoder of {kind} must have names. Give --labels.")
        return None
    if kind == "values":
        scales = read_scales(read_text(labels), str(labels))
        return scales.decoder if scales.plain else scales
    names = read_entries(labels)
    if kind == "tags":
        return TagDecoder(names)
    if kind == "ctc":
        blank = names.index(BLANK) if BLANK in names else 0
        return CtcDecoder((*names[:blank], "", *names[blank + 1 :]), blank)
    if kind == "text":
        if END not in names:
            raise InputError(f"{labels} must hold {END}, which ends a text. Add it in its place.")
        if START not in names:
            return TextDecoder(names, names.index(END))
        never = [place for place, name in enumerate(names) if name in (PADDING, UNKNOWN, START)]
        start = never[[names[place] for place in never].index(START)]
        return TextDecoder(
            names, names.index(END), start, tuple(never), steps or TextDecoder.steps, beams or 1
        )
    return LabelDecoder(names)


def read_front_end(
    text: str | None, vocab: Path | None
) -> SoundFeatures | Scales | FrontEnd | None:
    """What --front-end or --vocab say. Raises InputError."""
    if text is not None and vocab is not None:
        raise InputError("a front end must be one, got --front-end and --vocab. Leave one out.")
    if vocab is not None:
        return read_vocabulary(vocab)
    if text is None:
        return None
    kind, _, rest = text.partition(":")
    if kind == BYTES:
        return read_bytes(text)
    if kind == SERIES:
        scales = read_scales(read_text(Path(rest)), rest)
        return scales.front_end if scales.plain else scales
    if kind == SAMPLES:
        if not rest.isdecimal() or int(rest) < 1:
            raise InputError(
                f"a front end of samples must be {SAMPLES}:RATE, such as samples:16000, got "
                f"{text!r}. Correct it."
            )
        return AudioFrontEnd(int(rest))
    return read_sound_features(text)


def read_bytes(text: str) -> ByteFrontEnd:
    """``bytes`` or ``bytes:offset=1,padding=0``. Raises InputError."""
    pairs = [pair.partition("=")[::2] for pair in text.partition(":")[2].split(",") if pair]
    if any(name not in ("offset", "padding") or not value.isdecimal() for name, value in pairs):
        raise InputError(
            f"a front end of bytes must be {BYTES}:offset=NUMBER,padding=NUMBER, got {text!r}. "
            "Correct it."
        )
    given = {name: int(value) for name, value in pairs}
    return ByteFrontEnd(given.get("offset", 0), given.get("padding", 0))


def without_scales(described: Described | Scales) -> Described:
    """``described``. Raises InputError where numbers are to be scaled around a module."""
    if not isinstance(described, Scales):
        return described
    raise InputError(
        f"a module must scale numbers itself, got the mean and std of "
        f"{', '.join(described.columns)}. Do it in forward() and give the names alone, or scale "
        "those of an .onnx with rnn-edge pipeline."
    )
