"""The music task: tunes, ABC notation, MIDI and WAV files, and that it learns."""

from __future__ import annotations

import json
import math
import wave
from fractions import Fraction
from pathlib import Path

import mido
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from rnn_edge.abc_notation import (
    Note,
    Tune,
    longest_tune,
    shifted,
    write_tune,
)
from rnn_edge.cli.main import program
from rnn_edge.errors import DataError, InputError
from rnn_edge.runtime.tunes import write_midi, write_wav
from rnn_edge.tasks.music import TUNES, Music, TuneSplit, pair_costs, text_of
from rnn_edge.tasks.tune_files import read_abc, read_midi
from rnn_edge.vocabulary import Vocabulary

OURS = read_abc(TUNES.read_text(encoding="utf-8"), "tunes")
EIGHTH = Fraction(1, 8)
ODD_NOTES = tuple(Note(pitch, EIGHTH) for pitch in (66, 78, 77, 65, 77, 78, 66, None))


def lengths(*bars: str, head: str = "M:4/4\nL:1/8\nK:C") -> list[tuple[int | None, Fraction]]:
    (tune,) = read_abc(f"X:1\n{head}\n{'|'.join(bars)}|\n", "here")
    return [(note.pitch, note.length / EIGHTH) for bar in tune.bars for note in bar]


def pitches(*bars: str, key: str = "C") -> list[int | None]:
    return [pitch for pitch, _ in lengths(*bars, head=f"M:4/4\nL:1/8\nK:{key}")]


# --- The tunes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("tune", OURS, ids=lambda tune: tune.title)
def test_every_bar_is_as_long_as_the_metre_says(tune: Tune) -> None:
    whole = Fraction(*tune.metre)
    sums = [sum(note.length for note in bar) for bar in tune.bars]
    upbeat = sums[0] if sums[0] < whole else 0
    assert sums[1:-1] == [whole] * (len(sums) - 2)
    assert sums[-1] == (whole - upbeat)
    assert tune.uneven_bars() == []


@pytest.mark.parametrize("tune", OURS, ids=lambda tune: tune.title)
def test_a_tune_is_read_as_it_was_written(tune: Tune) -> None:
    read, fault = longest_tune(write_tune(tune))
    assert fault == ""
    assert read is not None
    assert (read.bars, read.metre, read.style) == (tune.bars, tune.metre, tune.style)


@pytest.mark.parametrize(
    ("key", "plain", "shift"),
    [
        ("G", "C", 5),
        ("D", "C", -2),
        ("Bb", "C", 2),
        ("F#", "C", -6),
        ("Bm", "Am", -2),
        ("Edor", "Ddor", -2),
        ("Amix", "Gmix", -2),
        ("F lydian", "Flyd", 0),
    ],
)
def test_a_tune_is_put_into_the_plain_key_of_its_mode(key: str, plain: str, shift: int) -> None:
    """The scale's own notes, natural in the plain key; the shift is the way between the tonics."""
    (tune,) = read_abc(f"X:1\nM:4/4\nL:1/8\nK:{key}\nCDEF GABc|=C=D=E=F =G=A=B=c|\n", "here")
    assert tune.key == plain
    scale = [note.pitch or 0 for note in tune.bars[0]]
    assert {pitch % 12 for pitch in scale} == {0, 2, 4, 5, 7, 9, 11}
    assert [note.pitch for note in tune.bars[1]] == [
        pitch + shift for pitch in (60, 62, 64, 65, 67, 69, 71, 72)
    ]


def test_there_are_styles_with_enough_tunes_to_hold_some() -> None:
    counts: dict[str, int] = {}
    for tune in OURS:
        counts[tune.style] = counts.get(tune.style, 0) + 1
    assert len(counts) >= 8
    assert min(counts.values()) >= 4
    assert len({text_of(tune) for tune in OURS}) == len(OURS)


def test_a_bar_too_long_is_found() -> None:
    tune, _ = longest_tune("R:waltz\nM:3/4\nK:C\nC2D2E2|C2D2E2F2|C2D2|")
    assert tune is not None
    assert tune.uneven_bars() == [2, 3]


# --- ABC notation -------------------------------------------------------------------------------


def test_letters_octaves_and_accidentals_are_midi_pitches() -> None:
    assert pitches("C,Cc c'B,") == [48, 60, 72, 84, 59]
    assert pitches("^F=F_B^^C", "FBC") == [66, 65, 70, 62, 65, 71, 60]
    assert pitches("^FFf F", "F") == [66, 66, 78, 66, 65]  # in all octaves, up to the bar


def test_a_key_that_changes_changes_the_notes_behind_it() -> None:
    line, bracket = "FF|\nK:G\nFF", "FF|[K:G]FF"
    assert pitches(line) == pitches(bracket) == [65, 65, 66, 66]


def test_lengths_tuplets_and_broken_rhythm() -> None:
    found = [length for _, length in lengths("A2A/A//A3/2A/4", "(3ABc d", "A>B c<<d z4")]
    expected = [2, "1/2", "1/4", "3/2", "1/4", "2/3", "2/3", "2/3", 1]
    expected += ["3/2", "1/2", "1/4", "7/4", 4]
    assert found == [Fraction(length) for length in expected]


def test_a_length_is_of_the_unit_that_the_metre_has() -> None:
    assert lengths("A", head="M:2/4\nK:C") == [(69, Fraction(1, 2))]
    assert lengths("A", head="M:3/4\nK:C") == [(69, 1)]
    assert lengths("A", head="M:C|\nL:1/4\nK:C") == [(69, 2)]


def test_what_is_no_note_of_the_voice_is_passed_over() -> None:
    text = (
        "X:1\nT:Song\nR:Reel\nC:somebody\nM:4/4\nL:1/8\nK:G\nV:1\n"
        '|:"G"G2 (AB) {cd}~e2 !trill!.d2:|1 [Gd]8 :|2 "D7"z8 |] % the end\nw: la la\n'
        "V:2\nC8|C8|C8|\n"
    )
    (tune,) = read_abc(text, "here")
    assert (tune.title, tune.style) == ("Song", "reel")
    in_g = [67, 69, 71, 76, 74, 74]
    assert [note.pitch for note in tune.notes] == [*(pitch + 5 for pitch in in_g), None]
    assert tune.uneven_bars() == []


def test_a_written_tune_is_the_same_to_music21() -> None:
    """Of the plain form, read by the library that reads people's files."""
    for tune in [*OURS[::5], Tune("x", (4, 4), "C", (ODD_NOTES, ODD_NOTES[::-1]))]:
        (read,) = read_abc(write_tune(tune), "here")
        assert read.notes == tune.notes
        assert (read.metre, read.key) == (tune.metre, tune.key)


def test_tied_notes_sound_as_one() -> None:
    (tune,) = read_abc("X:1\nM:4/4\nL:1/8\nK:C\nA8-|A4-A2 c2|\n", "here")
    assert tune.notes == (Note(69, Fraction(14, 8)), Note(72, Fraction(2, 8)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello", "must hold tunes in ABC notation, it has none"),
        ("X:1\nK:C\n", "must hold tunes in ABC notation, it has none"),
        ("X:1\nT:My\nK:X\nA\n", "tune 'My' cannot be read: no key that is known in K:X"),
        ("X:1\nM:waltz\nK:C\nA\n", "tune 'number 1' .* no metre such as 6/8 in M:waltz"),
        ("X:1\nL:1/0\nK:C\nA\n", "tune 'number 1' cannot be read"),
        ("X:1\nK:C\n[CE\n", "tune 'number 1' cannot be read: Bad chord"),
        ("X:1\nK:C\nA''''''\n", "out of the reach of MIDI"),
    ],
)
def test_bad_notation_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_abc(text, "here")
    assert "\n" not in str(caught.value)


def test_the_plain_form_is_read_by_hand() -> None:
    tune, fault = longest_tune("\nR:jig\nM:6/8\nK:Ddor\nA2B/2 c'3/4z|^f=fC,-|C,\n")
    assert tune is not None
    assert (fault, tune.style, tune.metre, tune.key) == ("", "jig", (6, 8), "Ddor")
    found = [[(note.pitch, note.length / EIGHTH) for note in bar] for bar in tune.bars]
    assert found == [
        [(69, 2), (71, Fraction(1, 2)), (84, Fraction(3, 4)), (None, 1)],
        [(78, 1), (77, 1), (48, 1)],
        [(48, 1)],
    ]
    assert tune.notes[-1] == Note(48, 2 * EIGHTH)


@pytest.mark.parametrize("wrong", ["?", "h", "A0", "A/0", "A999", "A'''''", "C,,,,,,", "\nR:reel"])
def test_the_longest_beginning_that_is_a_tune_is_kept(wrong: str) -> None:
    tune, fault = longest_tune(f"R:jig\nM:6/8\nK:C\nABc d3|e{wrong}f\n")
    assert tune is not None
    assert [note.pitch for note in tune.notes] == [69, 71, 72, 74, 76]
    assert fault.endswith("at note 2 of bar 2")


def test_what_has_no_notes_is_no_tune() -> None:
    assert longest_tune("R:jig\nM:6/8\nABc")[0] is None
    assert longest_tune("R:jig\nM:6/8\nK:C\n|||")[0] is None
    assert "no lines R:, M: and K:" in longest_tune("R:jig\nM:6/8\nK:G\nABc")[1]


# --- MIDI and WAV -------------------------------------------------------------------------------


@pytest.mark.parametrize("tune", OURS[::7], ids=lambda tune: tune.title)
def test_a_midi_file_has_the_notes(tune: Tune, tmp_path: Path) -> None:
    write_midi(tune, tmp_path / "tune.mid", beats_a_minute=90)
    file = mido.MidiFile(tmp_path / "tune.mid")
    now, begun, found = 0.0, 0.0, []
    for message in file:  # in seconds
        now += message.time
        if message.type == "note_on":
            begun = now
        elif message.type == "note_off":
            found.append((message.note, begun, now))
    expected, start = [], 0.0
    for note in tune.notes:
        end = start + float(note.length) * 4 * 60 / 90
        if note.pitch is not None:
            expected.append((note.pitch, start, end))
        start = end
    assert [each[0] for each in found] == [each[0] for each in expected]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_midi_file_is_read_in_bars_in_the_plainest_scale(tmp_path: Path) -> None:
    (tune,) = (each for each in OURS if each.title == "Deck the Halls")
    write_midi(tune, tmp_path / "tune.mid")
    read = read_midi((tmp_path / "tune.mid").read_bytes(), "tune.mid", "carol")
    assert (read.metre, read.style) == ((4, 4), "carol")
    shifts = {
        (one.pitch or 0) - (other.pitch or 0)
        for one, other in zip(tune.notes, read.notes, strict=True)
    }
    assert shifts == {0}
    assert read.bars == tune.bars


def test_notes_of_a_midi_file_are_cut_where_a_bar_ends(tmp_path: Path) -> None:
    long = Tune("", (3, 4), "C", ((Note(60, Fraction(5, 4)), Note(None, EIGHTH)),))
    write_midi(long, tmp_path / "tune.mid")
    read = read_midi((tmp_path / "tune.mid").read_bytes(), "tune.mid", "")
    assert read.uneven_bars() == []
    assert [[note.pitch for note in bar] for bar in read.bars] == [[60], [60, None]]
    assert read.notes[0] == Note(60, Fraction(5, 4))


@pytest.mark.parametrize("pitch", [48, 60, 69, 81])
def test_a_wav_file_sounds_at_the_note_s_frequency(pitch: int, tmp_path: Path) -> None:
    tune = Tune("", (4, 4), "C", ((Note(None, Fraction(1, 4)), Note(pitch, Fraction(1, 2))),))
    write_wav(tune, tmp_path / "tune.wav", beats_a_minute=60)
    with wave.open(str(tmp_path / "tune.wav")) as file:
        rate, frames = file.getframerate(), file.getnframes()
        samples = np.frombuffer(file.readframes(frames), "<i2")
    assert frames == 3 * rate
    assert not samples[:rate].any()
    assert 1000 < np.abs(samples).max() < 32767
    spectrum = np.abs(np.fft.rfft(samples[rate:] * np.hanning(2 * rate)))
    loudest = np.fft.rfftfreq(2 * rate, 1 / rate)[spectrum.argmax()]
    assert abs(loudest - 440 * 2 ** ((pitch - 69) / 12)) <= 0.5


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a place to write a file"):
        write_midi(OURS[0], tmp_path / "none" / "tune.mid")


# --- Data and scores ----------------------------------------------------------------------------


def test_some_tunes_of_every_style_are_held() -> None:
    data = Music().load(None, seed=0)
    parts = [data.train, data.validation, data.test]
    assert all(isinstance(part, TuneSplit) for part in parts)
    assert sum(map(len, parts)) == len(OURS)
    assert set(data.test.styles) == {tune.style for tune in OURS}
    vocabulary = Vocabulary(data.interface.front_end.vocabulary)
    texts = [
        {vocabulary.decode(row.tolist()) for row in part.target_sequences}
        for part in (data.train, data.test)
    ]
    assert not texts[0] & texts[1]
    other = Music().load(None, seed=1)
    assert not all(map(torch.equal, data.test.sequences, other.test.sequences))


def test_pairs_are_counted_and_smoothed_by_frequencies() -> None:
    vocabulary = Vocabulary(("<pad>", "<unk>", "a", "b"))
    split = TuneSplit([("x", "abab"), ("x", "ab")], vocabulary)
    # Behind a: b three times; behind b: a once. Frequencies plus one: unknown 1, a 2, b 4 of 7.
    costs = pair_costs(split, len(vocabulary))
    assert float(costs[2, 3]) == pytest.approx(-math.log((3 + 4 / 7) / 4))
    assert float(costs[3, 2]) == pytest.approx(-math.log((1 + 2 / 7) / 2))
    assert torch.allclose((-costs).exp().sum(dim=1), torch.ones(4, dtype=torch.float64))


def test_a_training_pass_takes_other_bars_of_a_tune_each_time() -> None:
    texts = [text_of(tune) for tune in OURS]
    vocabulary = Vocabulary.build(texts)
    split = TuneSplit([("x", text) for text in texts], vocabulary, excerpts=0.8)
    generator = torch.Generator().manual_seed(0)
    whole, passes = set(texts), []
    for _ in range(2):
        seen = []
        for batch in split.batches(4, generator):
            tokens, targets = batch.inputs[0], batch.targets
            assert batch.count == int((targets != 0).sum())
            for row, following in zip(tokens, targets, strict=True):
                length = int((following != 0).sum())
                assert torch.equal(row[1:length], following[: length - 1])
                seen.append(vocabulary.decode([int(row[0]), *following[:length].tolist()]))
        passes.append(seen)
        assert 2 <= len(whole & set(seen)) <= 25
        for text in seen:
            head, _, bars = text.rstrip("\n").rpartition("\n")
            longest = (each for each in texts if each.startswith(head))
            assert any(f"{bars}" in each and bars.endswith("|") for each in longest)
    assert set(passes[0]) != set(passes[1])
    evaluated = [row for batch in split.batches(4) for row in batch.inputs[0]]
    assert len(evaluated) == len(texts)
    assert torch.equal(evaluated[0][: len(texts[0]) - 1], split.sequences[0])


def test_files_without_a_style_have_their_folder_s(tmp_path: Path) -> None:
    for style in ("slow", "fast"):
        (tmp_path / style).mkdir()
        for number, tune in enumerate(OURS[:3]):
            bars = shifted(tune.bars, number)
            write_midi(Tune("", (6, 8), "C", bars), tmp_path / style / f"{number}.mid")
    (tmp_path / "slow" / "more.abc").write_text("X:1\nK:C\nABcd|\n\nX:2\nR:odd\nK:C\nAAAA|\n")
    data = Music().load(str(tmp_path), seed=0)
    assert data.interface.decoder.styles == ("fast", "odd", "slow")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (None, b"", "must be a folder of ABC and MIDI files, it is not there"),
        ("a.txt", b"ABC", "must hold files whose names end in .abc, .mid, .midi, it holds none"),
        ("a.abc", b"", "it is empty"),
        ("a.abc", b"\xff\xfe", "must be UTF-8"),
        ("a.abc", b"X:1\nK:C\nABC\n", "3 different tunes or more, two of one style, got 1"),
        ("a.abc", b"X:1\nK:C\n" + b"AB|" * 2000, "must have 4000 characters or fewer"),
        ("a.mid", b"no MIDI", "a.mid must be a MIDI file, it cannot be read"),
        ("a.mid", b"", "a.mid must be a MIDI file, it cannot be read"),
        ("a.mid", b"MThd\0\0\0\6\0\0\0\0\1\xe0", "a.mid must hold notes, it has none"),
    ],
)
def test_bad_data_is_refused_by_name(
    tmp_path: Path, name: str | None, content: bytes, message: str
) -> None:
    folder = tmp_path / "data"
    if name is not None:
        folder.mkdir()
        (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        Music().load(str(folder), seed=0)
    assert "\n" not in str(caught.value)


# --- From the command line ----------------------------------------------------------------------


def test_tunes_are_learned_exported_verified_and_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scales up and scales down, an exact answer for each style."""
    monkeypatch.chdir(tmp_path)
    up, down = "CDEFGABc", "cBAGFEDC"
    tunes = [
        f"X:{number}\nR:{style}\nM:{metre}\nL:1/8\nK:C\n{scale}|"
        for number, metre in enumerate(("4/4", "8/8", "2/2", "16/16", "16/8"))
        for style, scale in (("up", up), ("down", down))
    ]
    Path("scales.abc").write_text("\n\n".join(tunes))

    def call(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(program, arguments)
        assert result.exit_code == code, result.output
        return result.stdout if code == 0 else result.stderr

    options = ["--hidden-size", "24", "--embedding-size", "8", "--epochs", "80", "--dropout", "0"]
    options += ["--lr", "0.02", "--token-dropout", "0", "--plot", "--json"]
    document = json.loads(call("train", "music", "--data", "scales.abc", "-o", "run", *options))
    scores = document["metrics"]["scores"]
    nats = {method: values["nats per character"] for method, values in scores.items()}
    assert nats["model"] < nats["character pairs"] < nats["character frequencies"]
    assert Path("run/tunes.png").is_file()
    call("export", "run", "-o", "bundle")
    call("verify", "bundle")
    for style, scale in (("up", [60, 62, 64, 65, 67, 69, 71, 72]), ("down", None)):
        asked = ["--style", style, "--temperature", "0", "--seed", "3"]
        text = call("run", "bundle", *asked, "--midi", "tune.mid", "--wav", "tune.wav")
        tune, fault = longest_tune(text)
        assert tune is not None
        assert (tune.style, fault) == (style, "")
        found = [note.pitch for note in tune.notes]
        assert found == (scale or [72, 71, 69, 67, 65, 64, 62, 60])
        written = [each.note for each in mido.MidiFile("tune.mid") if each.type == "note_on"]
        assert written == found
        assert Path("tune.wav").read_bytes()[:4] == b"RIFF"
    assert call("run", "bundle", *asked) == text
    assert call("run", "bundle", "--seed", "1").startswith("R:")
    for wrong, message in (
        (["--style", "polka"], "--style must be one of down, up, got 'polka'"),
        (["--style", "up", "--prompt", "R:up\n"], "--style must be left out with a prompt"),
        (["--midi", "tune.txt"], "--midi must name a .mid file"),
        (["--wav", "tune.mp3"], "--wav must name a .wav file"),
        (["--prompt", "???", "--length", "1", "--midi", "a.mid"], "must hold notes of a tune"),
        (["--stream", "--style", "up"], "--style must be left out with --stream"),
    ):
        error = call("run", "bundle", *wrong, code=1)
        assert message in error
        assert error.count("\n") == 1
    shown = Path(__file__).parents[2] / "exported" / "sine"
    error = call("run", str(shown), "--style", "jig", code=1)
    assert "--style must be left out for a bundle that writes no tunes" in error
