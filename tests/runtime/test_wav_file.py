"""WAV files of every form of samples that people have, against soundfile."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rnn_edge.errors import InputError
from rnn_edge.runtime.wav_file import WavFile, decode_wav

RATE = 8000
FORMS = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")


def wav(samples: np.ndarray, form: str, container: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, subtype=form, format=container)
    return file.getvalue()


@pytest.mark.parametrize("container", ["WAV", "WAVEX"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_samples_are_those_of_another_library(
    tmp_path: Path, form: str, container: str, channels: int
) -> None:
    given = np.random.default_rng(0).uniform(-1, 1, (101, channels))
    content = wav(given, form, container)
    expected, _ = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    found, rate = decode_wav(content, "x.wav")
    assert (found.dtype, rate) == (np.float32, RATE)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)
    (tmp_path / "x.wav").write_bytes(content)
    file = WavFile.open(tmp_path / "x.wav")
    assert (file.rate, file.channels, file.frames) == (RATE, channels, 101)
    chunks = list(file.chunks(40))
    assert [len(chunk) for chunk in chunks] == [40, 40, 21]
    np.testing.assert_array_equal(np.concatenate(chunks), found)


def test_a_length_that_was_not_known_and_other_chunks_change_nothing() -> None:
    content = wav(np.linspace(-1, 1, 50), "PCM_16")
    expected, _ = decode_wav(content, "x.wav")
    place = content.index(b"data")
    other = b"LIST\x05\x00\x00\x00INFO?\x00"
    piped = content[:place] + other + b"data\xff\xff\xff\xff" + content[place + 8 :] + b"\x01"
    np.testing.assert_array_equal(decode_wav(piped, "x.wav")[0], expected)
    np.testing.assert_array_equal(decode_wav(content[:-7], "x.wav")[0], expected[:-4])


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_samples_that_are_no_numbers_are_refused_by_place(value: float) -> None:
    samples = np.zeros(9)
    samples[5] = value
    with pytest.raises(InputError, match=r"x.wav must hold finite samples, sample 5 is not"):
        decode_wav(wav(samples, "DOUBLE"), "x.wav")


def changed(place: int, *values: int) -> bytes:
    """A file of 16 bits with 16-bit numbers from ``place`` of its format on."""
    content = bytearray(wav(np.zeros(9), "PCM_16"))
    start = content.index(b"fmt ") + 8 + place
    content[start : start + 2 * len(values)] = np.array(values, "<u2").tobytes()
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "its header is cut off"),
        (b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0", "its header is cut off"),
        (b"hello, I am a text", "does not start with RIFF"),
        (wav(np.zeros(9), "ALAW"), "format 6 of 8 bits"),
        (wav(np.zeros(9), "IMA_ADPCM"), "format 17 of 4 bits"),
        (changed(14, 40), "format 1 of 40 bits"),
        (changed(0, 3), "format 3 of 16 bits"),
        (changed(2, 0), "0 channels of 8000 samples"),
        (changed(4, 0, 0), "1 channels of 0 samples"),
    ],
)
def test_what_has_no_such_samples_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(InputError, match=f"x.wav must be a WAV file with PCM.*{said}"):
        decode_wav(content, "x.wav")


def test_a_sound_of_no_samples_is_refused() -> None:
    with pytest.raises(InputError, match=r"x.wav must hold samples, it holds none"):
        decode_wav(wav(np.zeros(0), "PCM_16"), "x.wav")
