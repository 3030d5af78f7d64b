"""Tunes, and the plain form of ABC notation in which a model reads and writes them.

It has one voice, a key without sharps and flats, and of ABC notation no more than notes, rests,
accidentals, lengths, ties and bars.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
MIDDLE_C = 60
# The pitch classes of a scale without sharps or flats, and how each of the twelve is spelled there.
WHITE = frozenset(LETTERS.values())
SPELLED = ("C", "^C", "D", "_E", "E", "F", "^F", "G", "^G", "A", "_B", "B")
# The keys without sharps or flats, by what their mode adds to the sharps of a major scale.
PLAIN_KEYS = {0: "C", -3: "Am", 1: "Flyd", -1: "Gmix", -2: "Ddor", -4: "Ephr", -5: "Bloc"}
LONGEST = 8  # of one note, in whole notes

_HEADER = re.compile(rf"\s*R:(.*)\nM:([1-9]\d?)/([1-9]\d?)\nK:({'|'.join(PLAIN_KEYS.values())})\n")
_NOTE = re.compile(r"([\^_=]?)([A-Ga-gz])([,']*)(\d{0,4})(?:/(\d{1,4}))?(-?)")


@dataclass(frozen=True)
class Note:
    """``pitch`` as MIDI has it (60 is middle C), None for a rest; ``length`` in whole notes.

    A ``tied`` note sounds on in the next one, of the same pitch.
    """

    pitch: int | None
    length: Fraction
    tied: bool = False


Bar = tuple[Note, ...]


@dataclass(frozen=True)
class Tune:
    """One voice. ``metre`` is (6, 8); ``key`` is one of PLAIN_KEYS."""

    style: str
    metre: tuple[int, int]
    key: str
    bars: tuple[Bar, ...]
    title: str = ""

    @property
    def notes(self) -> tuple[Note, ...]:
        """All notes in order, tied ones joined."""
        found: list[Note] = []
        for note in (note for bar in self.bars for note in bar):
            last = found[-1] if found else None
            if last is not None and last.tied and last.pitch == note.pitch:
                found[-1] = Note(note.pitch, last.length + note.length, note.tied)
            else:
                found.append(note)
        return tuple(replace(note, tied=False) for note in found)

    def uneven_bars(self) -> list[int]:
        """Bars, counted from 1, that are not as long as the metre says.

        The first one may be shorter (an upbeat) where the last one makes it up.
        """
        whole = Fraction(*self.metre)
        lengths = [sum((note.length for note in bar), Fraction()) for bar in self.bars]
        if len(lengths) > 1 and lengths[0] < whole and lengths[0] + lengths[-1] == whole:
            lengths[0] = lengths[-1] = whole
        return [place for place, length in enumerate(lengths, 1) if length != whole]


def longest_tune(text: str) -> tuple[Tune | None, str]:
    """The tune that ``text`` begins with, as far as it is one in the plain form, and what is wrong
    behind it or "". None where no note is read.
    """
    header = _HEADER.match(text)
    if header is None:
        return None, f"no lines R:, M: and K: before its notes, as {text[:20]!r}"
    style, numerator, denominator, key = header.groups()
    metre = int(numerator), int(denominator)
    bars, fault = _read_bars(text[header.end() :].rstrip("\n"), default_unit(metre))
    tune = Tune(style, metre, key, bars)
    return (tune if any(note.pitch is not None for note in tune.notes) else None), fault


def shifted(bars: Sequence[Bar], shift: int) -> tuple[Bar, ...]:
    """``bars`` higher by ``shift`` semitones."""
    return tuple(
        tuple(
            note if note.pitch is None else replace(note, pitch=note.pitch + shift) for note in bar
        )
        for bar in bars
    )


def write_tune(tune: Tune) -> str:
    """Lines R:, M: and K:, and one of bars; lengths in the unit that ABC takes for the metre."""
    unit = default_unit(tune.metre)
    body = "|".join(_write_bar(bar, unit) for bar in tune.bars)
    numerator, denominator = tune.metre
    return f"R:{tune.style}\nM:{numerator}/{denominator}\nK:{tune.key}\n{body}|\n"


def default_unit(metre: tuple[int, int]) -> Fraction:
    """What the length 1 stands for where there is no L:, in whole notes."""
    return Fraction(1, 16) if Fraction(*metre) < Fraction(3, 4) else Fraction(1, 8)


def _write_bar(bar: Bar, unit: Fraction) -> str:
    signs: dict[str, str] = {}
    return "".join(_write_note(note, unit, signs) for note in bar)


def _write_note(note: Note, unit: Fraction, signs: dict[str, str]) -> str:
    name = "z" if note.pitch is None else _write_pitch(note.pitch, signs)
    length = note.length / unit
    above = "" if length.numerator == 1 else str(length.numerator)
    below = "" if length.denominator == 1 else f"/{length.denominator}"
    return f"{name}{above}{below}{'-' if note.tied else ''}"


def _write_pitch(pitch: int, signs: dict[str, str]) -> str:
    octave, place = divmod(pitch - MIDDLE_C, 12)
    letter, sign = SPELLED[place][-1], SPELLED[place][:-1]
    name = letter + "," * -octave if octave < 1 else letter.lower() + "'" * (octave - 1)
    shown = "" if sign == signs.get(letter, "") else sign or "="
    signs[letter] = sign
    return shown + name


def _read_bars(line: str, unit: Fraction) -> tuple[tuple[Bar, ...], str]:
    """The bars of ``line`` up to what is no ABC of the plain form, and that."""
    bars: list[Bar] = []
    bar: list[Note] = []
    signs: dict[str, int] = {}
    place = 0
    while place < len(line):
        if line[place] == "|":
            if bar:
                bars.append(tuple(bar))
            bar, signs = [], {}
        if line[place] in "| ":
            place += 1
            continue
        found = _NOTE.match(line, place)
        note = found and _read_note(found, unit, signs)
        if found is None or note is None:
            shown = (found.group() if found else line[place])[:20]
            return (*bars, tuple(bar)), f"{shown!r} at note {len(bar) + 1} of bar {len(bars) + 1}"
        bar.append(note)
        place = found.end()
    return ((*bars, tuple(bar)) if bar else tuple(bars)), ""


def _read_note(found: re.Match[str], unit: Fraction, signs: dict[str, int]) -> Note | None:
    """None where the note is out of the reach of MIDI, or its length none or too long."""
    sign, letter, octaves, above, below, tie = found.groups()
    divisor = int(below or 1)
    length = unit * int(above or 1) / divisor if divisor else Fraction(0)
    if not 0 < length <= LONGEST:
        return None
    if letter == "z":
        return Note(None, length)
    octave = octaves.count("'") - octaves.count(",") + letter.islower()
    name = letter.upper()
    if sign:
        signs[name] = {"^": 1, "=": 0, "_": -1}[sign]
    pitch = MIDDLE_C + LETTERS[name] + 12 * octave + signs.get(name, 0)
    return Note(pitch, length, bool(tie)) if 0 <= pitch <= 127 else None
