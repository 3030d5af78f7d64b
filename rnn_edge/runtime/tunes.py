"""What tunes are heard from: MIDI files, which are read too, and WAV files by simple synthesis."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from rnn_edge.abc_notation import WHITE, Bar, Note, Tune, shifted
from rnn_edge.errors import DataError, InputError
from rnn_edge.extras import import_extra

BEATS_A_MINUTE = 120
TICKS_A_BEAT = 480  # a beat is a quarter note, as in MIDI
VELOCITY = 80
# Notes of MIDI files begin on multiples of this, in whole notes: sixteenths and their triplets.
GRID = Fraction(1, 48)
RATE = 22050
# Loudness of the overtones, and how a note begins, fades and ends, in seconds.
OVERTONES = (1.0, 0.4, 0.2, 0.1)
RISE, FADE, FALL = 0.01, 1.0, 0.03
LOUDNESS = 0.5
A4, A4_HERTZ = 69, 440.0


def write_midi(tune: Tune, path: Path, beats_a_minute: float = BEATS_A_MINUTE) -> None:
    """One track with metre, tempo and notes. Raises InputError where it cannot be written."""
    mido = import_extra("mido")
    track = mido.MidiTrack()
    numerator, denominator = tune.metre
    if denominator & (denominator - 1) == 0 and numerator < 256:  # MIDI has no other
        track.append(
            mido.MetaMessage("time_signature", numerator=numerator, denominator=denominator)
        )
    track.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(beats_a_minute)))
    now = Fraction()
    written = 0
    for note in tune.notes:
        start, now = now, now + note.length
        if note.pitch is None:
            continue
        for kind, time in (("note_on", start), ("note_off", now)):
            tick = round(time * 4 * TICKS_A_BEAT)
            track.append(
                mido.Message(kind, note=note.pitch, velocity=VELOCITY, time=tick - written)
            )
            written = tick
    file = mido.MidiFile(ticks_per_beat=TICKS_A_BEAT)
    file.tracks.append(track)
    content = io.BytesIO()
    file.save(file=content)
    _save(path, content.getvalue())


def write_wav(tune: Tune, path: Path, beats_a_minute: float = BEATS_A_MINUTE) -> None:
    """16-bit samples at RATE. Raises InputError where it cannot be written."""
    content = io.BytesIO()
    import_extra("soundfile").write(
        content, sound(tune, beats_a_minute), RATE, format="WAV", subtype="PCM_16"
    )
    _save(path, content.getvalue())


def sound(tune: Tune, beats_a_minute: float = BEATS_A_MINUTE) -> np.ndarray:
    """float32[samples] at RATE: each note is its first harmonics, fading."""
    seconds = 240 / beats_a_minute  # of a whole note
    notes = tune.notes
    edges = [Fraction(), *np.cumsum([note.length for note in notes])]
    places = [round(float(edge) * seconds * RATE) for edge in edges]
    found = np.zeros(places[-1], np.float32)
    for note, start, end in zip(notes, places, places[1:], strict=False):
        if note.pitch is not None:
            found[start:end] = _tone(note.pitch, end - start)
    return found


def hertz(pitch: int) -> float:
    """The frequency of a MIDI pitch, in equal temperament."""
    return float(A4_HERTZ * 2 ** ((pitch - A4) / 12))


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


def _tone(pitch: int, count: int) -> np.ndarray:
    time = np.arange(count) / RATE
    waves = [
        loudness * np.sin(2 * np.pi * number * hertz(pitch) * time)
        for number, loudness in enumerate(OVERTONES, 1)
        if number * hertz(pitch) < RATE / 2
    ]
    rising, falling = np.minimum(1, time / RISE), np.minimum(1, (count / RATE - time) / FALL)
    shape = rising * falling * np.exp(-time / FADE)
    return np.asarray(LOUDNESS / sum(OVERTONES) * shape * np.sum(waves, axis=0), np.float32)


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


def _save(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise InputError(
            f"{path} must be a place to write a file, got: {error.strerror}. Choose another."
        ) from None
