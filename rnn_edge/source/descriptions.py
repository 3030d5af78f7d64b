"""What stands before and after a person's own module, in words and in files."""

from __future__ import annotations

from pathlib import Path

from rnn_edge.contract import (
    ByteFrontEnd,
    CharacterFrontEnd,
    CtcDecoder,
    Decoder,
    LabelDecoder,
    NextCharacterDecoder,
    TagDecoder,
    TextDecoder,
    ValueDecoder,
)
from rnn_edge.errors import InputError
from rnn_edge.sound_features import BYTES, SoundFeatures, read_sound_features
from rnn_edge.text_file import read_text

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
    """Characters by id, among them <unk>, and <pad> or else 0 fills up. Raises InputError."""
    entries = read_entries(path)
    wrong = next((e for e in entries if len(e) != 1 and e not in (PADDING, UNKNOWN, END)), None)
    if wrong is not None or UNKNOWN not in entries:
        found = "no <unk>" if wrong is None else repr(wrong)
        raise InputError(
            f"{path} must hold one character a line, <pad> and <unk>, got {found}. Correct it."
        )
    padding = entries.index(PADDING) if PADDING in entries else 0
    return CharacterFrontEnd(entries, entries.index(UNKNOWN), padding)


def read_decoder(
    kind: str | None,
    labels: Path | None,
    front_end: object,
    steps: int | None = None,
    beams: int | None = None,
) -> Decoder | None:
    """The decoder of ``kind`` with the names in ``labels``; of next characters, the front end's.

    Of a text that begins with <start>, ``steps`` is how long it may be, ``beams`` how many are in
    view. Raises InputError for what is missing.
    """
    if (steps or beams) and (kind != "text" or labels is None or START not in read_entries(labels)):
        raise InputError(
            f"--steps and --beams go with --decoder text and names that hold {START}, which begins "
            "a text. Leave them out, or add it in its place."
        )
    if kind == "next-character":
        if isinstance(front_end, ByteFrontEnd):
            return NextCharacterDecoder()  # of bytes alone: the export knows how many ids there are
        if not isinstance(front_end, CharacterFrontEnd):
            raise InputError(
                "a decoder of next characters must have a vocabulary, or read bytes. Give --vocab, "
                "or --front-end bytes."
            )
        return NextCharacterDecoder(tuple(sorted({front_end.padding, front_end.unknown})))
    if labels is None:
        if kind is not None:
            raise InputError(f"a decoder of {kind} must have names. Give --labels.")
        return None
    names = read_entries(labels)
    if kind == "tags":
        return TagDecoder(names)
    if kind == "values":
        return ValueDecoder(names)
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
) -> SoundFeatures | CharacterFrontEnd | ByteFrontEnd | None:
    """What --front-end or --vocab say. Raises InputError."""
    if text is not None and vocab is not None:
        raise InputError("a front end must be one, got --front-end and --vocab. Leave one out.")
    if vocab is not None:
        return read_vocabulary(vocab)
    if text is None:
        return None
    return read_bytes(text) if text.partition(":")[0] == BYTES else read_sound_features(text)


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
