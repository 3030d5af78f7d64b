"""Tunes from files: ABC notation by music21, MIDI by mido, each put into a plain key."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from rnn_edge.abc_notation import PLAIN_KEYS, WHITE, Bar, Note, Tune, default_unit, shifted
from rnn_edge.errors import DataError
from rnn_edge.extras import import_extra

# Notes of MIDI files begin on multiples of this, in whole notes: sixteenths and their triplets.
GRID = Fraction(1, 48)
# Sharps that a mode adds to those of the major scale on the same note.
MODE_SHARPS = {
    **{"major": 0, "ionian": 0, "minor": -3, "aeolian": -3},
    **{"lydian": 1, "mixolydian": -1, "dorian": -2, "phrygian": -4, "locrian": -5},
}

# From this version of ABC on, a sharp holds for its letter, in all octaves, up to the bar.
VERSION = "%abc-2.1"
COMMON = {"": "4/4", "C": "4/4", "C|": "2/2", "none": "4/4"}

_METRE = re.compile(r"([1-9]\d?)/([1-9]\d?)")
_INLINE = re.compile(r"\[([KMLV]):([^\]\n]*)\]")
_KEY = re.compile(r"^K:\s*[A-G][#b]?", re.MULTILINE)
_CLEF = re.compile(r"^(K:[^\n]*?)\s+\w+=[^\n]*", re.MULTILINE)
_NO_NOTES = re.compile(r"\"[^\"\n]*\"|%[^\n]*")


def read_abc(text: str, source: str, style: str = "") -> list[Tune]:
    """The tunes of an ABC file; one begins with X: or behind a blank line.

    ``style`` is that of tunes without R:. Read is the first voice, of a chord its highest note, and
    repeats once; grace notes, chord names, words and decorations are passed over. Raises DataError,
    which names the tune.
    """
    tunes = []
    blocks = re.split(r"\n[ \t]*\n+|\n(?=X:)", text.replace("\r\n", "\n"))
    for number, block in enumerate((block for block in blocks if "\nK:" in f"\n{block}"), 1):
        title = _field(block, "T") or f"number {number}"
        try:
            tune = _read_tune(block, style)
        # What is no ABC fails in music21 in many ways.
        except Exception as error:  # noqa: BLE001
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DataError(
                f"{source} must be ABC notation, tune {title!r} cannot be read: {reason}. "
                "Correct it."
            ) from None
        if tune.notes:
            tunes.append(tune)
    if not tunes:
        raise DataError(f"{source} must hold tunes in ABC notation, it has none. Add some.")
    return tunes


def read_midi(content: bytes, source: str, style: str) -> Tune:
    """The highest voice of the track with most notes, in bars, in the scale without sharps and
    flats that most notes are of. Raises DataError.
    """
    mido = import_extra("mido")
    try:
        file = mido.MidiFile(file=io.BytesIO(content))
    # A cut or foreign file fails in mido in many ways.
    except (OSError, EOFError, ValueError, KeyError, IndexError) as error:
        raise DataError(
            f"{source} must be a MIDI file, it cannot be read: {error}. Convert it."
        ) from None
    tracks = [_sounding(track, file.ticks_per_beat) for track in file.tracks]
    notes = max(tracks, key=len, default=[])
    if not notes:
        raise DataError(f"{source} must hold notes, it has none. Leave it out.")
    metres = [
        (message.numerator, message.denominator)
        for track in file.tracks
        for message in track
        if message.type == "time_signature"
    ]
    metre = metres[0] if metres else (4, 4)
    bars = tuple(_bars(list(_melody(notes)), Fraction(*metre)))
    return Tune(style, metre, "C", shifted(bars, _plainest(bars)), Path(source).stem)


def _read_tune(block: str, style: str) -> Tune:
    music21 = import_extra("music21")
    part = music21.converter.parseData(_prepared(block), format="abc").parts[0]
    signature = part.flatten().getElementsByClass(music21.key.KeySignature)[0]
    metre = part.flatten().getElementsByClass(music21.meter.TimeSignature)[0]
    mode = MODE_SHARPS[getattr(signature, "mode", None) or "major"]
    shift = (6 - 7 * signature.sharps) % 12 - 6
    measures = list(part.getElementsByClass("Measure")) or list(
        part.makeMeasures().getElementsByClass("Measure")
    )
    bars = [tuple(_notes(measure.notesAndRests)) for measure in measures]
    return Tune(
        (_field(block, "R") or style).lower(),
        (metre.numerator, metre.denominator),
        PLAIN_KEYS[mode],
        shifted([bar for bar in bars if bar], shift),
        _field(block, "T"),
    )


def _prepared(block: str) -> str:
    """``block`` with what music21 asks for and passes over: X:, M: and L:, fields in lines of their
    own, and rests that are not printed as rests.
    """
    if not _KEY.search(block):
        raise DataError(f"no key that is known in K:{_field(block, 'K')}")
    lines = [VERSION] if re.search(r"^X:", block, re.MULTILINE) else [VERSION, "X:1"]
    for line in _CLEF.sub(r"\1", _INLINE.sub(r"\n\1:\2\n", block)).split("\n"):
        is_field = re.match(r"[A-Za-z]:|%%", line)
        lines.append(line if is_field else _NO_NOTES.sub("", line).replace("x", "z"))
    metre = COMMON.get(_field(block, "M"), _field(block, "M"))
    found = _METRE.fullmatch(metre)
    if found is None:
        raise DataError(f"no metre such as 6/8 in M:{metre}")
    unit = _field(block, "L") or str(default_unit((int(found.group(1)), int(found.group(2)))))
    place = next(place for place, line in enumerate(lines) if line.startswith("K:"))
    lines[place:place] = [f"M:{metre}", f"L:{unit}"]
    return "\n".join(lines)


def _field(block: str, name: str) -> str:
    """What the first line of the header that begins with ``name`` and a colon says, or ""."""
    found = re.search(rf"^{name}:[ \t]*([^%\n]*)", block, re.MULTILINE)
    return found.group(1).strip() if found else ""


def _notes(elements: Any) -> Iterator[Note]:
    for element in elements:
        length = Fraction(element.quarterLength) / 4
        if not length:  # a grace note
            continue
        if element.isRest:
            yield Note(None, length)
            continue
        pitch = max(round(each.ps) for each in element.pitches)
        if not 0 <= pitch <= 127:
            raise DataError(f"a note out of the reach of MIDI, {element.pitches[0]},")
        tied = element.tie is not None and element.tie.type in ("start", "continue")
        yield Note(pitch, length, tied)


def _sounding(track: Any, ticks_a_beat: int) -> list[tuple[Fraction, Fraction, int]]:
    """Start, end (in whole notes, on GRID) and pitch of every note; drums are none."""
    found, begun, tick = [], dict[tuple[int, int], int](), 0
    for message in track:
        tick += message.time
        if message.type not in ("note_on", "note_off") or message.channel == 9:
            continue
        key = (message.channel, message.note)
        if key in begun:
            start, end = (
                round(Fraction(at, 4 * ticks_a_beat) / GRID) * GRID for at in (begun.pop(key), tick)
            )
            if end > start:
                found.append((start, end, message.note))
        if message.type == "note_on" and message.velocity:
            begun[key] = tick
    return found


def _melody(notes: Sequence[tuple[Fraction, Fraction, int]]) -> Iterator[Note]:
    """One note after the other, with rests; of those that begin together the highest."""
    highest: dict[Fraction, tuple[Fraction, int]] = {}
    for start, end, pitch in notes:
        if start not in highest or pitch > highest[start][1]:
            highest[start] = (end, pitch)
    starts = sorted(highest)
    now = Fraction()
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        if start > now:
            yield Note(None, start - now)
        end, pitch = highest[start]
        now = end if following is None else min(end, following)
        yield Note(pitch, now - start)


def _bars(notes: list[Note], whole: Fraction) -> Iterator[Bar]:
    """Notes cut where a bar ends, and tied over; the last bar is filled with a rest."""
    bar: list[Note] = []
    left = whole
    for note in notes:
        length = note.length
        while length > left:
            bar.append(Note(note.pitch, left, tied=note.pitch is not None))
            length -= left
            yield tuple(bar)
            bar, left = [], whole
        bar.append(Note(note.pitch, length))
        left -= length
        if not left:
            yield tuple(bar)
            bar, left = [], whole
    if bar:
        yield (*bar, Note(None, left))


def _plainest(bars: Sequence[Bar]) -> int:
    """The least shift that leaves the fewest notes with a sharp or a flat."""
    pitches = [note.pitch for bar in bars for note in bar if note.pitch is not None]

    def signs(shift: int) -> int:
        return sum((pitch + shift) % 12 not in WHITE for pitch in pitches)

    return min(range(-6, 6), key=lambda shift: (signs(shift), abs(shift)))
