"""Tunes in ABC notation: one voice read from what people write, and written in one plain form.

Read are keys with modes, lengths, accidentals within a bar, ties, tuplets, broken rhythm, rests and
chords (their highest note). Chord names, decorations, grace notes, slurs, words and further voices
are passed over; repeats stand once, as they are written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from rnn_edge.errors import DataError

LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
MIDDLE_C = 60
# The pitch classes of a scale without sharps or flats, and how each of the twelve is spelled there.
WHITE = frozenset(LETTERS.values())
SPELLED = ("C", "^C", "D", "_E", "E", "F", "^F", "G", "^G", "A", "_B", "B")
SHARPS, FLATS = "FCGDAEB", "BEADGCF"
# Sharps of the major scale on each letter, and what a mode adds to them.
MAJOR_SHARPS = {"F": -1, "C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5}
MODE_SHARPS = {
    **{"": 0, "maj": 0, "ion": 0, "m": -3, "min": -3, "aeo": -3},
    **{"lyd": 1, "mix": -1, "dor": -2, "phr": -4, "loc": -5},
}
# Which note the scale without sharps or flats begins on in each mode.
PLAIN_KEYS = {0: "C", -3: "Am", 1: "Flyd", -1: "Gmix", -2: "Ddor", -4: "Ephr", -5: "Bloc"}
# How many notes are played in the time of how many: (3abc is three in the time of two.
TUPLETS = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}
COMPOUND_TUPLETS = (5, 7, 9)
LONGEST = 8  # of one note, in whole notes

_FIELD = re.compile(r"^([A-Za-z]):(.*)$")
_KEY = re.compile(r"\s*([A-G])([#b]?)\s*([A-Za-z]*)")
_METRE = re.compile(r"\s*(\d+)/(\d+)\s*$")
_NOTE = re.compile(r"(\^\^|\^|__|_|=)?([A-Ga-g])([,']*)")
_LENGTH = re.compile(r"(\d*)(/*)(\d*)")
_PASSED = re.compile(
    r"\s+|\"[^\"]*\"|![^!\n]*!|\+[^+\n]*\+|\{[^}\n]*\}|\[(?![KMLkml]:)[A-Za-z]:[^\]\n]*\]"
    r"|[~.HLMOPSTuvJR](?=[\^_=A-Ga-g~.\[(])|\((?!\d)|\)|\\|`|\*|y|&(?=\s*$)"
)
_BAR = re.compile(r":*\|[\]|:]*(?:\[?[1-9][0-9,-]*)?|\[\||::|\[[1-9][0-9,-]*")
_TUPLET = re.compile(r"\((\d)(?::(\d?))?(?::(\d?))?")


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
    """One voice. ``metre`` is (6, 8); ``key`` is what stands behind K:."""

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


def read_tunes(text: str, source: str, style: str = "") -> list[Tune]:
    """The tunes of an ABC file; one begins with X: or behind a blank line.

    ``style`` is that of tunes without R:. Raises DataError, which names the tune and the place.
    """
    tunes = []
    for number, part in enumerate(_parts(text), 1):
        reader = _Reader(style)
        try:
            reader.read(part)
        except _NotationError as fault:
            title = reader.title or f"number {number}"
            raise DataError(
                f"{source} must be ABC notation, tune {title!r} has {fault}. Correct it."
            ) from None
        if reader.bars or reader.bar:
            tunes.append(reader.tune())
    if not tunes:
        raise DataError(f"{source} must hold tunes in ABC notation, it has none. Add some.")
    return tunes


def longest_tune(text: str) -> tuple[Tune | None, str]:
    """The tune that ``text`` begins with, as far as it is one, and what is wrong behind it or "".

    None where no note is read.
    """
    reader, fault = _Reader(""), ""
    try:
        reader.read(text)
    except _NotationError as found:
        fault = str(found)
    tune = reader.tune() if reader.key else None
    return (tune if tune and any(note.pitch is not None for note in tune.notes) else None), fault


def transposed(tune: Tune) -> Tune:
    """``tune`` in the key of its mode that has no sharps and no flats, up or down the least."""
    letter, sign, mode = _key_parts(tune.key)
    tonic = LETTERS[letter] + {"#": 1, "b": -1, "": 0}[sign]
    plain = PLAIN_KEYS[MODE_SHARPS[mode]]
    shift = (LETTERS[plain[0]] - tonic + 6) % 12 - 6
    return replace(tune, key=plain, bars=shifted(tune.bars, shift))


def shifted(bars: Sequence[Bar], shift: int) -> tuple[Bar, ...]:
    """``bars`` higher by ``shift`` semitones."""
    return tuple(
        tuple(
            note if note.pitch is None else replace(note, pitch=note.pitch + shift) for note in bar
        )
        for bar in bars
    )


def write_tune(tune: Tune) -> str:
    """Lines R:, M: and K:, and one of bars; lengths in the unit that ABC takes for the metre.

    ``tune`` must be in a key without sharps and flats (``transposed``).
    """
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
    shown = "" if sign == signs.get(name, "") else sign or "="
    signs[name] = sign
    return shown + name


def _parts(text: str) -> Iterator[str]:
    for block in re.split(r"\n[ \t]*\n+|\n(?=X:)", text):
        if re.search(r"^K:", block, re.MULTILINE):
            yield block


def _key_parts(value: str) -> tuple[str, str, str]:
    found = _KEY.match(value)
    mode = found.group(3).lower() if found else ""
    mode = mode if mode == "m" else mode[:3]
    if found is None or mode not in MODE_SHARPS:
        raise _NotationError(f"no key that is known in K:{value}")
    return found.group(1), found.group(2), mode


class _NotationError(Exception):
    """What is wrong, where."""


class _Reader:
    """Reads one tune; what was read up to a fault stays."""

    def __init__(self, style: str) -> None:
        self.style, self.title, self.key = style, "", ""
        self.metre, self.unit = (4, 4), Fraction(0)
        self.bars: list[Bar] = []
        self.bar: list[Note] = []
        self._signs: dict[str, int] = {}
        self._here: dict[str, int] = {}
        self._voice: str | None = None
        self._heard = True
        self._tuplet, self._left = Fraction(1), 0
        self._broken: Fraction | None = None

    def read(self, text: str) -> None:
        for number, line in enumerate(text.split("\n"), 1):
            try:
                self._line(line)
            except _NotationError as fault:
                raise _NotationError(f"{fault} in line {number}") from None

    def tune(self) -> Tune:
        bars = [*self.bars, *([tuple(self.bar)] if self.bar else [])]
        return Tune(self.style, self.metre, self.key, tuple(bars), self.title)

    def _line(self, line: str) -> None:
        line = line.partition("%")[0].rstrip()
        field = _FIELD.match(line)
        if field:
            self._field(field.group(1), field.group(2).strip())
        elif line and not self.key:
            raise _NotationError(f"{line[:20]!r} before its key, K:,")
        elif line and self._heard:
            self._music(line)

    def _field(self, name: str, value: str) -> None:
        if name == "R":
            self.style = value.lower()
        elif name == "T":
            self.title = self.title or value
        elif name == "M":
            self._set_metre(value)
        elif name == "L":
            found = _METRE.match(value)
            if found is None or not int(found.group(2)) or not int(found.group(1)):
                raise _NotationError(f"no length such as 1/8 in L:{value}")
            self.unit = Fraction(int(found.group(1)), int(found.group(2)))
        elif name == "K":
            self._set_key(value)
        elif name == "V":
            voice = value.split()[0] if value else ""
            self._voice = voice if self._voice is None else self._voice
            self._heard = voice == self._voice

    def _set_metre(self, value: str) -> None:
        found = _METRE.match({"C": "4/4", "C|": "2/2"}.get(value, value))
        if found is None or not int(found.group(1)) or not int(found.group(2)):
            raise _NotationError(f"no metre such as 6/8 in M:{value}")
        if self.bars:
            raise _NotationError(f"a second metre, M:{value},")
        self.metre = (int(found.group(1)), int(found.group(2)))

    def _set_key(self, value: str) -> None:
        letter, sign, mode = _key_parts(value)
        count = MAJOR_SHARPS[letter] + {"#": 7, "b": -7, "": 0}[sign] + MODE_SHARPS[mode]
        if not -7 <= count <= 7:
            raise _NotationError(f"no key that is known in K:{value}")
        if not self.key:  # the tune is named by the first one
            self.key = value
        order, step = (SHARPS, 1) if count > 0 else (FLATS, -1)
        self._signs = dict.fromkeys(order[: abs(count)], step)

    def _music(self, line: str) -> None:
        place = 0
        while place < len(line):
            place = self._token(line, place)

    def _token(self, line: str, place: int) -> int:
        """Read what stands at ``place``; give where the next begins."""
        if passed := _PASSED.match(line, place):
            return passed.end()
        if bar := _BAR.match(line, place):
            self._end_bar()
            return bar.end()
        if tuplet := _TUPLET.match(line, place):
            self._begin_tuplet(tuplet)
            return tuplet.end()
        if line[place] in "<>":
            return self._break(line, place)
        if line[place] == "-" and self.bar:
            self.bar[-1] = replace(self.bar[-1], tied=True)
            return place + 1
        if line[place] == "[":
            return self._bracket(line, place)
        if line[place] in "zx":
            return self._sound(None, line, place + 1)
        if note := _NOTE.match(line, place):
            return self._sound(self._pitch(note), line, note.end())
        raise _NotationError(f"{line[place]!r} at character {place + 1}")

    def _bracket(self, line: str, place: int) -> int:
        end = line.find("]", place)
        inside = line[place + 1 : end]
        field = _FIELD.match(inside)
        if end < 0:
            raise _NotationError(f"a [ that does not end at character {place + 1}")
        if field:
            self._field(field.group(1).upper(), field.group(2))
            return end + 1
        notes = list(_NOTE.finditer(inside))
        if not notes:
            raise _NotationError(f"no notes in [{inside}] at character {place + 1}")
        pitch = max(self._pitch(note) for note in notes)
        inner, _ = _length(inside, notes[0].end())
        return self._sound(pitch, line, end + 1, inner)

    def _pitch(self, note: re.Match[str]) -> int:
        sign, letter, octaves = note.groups()
        octave = octaves.count("'") - octaves.count(",") + letter.islower()
        name = f"{letter.upper()}{octave}"
        if sign:
            self._here[name] = {"^^": 2, "^": 1, "=": 0, "_": -1, "__": -2}[sign]
        step = self._here.get(name, self._signs.get(letter.upper(), 0))
        pitch = MIDDLE_C + LETTERS[letter.upper()] + 12 * octave + step
        if not 0 <= pitch <= 127:
            raise _NotationError(f"a note out of the reach of MIDI, {note.group()},")
        return pitch

    def _sound(
        self, pitch: int | None, line: str, place: int, inner: Fraction = Fraction(1)
    ) -> int:
        length, end = _length(line, place)
        if not length or not inner:
            raise _NotationError(f"a length that is none at character {place + 1}")
        length *= inner * (self.unit or default_unit(self.metre))
        if self._left:
            self._left -= 1
            length *= self._tuplet
        if self._broken is not None:
            length, self._broken = length * self._broken, None
        if length > LONGEST:
            raise _NotationError(f"a note of more than {LONGEST} whole notes, at {place + 1},")
        self.bar.append(Note(pitch, length))
        return end

    def _begin_tuplet(self, found: re.Match[str]) -> None:
        count = int(found.group(1))
        compound = self.metre[0] % 3 == 0 and self.metre[1] == 8
        usual = (3 if compound else 2) if count in COMPOUND_TUPLETS else TUPLETS.get(count)
        time = int(found.group(2)) if found.group(2) else usual
        if not time:
            raise _NotationError(f"no notes in {found.group()}")
        self._tuplet, self._left = Fraction(time, count), int(found.group(3) or count)

    def _break(self, line: str, place: int) -> int:
        """a>b: the first is longer by half, the second shorter; >> by three quarters."""
        run = re.compile(r">+|<+").match(line, place)
        assert run is not None
        if not self.bar:
            raise _NotationError(f"{line[place]!r} before a note at character {place + 1}")
        less = Fraction(1, 2 ** len(run.group()))
        first, second = (2 - less, less) if line[place] == ">" else (less, 2 - less)
        self.bar[-1] = replace(self.bar[-1], length=self.bar[-1].length * first)
        self._broken = second
        return run.end()

    def _end_bar(self) -> None:
        if self.bar:
            self.bars.append(tuple(self.bar))
        self.bar, self._here = [], {}


def _length(line: str, place: int) -> tuple[Fraction, int]:
    """The length that stands at ``place`` (3, 3/2, /, //), and where it ends."""
    found = _LENGTH.match(line, place)
    assert found is not None
    above, slashes, below = found.groups()
    if below and not slashes:
        raise _NotationError(f"no length at character {place + 1}")
    divisor = int(below) if below else 2 ** len(slashes)
    if not divisor or len(found.group()) > 12:
        raise _NotationError(f"no length at character {place + 1}")
    return Fraction(int(above or 1), divisor), found.end()
