"""The speech task: its sounds and what they say, and that it learns, exports, runs and streams."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np
import pytest
import soxr
import torch
from click.testing import CliRunner, Result

from rnn_edge.cli.main import program
from rnn_edge.errors import DataError, RnnEdgeError
from rnn_edge.tasks import speech
from rnn_edge.tasks.speech import Speech, augmented, keypad
from rnn_edge.tasks.text_scores import edits, text_scores

RATE = 2000
TONES = {"a": 300.0, "b": 700.0, "c": 450.0}


def write_wav(path: Path, samples: np.ndarray, rate: int = RATE, channels: int = 1) -> Path:
    whole = np.round(np.clip(samples, -1, 1) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.repeat(whole, channels).tobytes())
    return path


def sound_of(text: str, chance: np.random.Generator) -> np.ndarray:
    """A tone of 100 to 200 ms for each letter, 80 ms of near silence around."""
    parts = [np.zeros(160)]
    for letter in text:
        steps = np.arange(chance.integers(200, 400)) / RATE
        parts += [0.3 * np.sin(2 * np.pi * TONES[letter] * steps), np.zeros(160)]
    sound = np.concatenate(parts)
    return sound + 0.003 * chance.normal(size=len(sound))


def dialled(sound: np.ndarray, rate: int) -> str:
    """What a sound without noise dials: where it is loud, the two strongest frequencies."""
    loud = np.convolve(np.abs(sound), np.ones(80) / 80, "same") > 0.02 * np.abs(sound).max()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], loud.astype(int), [0]])))
    keys = ""
    for first, end in edges.reshape(-1, 2):
        energies = np.abs(np.fft.rfft(sound[first:end] * np.hanning(end - first), 8192))
        places = np.arange(len(energies)) * rate / 8192
        row, column = (
            max(range(4), key=lambda n: energies[np.abs(places - tones[n]).argmin()])
            for tones in (speech.LOW, speech.HIGH)
        )
        keys += speech.KEYPAD[row][column]
    return keys


# --- Data -------------------------------------------------------------------------------------


def test_a_dialled_sound_says_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "NOISE", (90.0, 90.0))
    chance = np.random.default_rng(1)
    for _ in range(30):
        sound, keys = keypad(8000, chance)
        assert dialled(sound, 8000) == keys


def test_files_say_what_the_beginnings_of_their_names_say(tmp_path: Path) -> None:
    for name in ("a_1", "b_1", "ab_1", "a_2", "b_2"):
        write_wav(tmp_path / f"{name}.wav", np.full(400, 0.1))
    (tmp_path / "notes.txt").write_text("not a sound")
    data = Speech(rate=RATE, held_out="_2").load(str(tmp_path), seed=0)
    assert data.interface.decoder.labels == ("", "a", "b")
    assert sorted(map(len, data.test.target_sequences)) == [1, 1]
    assert len(data.train) + len(data.validation) == 3


def test_a_list_says_what_files_say_and_other_rates_are_resampled(tmp_path: Path) -> None:
    sound = 0.5 * np.sin(np.arange(4000) / 20)
    write_wav(tmp_path / "one.wav", sound, 4000, channels=2)
    for number in range(4):
        write_wav(tmp_path / f"{number}.wav", sound[:800])
    lines = ["one.wav\tab", *(f"{number}.wav\tb" for number in range(4))]
    (tmp_path / "transcripts.tsv").write_text("\n".join(lines))
    data = Speech(rate=RATE, held_out="one").load(str(tmp_path), seed=0)
    (heard,) = data.test.sequences
    expected = soxr.resample(sound, 4000, RATE)
    np.testing.assert_allclose(heard.numpy(), expected, atol=1e-3)
    assert "1 files of several channels mixed down to one" in data.description


def bad(folder: Path, case: str) -> dict[str, object]:
    """Make a folder that is wrong in one way; the options that go with it."""
    for number in range(4):
        write_wav(folder / f"a_{number}.wav", np.full(400, 0.1))
    if case == "no sounds":
        for path in folder.iterdir():
            path.unlink()
    elif case == "empty":
        (folder / "a_9.wav").write_bytes(b"")
    elif case == "text":
        (folder / "a_9.wav").write_text("hello, I am a text")
    elif case == "missing":
        (folder / "transcripts.tsv").write_text("a_1.wav\ta\nb_7.wav\tb\n")
    elif case == "no text":
        (folder / "transcripts.tsv").write_text("a_1.wav\ta\na_2.wav\n")
    elif case == "name":
        return {"label_pattern": "x_(.)"}
    elif case == "pattern":
        return {"label_pattern": "(x"}
    elif case == "held":
        return {"held_out": "nobody"}
    return {}


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("no sounds", "must hold WAV files, it holds none"),
        ("empty", r"a_9.wav must be a WAV file.* header is cut off"),
        ("text", r"a_9.wav must be a WAV file"),
        ("missing", r"files that are there, \S*b_7.wav of line 2 is not"),
        ("no text", r"a file, a tab and a text in every line, got 'a_2.wav' in line 2"),
        ("name", r"a_0.wav must have a name that 'x_\(.\)' finds a label in"),
        ("pattern", r"label_pattern must be a regular expression, got '\(x'"),
        ("held", "must hold files to train on.* got 4 and 0 to test"),
    ],
)
def test_bad_data_is_refused_in_one_line(tmp_path: Path, case: str, message: str) -> None:
    options = bad(tmp_path, case)
    with pytest.raises(RnnEdgeError, match=message) as caught:
        Speech(rate=RATE, **options).load(str(tmp_path), seed=0)
    assert "\n" not in str(caught.value)


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must be a folder of WAV files"):
        Speech().load(str(tmp_path / "absent"), seed=0)


def test_a_changed_sound_follows_its_generator() -> None:
    sound = torch.sin(torch.arange(1000.0) / 5)
    one, same = (augmented(sound, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, same)
    lengths = {len(augmented(sound, torch.Generator().manual_seed(seed))) for seed in range(20)}
    assert 840 < min(lengths) < 1000 < max(lengths) < 1160


# --- Measures -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "other", "count"),
    [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)],
)
def test_edits_are_the_fewest_changes(text: str, other: str, count: int) -> None:
    assert edits(text, other) == edits(other, text) == count


def test_scores_count_whole_texts_and_characters() -> None:
    assert text_scores(["abcd", "ef"], ["abxd", "ef"]) == {
        "texts right": 0.5,
        "character error rate": pytest.approx(1 / 6),
    }


# --- From sounds to a stream --------------------------------------------------------------------


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(program, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result


def test_tones_are_learnt_exported_verified_run_and_streamed(place: Path) -> None:
    chance = np.random.default_rng(0)
    Path("sounds").mkdir()
    for number in range(160):
        text = "".join(chance.permutation(list("abc"))[: chance.integers(1, 4)])
        write_wav(Path("sounds") / f"{text}_{number}.wav", sound_of(text, chance))
    options = ["--rate", RATE, "--bands", 12, "--hidden-size", 24, "--epochs", 7, "--lr", 0.015]
    options += ["--batch-size", 4, "--dropout", 0, "--weight-decay", 0, "--no-augment"]
    options += ["--no-bidirectional", "--plot", "--json"]
    document = json.loads(call("train", "speech", "--data", "sounds", "-o", "run", *options).stdout)
    assert document["metrics"]["scores"]["model"]["texts right"] == 1
    assert Path("run/spectrograms.png").is_file()
    call("export", "run", "-o", "bundle")
    call("verify", "bundle")
    one, two = sound_of("acb", chance), sound_of("b", chance)
    write_wav(Path("one.wav"), one)
    write_wav(Path("two.wav"), soxr.resample(two, RATE, 8000), 8000, channels=2)
    answer = call("run", "bundle", "one.wav", "two.wav", "--json", "--plot", "answers.png")
    assert [row["text"] for row in json.loads(answer.stdout)["results"]] == ["acb", "b"]
    assert "two.wav: 2 channels mixed down to one" in answer.stderr
    assert Path("answers.png").is_file()
    assert "acb" in call("run", "bundle", "one.wav", "--beam", 3).stdout
    heard = [call("run", "bundle", "--stream", f"{name}.wav").stdout for name in ("one", "two")]
    assert heard == ['"a"\n"c"\n"b"\n', '"b"\n']
