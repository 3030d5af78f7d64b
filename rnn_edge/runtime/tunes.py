"""What tunes are heard from: MIDI files, and WAV files by simple synthesis."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import numpy as np

from rnn_edge.abc_notation import Tune
from rnn_edge.errors import InputError
from rnn_edge.extras import import_extra

BEATS_A_MINUTE = 120
TICKS_A_BEAT = 480  # a beat is a quarter note, as in MIDI
VELOCITY = 80
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


def _save(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise InputError(
            f"{path} must be a place to write a file, got: {error.strerror}. Choose another."
        ) from None
