"""What stands before and after a person's own module, in words and in files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnn_edge.contract import (
    AudioFrontEnd,
    AxisLimits,
    ByteFrontEnd,
    CharacterFrontEnd,
    CtcDecoder,
    Decoder,
    LabelDecoder,
    NextCharacterDecoder,
    TagDecoder,
    TextDecoder,
)
from rnn_edge.errors import InputError
from rnn_edge.sound_features import SoundFeatures
from rnn_edge.source.declarations import Constant, Declaration
from rnn_edge.text_file import read_text

if TYPE_CHECKING:
    from torch import nn

LOG_MEL, MFCC, BYTES = "log-mel", "mfcc", "bytes"
DECODERS = ("labels", "tags", "ctc", "text", "next-character")
PADDING, UNKNOWN, BLANK, END = "<pad>", "<unk>", "<blank>", "<end>"
# Characters that a line cannot hold, or that would not be seen in it.
_ESCAPES = {"\\n": "\n", "\\r": "\r", "\\t": "\t", "\\s": " ", "\\\\": "\\"}
_WHOLE = ("n_mels", "window", "hop", "n_fft", "padding", "lifter")
_DECIMAL = ("low", "high", "floor")
_COEFFICIENTS = "n_mfcc"


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


def read_decoder(kind: str | None, labels: Path | None, front_end: object) -> Decoder | None:
    """The decoder of ``kind`` with the names in ``labels``; of next characters, the front end's.

    Raises InputError for what is missing.
    """
    if kind == "next-character":
        if not isinstance(front_end, CharacterFrontEnd):
            raise InputError("a decoder of next characters must have a vocabulary. Give --vocab.")
        return NextCharacterDecoder(tuple(sorted({front_end.padding, front_end.unknown})))
    if labels is None:
        if kind is not None:
            raise InputError(f"a decoder of {kind} must have names. Give --labels.")
        return None
    names = read_entries(labels)
    if kind == "tags":
        return TagDecoder(names)
    if kind == "ctc":
        blank = names.index(BLANK) if BLANK in names else 0
        return CtcDecoder((*names[:blank], "", *names[blank + 1 :]), blank)
    if kind == "text":
        if END not in names:
            raise InputError(f"{labels} must hold {END}, which ends a text. Add it in its place.")
        return TextDecoder(names, names.index(END))
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


def read_sound_features(text: str) -> SoundFeatures:
    """``log-mel:16000,n_mels=40,window=400`` or ``mfcc:16000,n_mfcc=13``. Raises InputError."""
    kind, _, rest = text.partition(":")
    rate, *pairs = rest.split(",")
    options: dict[str, Any] = {_COEFFICIENTS: 13} if kind == MFCC else {}
    known = {_COEFFICIENTS, *_WHOLE, *_DECIMAL} if kind == MFCC else {*_WHOLE[:5], *_DECIMAL}
    try:
        for pair in pairs:
            name, _, value = pair.partition("=")
            if name not in known:
                raise ValueError
            options[name] = float(value) if name in _DECIMAL else int(value)
        positive = (_COEFFICIENTS, *_WHOLE[:4])
        if kind not in (LOG_MEL, MFCC) or min(options.get(name, 1) for name in positive) < 1:
            raise ValueError
        if min(int(rate), 1 + options.get("padding", 0), 1 + options.get("lifter", 0)) < 1:
            raise ValueError
    except ValueError:
        raise InputError(
            f"a front end must be {BYTES}, {LOG_MEL}:RATE with "
            f"{', '.join((*_WHOLE[:5], *_DECIMAL))}, or "
            f"{MFCC}:RATE with {_COEFFICIENTS} and lifter too, such as "
            f"log-mel:16000,n_mels=40,window=400,hop=160, got {text!r}. Correct it."
        ) from None
    return SoundFeatures(int(rate), **options)


def put_sound_features(
    known: SoundFeatures,
    module: nn.Module,
    declarations: Sequence[Declaration | Constant],
    decoder: Decoder | None,
) -> tuple[nn.Module, dict[str, Any]]:
    """``module`` behind features of sound, and what the export takes beside it: front end, decoder,
    args, axes and limits.

    ``declarations`` are those of what ``module`` takes: features, [batch, frames, bands], and the
    frames of each row, or features alone. Raises InputError.
    """
    import torch

    from rnn_edge.models.log_mel import OnSamples, SoundFeaturesModule

    features, *lengths = declarations
    dims = features.dims if isinstance(features, Declaration) else ()
    bands = dims[-1] if len(dims) == 3 else None
    if bands != known.width or len(lengths) > 1 or not all(d.may_be_lengths for d in lengths):
        raise InputError(
            f"a module behind {LOG_MEL} or {MFCC} must take [batch, frames, {known.width}] and "
            f"maybe the frames of each row, got "
            f"{', '.join(map(str, declarations))}. Correct --input."
        )
    count = known.window + 24 * known.hop
    samples = 0.1 * torch.randn(3, count, generator=torch.Generator().manual_seed(0))
    args: tuple[Any, ...] = (samples,)
    axes: list[tuple[str, ...]] = [("batch", "sequence")]
    if lengths:
        args += (torch.tensor([count, known.window + 3 * known.hop, count - 1]),)
        axes.append(("batch",))
    blank = decoder.blank if isinstance(decoder, CtcDecoder) and lengths else None
    placed = OnSamples(SoundFeaturesModule(known), module, bool(lengths), blank).eval()
    if isinstance(decoder, CtcDecoder):
        decoder = replace(decoder, stride=known.hop)
    limits = {"sequence": AxisLimits(known.shortest)}
    around = {"front_end": AudioFrontEnd(known.rate), "decoder": decoder}
    return placed, {**around, "args": args, "axes": axes, "limits": limits}
