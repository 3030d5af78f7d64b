"""`rnn-edge run --stream FILE.wav`: the answers of its samples, at full speed or in real time."""

from __future__ import annotations

import time
import wave
from pathlib import Path

import numpy as np
import pytest
import stream_bundles
from click.testing import CliRunner, Result

from rnn_edge.bundle import Bundle
from rnn_edge.cli.main import program

RATE = 2000


def write_wav(path: Path, samples: np.ndarray, bits: int = 16) -> Path:
    """``samples`` float[frames, channels] from -1 to 1, rounded to ``bits``."""
    numbers = np.clip(
        np.round(samples * 2.0 ** (bits - 1)), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    )
    whole = numbers.astype("<i8")
    if bits == 8:
        whole = whole + 128
    content = whole.reshape(-1, 1).view(np.uint8)[:, : bits // 8].tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(bits // 8)
        file.setframerate(RATE)
        file.writeframes(content)
    return path


def invoke(bundle: Bundle, *options: object) -> Result:
    return CliRunner().invoke(program, ["run", str(bundle.path), "--stream", *map(str, options)])


def numbers(result: Result) -> np.ndarray:
    assert result.exit_code == 0, result.stderr
    return np.array([[float(field) for field in line.split(",")] for line in result.stdout.split()])


@pytest.fixture(scope="module")
def lstm(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return stream_bundles.write_recurrent(tmp_path_factory.mktemp("wav") / "lstm", "LSTM")


@pytest.fixture
def sound() -> np.ndarray:
    return np.random.default_rng(2).uniform(-1, 1, (50, 2)).astype(np.float32)


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
@pytest.mark.parametrize("options", [(), ("--chunk", 7)])
def test_samples_give_the_answers_of_the_whole(
    lstm: Bundle, sound: np.ndarray, tmp_path: Path, bits: int, options: tuple[object, ...]
) -> None:
    path = write_wav(tmp_path / "x.wav", sound, bits)
    found = numbers(invoke(lstm, path, *options))
    expected = stream_bundles.recurrent_answer("LSTM", sound)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2.0 ** (2 - bits) + 2e-6)


def test_real_time_takes_as_long_as_the_sound(
    lstm: Bundle, sound: np.ndarray, tmp_path: Path
) -> None:
    path = write_wav(tmp_path / "x.wav", np.tile(sound, (16, 1)))
    start = time.monotonic()
    found = numbers(invoke(lstm, path, "--real-time"))
    assert time.monotonic() - start >= 0.4
    np.testing.assert_array_equal(found, numbers(invoke(lstm, path)))


@pytest.mark.parametrize(
    ("channels", "said"), [(1, "must have 2 channels"), (3, "must have 2 channels")]
)
def test_channels_that_do_not_fit_are_refused(
    lstm: Bundle, tmp_path: Path, channels: int, said: str
) -> None:
    result = invoke(lstm, write_wav(tmp_path / "x.wav", np.zeros((9, channels))))
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr


@pytest.mark.parametrize("content", [b"", b"no sound at all", b"RIFF\x24\0\0\0WAVEfmt "])
def test_what_is_no_wav_is_refused_by_name(lstm: Bundle, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.wav").write_bytes(content)
    result = invoke(lstm, tmp_path / "x.wav")
    assert result.exit_code == 1
    assert "x.wav must be a WAV file with PCM samples" in result.stderr.splitlines()[-1]


def test_other_files_and_missing_ones_are_refused(lstm: Bundle, tmp_path: Path) -> None:
    assert "one WAV file" in invoke(lstm, tmp_path / "x.csv").stderr
    assert "No such file" in invoke(lstm, tmp_path / "none.wav").stderr
    assert "--real-time must be left out" in invoke(lstm, "--real-time").stderr


def test_a_model_of_one_number_hears_the_mean_of_the_channels(
    sound: np.ndarray, tmp_path: Path
) -> None:
    import torch
    from torch import nn

    import rnn_edge

    class Ear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.core = nn.GRU(1, 3, batch_first=True)

        def forward(self, wave: torch.Tensor) -> torch.Tensor:
            return self.core(wave.unsqueeze(-1))[0]

    torch.manual_seed(0)
    ear = Ear().eval()
    bundle = rnn_edge.export(
        ear, (torch.zeros(2, 9),), tmp_path / "ear", axes=[("batch", "sequence")]
    )
    result = invoke(bundle, write_wav(tmp_path / "x.wav", sound, 32))
    with torch.no_grad():
        expected = ear(torch.from_numpy(sound.mean(1)[np.newaxis]))[0].numpy()
    np.testing.assert_allclose(numbers(result), expected, rtol=0, atol=1e-6)
    assert "2 channels mixed down to one" in result.stderr
