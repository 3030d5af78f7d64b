"""The features against numpy's Fourier transform; padding, and rows alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rnn_edge.models.speech_recognizer import FLOOR, LogMel, SpeechRecognizer, mel_bands

RATE, BANDS = 2000, 6


def recognizer(bidirectional: bool) -> SpeechRecognizer:
    torch.manual_seed(0)
    return SpeechRecognizer(
        RATE, [0.0] * BANDS, [2.0] * BANDS, 4, cell="gru", hidden_size=5,
        bidirectional=bidirectional,
    ).eval()  # fmt: skip


def test_features_are_log_energies_of_bands_of_a_windowed_spectrum() -> None:
    features = LogMel(RATE, BANDS)
    samples = np.random.default_rng(0).normal(size=333)
    found = features(torch.from_numpy(samples).float().unsqueeze(0))[0].numpy()
    assert len(found) == 333 // features.hop
    padded = np.concatenate([np.zeros(features.window - features.hop), samples])
    window = np.sin(np.pi * (np.arange(features.window) + 0.5) / features.window) ** 2
    bands = mel_bands(RATE, features.window, BANDS).double().numpy()
    for frame, row in enumerate(found):
        part = padded[frame * features.hop : frame * features.hop + features.window]
        energies = np.abs(np.fft.rfft(part * window)) ** 2
        np.testing.assert_allclose(row, np.log(energies @ bands + FLOOR), atol=1e-3)


def test_bands_overlap_so_that_no_frequency_between_them_is_lost() -> None:
    bands = mel_bands(RATE, 200, BANDS)
    peaks = bands.argmax(dim=0)
    assert (peaks.diff() > 0).all()
    inside = bands[int(peaks[0]) + 1 : int(peaks[-1])].sum(dim=1)
    torch.testing.assert_close(inside, torch.ones_like(inside))


def test_a_tone_is_loudest_in_the_band_that_holds_it() -> None:
    features = LogMel(RATE, BANDS)
    centres = mel_bands(RATE, features.window, BANDS).argmax(dim=0) * RATE / features.window
    for band, frequency in enumerate(centres.tolist()):
        tone = torch.sin(2 * torch.pi * frequency * torch.arange(400.0) / RATE)
        assert int(features(tone.unsqueeze(0))[0, -1].argmax()) == band


@pytest.mark.parametrize("bidirectional", [True, False])
def test_a_row_of_a_batch_equals_that_row_alone_and_padding_is_silent(bidirectional: bool) -> None:
    module = recognizer(bidirectional)
    lengths = torch.tensor([400, 95, 7])
    samples = torch.randn(3, 400)
    with torch.no_grad():
        said = module(samples, lengths)
        for row, length in enumerate(lengths.tolist()):
            frames = max(1, length // module.stride)
            if length >= module.stride:
                alone = module(samples[row : row + 1, :length])
                torch.testing.assert_close(said[row, :frames], alone[0])
            assert (said[row, frames:, 0] == 0).all()
            assert (said[row, frames:, 1:] < -50).all()


def test_what_reads_forwards_does_not_see_what_comes() -> None:
    module = recognizer(bidirectional=False)
    samples = torch.randn(1, 400)
    with torch.no_grad():
        whole, part = module(samples), module(samples[:, :200])
    torch.testing.assert_close(whole[:, : part.shape[1]], part)
